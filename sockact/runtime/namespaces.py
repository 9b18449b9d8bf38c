"""Network namespaces (network_namespaces(7)): a part of `kernel`. A socket belongs for ever to the namespace that it was made in,
so it is enough to be there for that one call."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

OURS = "/proc/self/ns/net"
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def inside(network: int, action: Callable[[], _T]) -> _T:
    """Do something in a network namespace, and come back."""
    home = os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", network, CLONE_NEWNET)
        try:
            return action()
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


def at(path: str) -> int:
    """A descriptor of the network namespace at a path, which was entered to see that it is one."""
    found = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside(found, lambda: None)
    except OSError:
        os.close(found)
        raise
    return found


def private_network() -> int:
    """A descriptor of a new namespace, in which the loopback interface is up."""
    home = os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            _loopback_up()
            return os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        request = fcntl.ioctl(asked, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1]
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def _call(name: str, *arguments: int) -> None:
    """A function of the C library that Python has only since 3.12."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
