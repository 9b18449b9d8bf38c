"""The service behind the system tests: it tells what it was given, and answers its clients.

    probe.py tell ASPECT…         says so in a line of JSON on standard output
    probe.py say ASPECT…          the same, but waits for a signal then
    probe.py answer[=N] ASPECT…   says so to every client, or to N of them, and ends after them

An aspect is the name of a function below, or `option:LEVEL:NAME`, the numbers of a socket option. Each line also has the
`pid`; an answer has the descriptor, `fd`, at which the client was met, and what it said, `got`. A connection (Accept=yes) is
answered once; what comes in through a FIFO is answered on standard output. Knows nothing of sockact, and needs nothing but
Python: tests would otherwise judge sockact by itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable

FIRST = 3
BLOCK = 65536


# --- aspects


def open_descriptors() -> dict[str, str]:
    """All descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one that listed the folder
    return found


AT_THE_START = open_descriptors()


def descriptors() -> dict[str, str]:
    return AT_THE_START


def activation() -> dict[str, str]:
    """The variables of the activation protocols, or what looks like them."""
    return {name: value for name, value in os.environ.items() if name.startswith(("LISTEN_", "REMOTE_", "SO_", "NOTIFY_"))}


def environment() -> dict[str, str]:
    return dict(os.environ)


def sockets() -> list[dict[str, object]]:
    """What the kernel says of each descriptor handed over, in their order."""
    return [socket_facts(fd) if is_socket(fd) else {"fifo": stat.S_ISFIFO(os.fstat(fd).st_mode)} for fd in handed()]


def socket_facts(fd: int) -> dict[str, object]:
    with socket.socket(fileno=os.dup(fd)) as one:
        name = one.getsockname()
        return {
            "family": one.family.name,
            "type": one.type.name,
            "protocol": one.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL),
            "listens": bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)),
            "address": os.fsdecode(name).replace("\0", "@") if isinstance(name, bytes) else name,
        }


def non_blocking() -> list[bool]:
    return [not os.get_blocking(fd) for fd in handed() or [0]]


def session() -> dict[str, int]:
    return {"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "session": os.getsid(0)}


def cookie() -> int:
    """SO_COOKIE of the connection."""
    with socket.socket(fileno=os.dup((handed() or [0])[0])) as one:
        return int.from_bytes(one.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)


def arguments() -> list[str]:
    return sys.argv


ASPECTS: dict[str, Callable[[], object]] = {
    aspect.__name__: aspect
    for aspect in (descriptors, activation, environment, sockets, non_blocking, session, cookie, arguments)
}


def options(wanted: list[str]) -> list[dict[str, object]]:
    """For each descriptor the socket options asked for, as numbers; TCP_CONGESTION, the only text, as what it is."""
    found = []
    for fd in handed():
        with socket.socket(fileno=os.dup(fd)) as one:
            found.append({word: option(one, *map(int, word.split(":")[1:])) for word in wanted})
    return found


TEXTS = ((socket.IPPROTO_TCP, socket.TCP_CONGESTION), (socket.SOL_SOCKET, socket.SO_BINDTODEVICE))
"""Options whose value is a name."""


def option(one: socket.socket, level: int, name: int) -> object:
    try:
        if (level, name) in TEXTS:
            return one.getsockopt(level, name, 16).rstrip(b"\0").decode()
        return one.getsockopt(level, name)
    except OSError as error:
        return f"{error.strerror}"


def report(**more: object) -> bytes:
    told = {name: ASPECTS[name]() for name in sys.argv[2:] if name in ASPECTS}
    wanted = [word for word in sys.argv[2:] if word.startswith("option:")]
    if wanted:
        told["options"] = options(wanted)
    return (json.dumps({"pid": os.getpid(), **more, **told}) + "\n").encode()


# --- clients


def handed() -> range:
    return range(FIRST, FIRST + int(os.environ.get("LISTEN_FDS", "0")))


def is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)


def met(fd: int) -> None:
    """Answer whoever made the descriptor readable."""
    if not is_socket(fd):
        os.write(1, report(fd=fd, got=os.read(fd, BLOCK).decode().strip()))
        return
    with socket.socket(fileno=os.dup(fd)) as one:
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            connection, _ = one.accept()
            with connection:
                converse(fd, connection)
        elif one.type == socket.SOCK_DGRAM:
            data, sender = one.recvfrom(BLOCK)
            one.sendto(report(fd=fd, got=data.decode().strip()), sender)
        else:
            converse(fd, one)


def converse(fd: int, connection: socket.socket) -> None:
    data = b""
    while not data.endswith(b"\n"):
        part = connection.recv(BLOCK)
        if not part:
            break
        data += part
    try:
        connection.sendall(report(fd=fd, got=data.decode().strip()))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the client left


def listens(fd: int) -> bool:
    """Whether there will be more than one client, which a connection cannot bring."""
    with socket.socket(fileno=os.dup(fd)) as one:
        return one.type == socket.SOCK_DGRAM or bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def answer(limit: str) -> None:
    fds = list(handed()) or [0]
    left = int(limit) if limit else -1
    if is_socket(fds[0]) and not listens(fds[0]):
        left = 1
    while left:
        # One at a time, so that exactly N clients are answered.
        met(select.select(fds, [], [])[0][0])
        left -= 1


def main() -> None:
    how, _, limit = sys.argv[1].partition("=")
    if how == "answer":
        answer(limit)
    else:
        os.write(1, report())
        if how == "say":
            signal.pause()


if __name__ == "__main__":
    main()
