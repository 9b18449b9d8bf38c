"""Runs a small program, the file named first, in which the words below need no import; `folder` is where it is.

A service that a test writes down as what it does. Knows nothing of sockact, and needs nothing but Python.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

folder = Path(sys.argv[1]).parent if len(sys.argv) > 1 else Path()


def say(*things: object) -> None:
    """A line on standard output, in one piece."""
    os.write(1, (" ".join(map(str, things)) + "\n").encode())


def show(**things: object) -> None:
    """The same in JSON, for `Supervisor.reports()`."""
    say(json.dumps(things))


def tell(*lines: str, fds: Sequence[int] = ()) -> None:
    """One message to the supervisor (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        channel.sendmsg(["\n".join(lines).encode()], passed)


def barrier() -> None:
    """Come back when the supervisor has taken all that was said so far."""
    reader, writer = os.pipe()
    tell("BARRIER=1", fds=[writer])
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def monotonic() -> str:
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def store(name: str, *fds: int) -> None:
    tell("FDSTORE=1", f"FDNAME={name}", fds=fds)


def handed() -> list[tuple[str, str]]:
    """The names of the descriptors handed over, and what they are, in their order."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [(name, os.readlink(f"/proc/self/fd/{fd}")) for fd, name in zip(range(3, 3 + count), names, strict=False)]


def fork(act: Callable[[], object], session: bool = False) -> int:
    """A child, in a session of its own if it is to be, which does this and ends."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if session:
            os.setsid()
        act()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(status)


def daemon(act: Callable[[], object]) -> None:
    """A process that has left us as daemons do: forked twice, in a session of its own."""
    os.waitpid(fork(lambda: fork(act), session=True), 0)


def on(name: str, act: Callable[[], object]) -> None:
    """Do this at each signal of that name."""
    signal.signal(signal.Signals[f"SIG{name}"], lambda number, frame: act() and None)


def ignore(*names: str) -> None:
    for name in names:
        signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN)


def wait() -> None:
    """For ever."""
    while True:
        signal.pause()


def first_time() -> bool:
    """Whether no start before this one asked."""
    mark = folder / "mark"
    first = not mark.exists()
    mark.touch()
    return first


if __name__ == "__main__":
    exec(compile(Path(sys.argv[1]).read_text(), sys.argv[1], "exec"), globals())
