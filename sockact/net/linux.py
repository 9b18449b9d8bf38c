"""Numbers of the Linux socket interface by name, where Python's `socket` lacks them, and what an errno means for a socket.

Sources: include/uapi/linux/in.h, in6.h, tcp.h, sctp.h, mptcp.h, vm_sockets.h, asm-generic/socket.h.
"""

from __future__ import annotations

import errno
import socket

LACKING = {
    "SO_RCVBUFFORCE": 33,
    "SO_SNDBUFFORCE": 32,
    "SO_PASSPIDFD": 76,
    "SO_PEERPIDFD": 77,
    "SO_PASSRIGHTS": 83,
    "SO_TIMESTAMP": 29,
    "SO_TIMESTAMPNS": 35,
    "SO_COOKIE": 57,
    "IP_FREEBIND": 15,
    "IP_PKTINFO": 8,
    "IPV6_TRANSPARENT": 75,
    "IPV6_FREEBIND": 78,
    "SCTP_NODELAY": 3,
    "SOL_NETLINK": 270,
    "NETLINK_PKTINFO": 3,
}


def number(name: str) -> int:
    """The kernel's number for a constant such as `TCP_KEEPIDLE`; KeyError when nobody knows it."""
    known = getattr(socket, name, None)
    return LACKING[name] if known is None else int(known)


MEANINGS = {
    ("socket", "mptcp", "EINVAL"): "this kernel is older than 5.6 and has no Multipath TCP",
    ("socket", "mptcp", "EPROTONOSUPPORT"): "this kernel is built without Multipath TCP (CONFIG_MPTCP)",
    ("socket", "mptcp", "ENOPROTOOPT"): "net.mptcp.enabled is 0 in this network namespace",
    ("socket", "*", "EPROTONOSUPPORT"): "this kernel has no such protocol, neither built in nor as a module it could load",
    ("socket", "*", "ESOCKTNOSUPPORT"): "this kernel has no such type of socket for that protocol; is the module there?",
    ("socket", "*", "EAFNOSUPPORT"): "this kernel has no such address family",
    ("socket", "*", "EMFILE"): "the limit of open descriptors (RLIMIT_NOFILE) is reached",
    ("bind", "*", "EADDRINUSE"): "another socket is bound there; TCP and Multipath TCP share their ports",
    ("bind", "unix", "EADDRINUSE"): "",
    ("bind", "*", "EADDRNOTAVAIL"): "no interface of this host has that address; FreeBind=yes binds it all the same",
    ("bind", "vsock", "EADDRNOTAVAIL"): "this machine has no such CID; is the module of the transport (vsock_loopback) there?",
    ("bind", "*", "EACCES"): "ports below net.ipv4.ip_unprivileged_port_start, and foreign directories, need privileges",
    ("bind", "*", "EROFS"): "the file system is read-only",
    ("bind", "*", "ENODEV"): "the interface named as scope does not exist",
    ("mkdir", "*", "EEXIST"): "something that is no directory is in the way",
    ("listen", "*", "EADDRINUSE"): "another socket listens there",
}
"""(step, protocol, errno) → what it means there. `*` is any protocol; socket(2), bind(2), listen(2), net/mptcp/protocol.c."""


def meaning(step: str, protocol: str, number: int) -> str:
    """`NAME: what that means here`, or just the name of the errno."""
    name = errno.errorcode.get(number, str(number))
    known = MEANINGS.get((step, protocol, name), MEANINGS.get((step, "*", name)))
    return f"{name}: {known}" if known else name


SIGNALS = {
    **{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11},
    **{"USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21},
    **{"TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31},
}
"""signal(7), the numbers of x86, ARM, RISC-V, POWER and s390."""

RTMIN, RTMAX = 34, 64
"""Real-time signals as the C library counts them; it keeps 32 and 33 for itself."""


def signal_number(text: str) -> int | None:
    """The number of a signal by number or name: `15`, `SIGTERM`, `TERM`, `RTMIN`, `RTMIN+3`, `RTMAX-2`."""
    name = text.removeprefix("SIG")
    base, sign, offset = name[:5], name[5:6], name[6:]
    if name in SIGNALS:
        return SIGNALS[name]
    if base == "RTMIN" and sign in ("", "+"):
        number = RTMIN + _decimal(offset if sign else "0")
    elif base == "RTMAX" and sign in ("", "-"):
        number = RTMAX - _decimal(offset if sign else "0")
    else:
        return _decimal(name) if 0 < _decimal(name) <= RTMAX else None
    return number if RTMIN <= number <= RTMAX else None


def _decimal(text: str) -> int:
    """A small number, or one that is out of every range."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 1000


def signal_name(number: int) -> str:
    known = next((f"SIG{name}" for name, known in SIGNALS.items() if known == number), f"signal {number}")
    return f"SIGRTMIN+{number - RTMIN}" if RTMIN <= number <= RTMAX else known
