"""What sockact's own `listen_fds()` finds in the environment; said in a line of JSON."""

from __future__ import annotations

import json
import os

from sockact import ListenFD, listen_fds


def kind(one: ListenFD) -> list[object] | None:
    if not one.is_socket:
        return None
    with one.socket() as found:
        return [found.family.name, found.type.name, found.proto]


def main() -> None:
    received = [{"fd": one.fd, "name": one.name, "socket": kind(one)} for one in listen_fds()]
    os.write(1, (json.dumps({"received": received}) + "\n").encode())


if __name__ == "__main__":
    main()
