"""`make run`: start the sample units, and say what to type."""

from __future__ import annotations

import os
import sys
from pathlib import Path

UNITS = Path(__file__).parent.parent / "units"
HINT = """\
The sample service waits on Multipath TCP 127.0.0.1:8080; it is started by the first connection. In another terminal, try

    curl http://127.0.0.1:8080/                 a plain TCP client
    mptcpize run curl http://127.0.0.1:8080/    the same client over Multipath TCP (package mptcpize)

Ctrl-C ends it.
"""


def main() -> None:
    sys.stderr.write(HINT)
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "sockact", "start", str(UNITS / "hello.socket")])


if __name__ == "__main__":
    main()
