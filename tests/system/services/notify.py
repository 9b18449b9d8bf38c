"""A service that talks to its supervisor (sd_notify(3)), step by step as its arguments say.

READY=1 and the like     is sent; several assignments in one message are separated by commas
child:READY=1            is sent by a child of the main process, which is waited for
barrier                  sends BARRIER=1 with the end of a pipe, and says on standard output when that was closed
wait                     sleeps until a signal comes
ignore                   ignores SIGTERM from here on
say:TEXT                 prints
"""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
from pathlib import Path


def channel() -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    return opened


def send(text: str) -> None:
    with channel() as opened:
        opened.send(text.replace(",", "\n").encode())


def in_child(text: str) -> None:
    pid = os.fork()
    if pid == 0:
        send(text)
        os._exit(0)
    os.waitpid(pid, 0)


def barrier() -> None:
    """The reading end is at end of file when nobody has the writing end any more."""
    reader, writer = os.pipe()
    with channel() as opened:
        passed = array.array("i", [writer])
        opened.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    os.close(writer)
    assert os.read(reader, 1) == b""
    print("the barrier was passed", flush=True)


def do(step: str) -> None:
    word, _, rest = step.partition(":")
    if word == "child":
        in_child(rest)
    elif word == "say":
        print(rest, flush=True)
    elif word == "read":
        Path(rest).read_bytes()
    elif step == "answer":
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(Path(__file__).with_name("probe.py")), "answer"])
    elif step == "barrier":
        barrier()
    elif step == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif step == "wait":
        signal.pause()
    else:
        send(step)


def main() -> None:
    for step in sys.argv[1:]:
        do(step)


if __name__ == "__main__":
    main()
