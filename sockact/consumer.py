"""For services: the sockets that were handed over, typed and named.

    for received in listen_fds():
        server = received.socket()

Follows sd_listen_fds(3), also where it is strict: variables meant for another process yield nothing, numbers that make no
sense are an error. Works under systemd, sockact, and everything else that speaks the protocol.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat

from sockact.record import Record

FIRST = 3
VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class ListenFD(Record):
    """A descriptor that was handed over, and its name (`unknown` if nobody gave it one)."""

    fd: int
    name: str

    @property
    def is_socket(self) -> bool:
        """False for a FIFO or another file."""
        return stat.S_ISSOCK(os.fstat(self.fd).st_mode)

    def socket(self) -> socket.socket:
        """The socket, with the family, type and protocol that the kernel reports; OSError for what is no socket."""
        return socket.socket(fileno=self.fd)


def listen_fds(unset: bool = False) -> list[ListenFD]:
    """The descriptors handed to this process, in order; none if there are none. ValueError if the variables are broken.

    Close-on-exec is set on all of them, so that they do not leak into children. `unset` removes the variables in any case.
    """
    try:
        return _received({name: os.environ.get(name) for name in VARIABLES})
    finally:
        if unset:
            for name in VARIABLES:
                os.environ.pop(name, None)


def _received(said: dict[str, str | None]) -> list[ListenFD]:
    pid, count = said["LISTEN_PID"], said["LISTEN_FDS"]
    if pid is None or _number("LISTEN_PID", pid) != os.getpid() or not _same_process(said["LISTEN_PIDFDID"]) or count is None:
        return []
    number = _number("LISTEN_FDS", count)
    if not 0 < number < (1 << 31) - FIRST:
        raise ValueError(f"LISTEN_FDS={count} is no number of descriptors")
    names = said["LISTEN_FDNAMES"].split(":") if said["LISTEN_FDNAMES"] is not None else ["unknown"] * number
    if len(names) != number:
        raise ValueError(f"LISTEN_FDNAMES names {len(names)} descriptors, LISTEN_FDS says {number}")
    found = [ListenFD(fd, name) for fd, name in enumerate(names, FIRST)]
    for received in found:
        flags = fcntl.fcntl(received.fd, fcntl.F_GETFD)
        fcntl.fcntl(received.fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
    return found


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise ValueError(f"{name}={text} is no number")
    return int(text)


def _same_process(pidfd_id: str | None) -> bool:
    """Whether LISTEN_PIDFDID, where it is set and the kernel can tell, means this very process."""
    if pidfd_id is None or not hasattr(os, "pidfd_open"):
        return True
    try:
        fd = os.pidfd_open(os.getpid())
    except OSError:
        return True
    try:
        return _number("LISTEN_PIDFDID", pidfd_id) == os.fstat(fd).st_ino
    finally:
        os.close(fd)
