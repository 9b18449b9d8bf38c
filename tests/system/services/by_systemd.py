"""What the reference library, python-systemd, finds in the environment; said in a line of JSON."""

from __future__ import annotations

import json
import os
import socket

from systemd import daemon


def main() -> None:
    received = [
        {
            "fd": fd,
            "name": name,
            "inet stream listening": bool(daemon.is_socket_inet(fd, socket.AF_INET, socket.SOCK_STREAM, 1)),
            "unix datagram": bool(daemon.is_socket_unix(fd, socket.SOCK_DGRAM)),
            "fifo": bool(daemon.is_fifo(fd)),
        }
        for fd, name in daemon.listen_fds_with_names().items()
    ]
    os.write(1, (json.dumps({"received": received}) + "\n").encode())


if __name__ == "__main__":
    main()
