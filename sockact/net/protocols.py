"""Protocols are rows: for which types and families of socket each exists, and which options it speaks.

Adding a protocol on existing families is one line here. That `mptcp` with a datagram is refused is no rule of the code: the
row says that Multipath TCP carries streams only (RFC 8684).
"""

from __future__ import annotations

from sockact.net.addresses import DATAGRAM, KINDS, NETLINK, SEQPACKET, STREAM, Listen
from sockact.record import Record
from sockact.unit.diagnostics import Invalid

INTERNET = frozenset({"inet", "inet6"})
SOCKET, IP, IPV6, TCP, SCTP = "SOL_SOCKET", "IPPROTO_IP", "IPPROTO_IPV6", "IPPROTO_TCP", "IPPROTO_SCTP"
NETLINK_OPTIONS = "SOL_NETLINK"


class Protocol(Record):
    """A protocol: its number for socket(2), where it exists, the option levels it speaks, and the options it lacks."""

    name: str
    number: int
    title: str
    kinds: frozenset[str]
    families: frozenset[str]
    levels: frozenset[str]
    lacks: frozenset[str] = frozenset()
    selectable: bool = True
    """Whether SocketProtocol= may name it."""
    default: bool = False
    """Whether the kernel takes it by itself where nothing is asked for."""


_IP = frozenset({SOCKET, IP, IPV6})
_ALL = frozenset({STREAM, DATAGRAM, SEQPACKET})
_NETLINK, _NETLINK_LEVELS = frozenset({NETLINK}), frozenset({SOCKET, NETLINK_OPTIONS})
_MPTCP_LACKS = frozenset({"IP_TTL", "IPV6_UNICAST_HOPS", "IP_PKTINFO", "IPV6_RECVPKTINFO", "TCP_USER_TIMEOUT"})
"""EOPNOTSUPP or ENOPROTOOPT up to Linux 6.18 (net/mptcp/sockopt.c)."""

PROTOCOLS = (
    Protocol("tcp", 6, "TCP", frozenset({STREAM}), INTERNET, _IP | {TCP}, default=True),
    Protocol("udp", 17, "UDP", frozenset({DATAGRAM}), INTERNET, _IP, default=True),
    Protocol("sctp", 132, "SCTP", frozenset({STREAM, SEQPACKET}), INTERNET, _IP | {SCTP}, frozenset({"SO_KEEPALIVE"})),
    Protocol("udplite", 136, "UDP-Lite", frozenset({DATAGRAM}), INTERNET, _IP),
    Protocol("mptcp", 262, "Multipath TCP", frozenset({STREAM}), INTERNET, _IP | {TCP}, _MPTCP_LACKS),
    Protocol("unix", 0, "UNIX sockets", _ALL, frozenset({"unix"}), frozenset({SOCKET}), selectable=False, default=True),
    Protocol("vsock", 0, "vsock", _ALL, frozenset({"vsock"}), frozenset({SOCKET}), selectable=False, default=True),
    Protocol("netlink", 0, "netlink", _NETLINK, frozenset({"netlink"}), _NETLINK_LEVELS, selectable=False, default=True),
)

NAMES = tuple(protocol.name for protocol in PROTOCOLS if protocol.selectable)


def by_name(text: str) -> Protocol | None:
    """A protocol that `SocketProtocol=` may name, in any letter case."""
    return next((p for p in PROTOCOLS if p.selectable and p.name == text.lower()), None)


def by_number(number: int) -> Protocol | None:
    return next((p for p in PROTOCOLS if p.selectable and p.number == number), None)


def choose(listen: Listen, asked: Protocol | None) -> Protocol | Invalid | None:
    """The protocol that a port will speak: the one asked for where it exists, else the kernel's choice; None for a FIFO."""
    if listen.address.family is None:
        return _misfit(listen, asked) if asked else None
    if asked:
        return asked if _fits(asked, listen) else _misfit(listen, asked)
    defaults = [protocol for protocol in PROTOCOLS if protocol.default and _fits(protocol, listen)]
    return defaults[0] if defaults else _misfit(listen, None)


def _fits(protocol: Protocol, listen: Listen) -> bool:
    return listen.kind in protocol.kinds and listen.address.family in protocol.families


def _misfit(listen: Listen, asked: Protocol | None) -> Invalid:
    """Say which of type and family is at fault, and what to do."""
    apart = "into a unit of its own"
    kind, address = KINDS[listen.kind], listen.address
    if asked is None:
        return Invalid(f"{kind.carries} need a protocol over {address.noun}", hint="SocketProtocol=sctp has them")
    claim = f"cannot use SocketProtocol={asked.name} with "
    if not kind.constant:
        return Invalid(f"{claim}{kind.directive}=: a {kind.noun} speaks no protocol", hint=f"put the {kind.noun} {apart}")
    if address.family not in asked.families:
        message = f"{claim}{address}: {address.noun} does not carry {asked.title}"
        return Invalid(message, hint=f"put {address} {apart}, or listen on an IP address")
    known = " and ".join(kind.carries for kind in KINDS.values() if kind.name in asked.kinds)
    use = " or ".join(f"{kind.directive}=" for kind in KINDS.values() if kind.name in asked.kinds)
    message = f"{claim}{kind.directive}=: {asked.title} carries {known} only"
    return Invalid(message, hint=f"use {use}, or put the {kind.noun} {apart}")
