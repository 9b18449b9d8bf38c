"""Protocols are rows: for which types and families of socket each exists, and which options it speaks.

Adding a protocol on existing families is one line here. That `mptcp` with a datagram is refused is no rule of the code: the
row says that Multipath TCP carries streams only (RFC 8684).
"""

from __future__ import annotations

from sockact.net.addresses import DATAGRAM, SEQPACKET, STREAM, Listen
from sockact.record import Record
from sockact.unit.diagnostics import Invalid

INTERNET = frozenset({"inet", "inet6"})
SOCKET, IP, IPV6, TCP, SCTP = "SOL_SOCKET", "IPPROTO_IP", "IPPROTO_IPV6", "IPPROTO_TCP", "IPPROTO_SCTP"


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
_MPTCP_LACKS = frozenset({"IP_TTL", "IPV6_UNICAST_HOPS", "IP_PKTINFO", "IPV6_RECVPKTINFO"})
"""EOPNOTSUPP up to Linux 6.18 (net/mptcp/sockopt.c)."""

PROTOCOLS = (
    Protocol("tcp", 6, "TCP", frozenset({STREAM}), INTERNET, _IP | {TCP}, default=True),
    Protocol("udp", 17, "UDP", frozenset({DATAGRAM}), INTERNET, _IP, default=True),
    Protocol("sctp", 132, "SCTP", frozenset({STREAM, SEQPACKET}), INTERNET, _IP | {SCTP}),
    Protocol("udplite", 136, "UDP-Lite", frozenset({DATAGRAM}), INTERNET, _IP),
    Protocol("mptcp", 262, "Multipath TCP", frozenset({STREAM}), INTERNET, _IP | {TCP}, _MPTCP_LACKS),
    Protocol("unix", 0, "UNIX sockets", _ALL, frozenset({"unix"}), frozenset({SOCKET}), selectable=False, default=True),
    Protocol("vsock", 0, "vsock", _ALL, frozenset({"vsock"}), frozenset({SOCKET}), selectable=False, default=True),
)

NAMES = tuple(protocol.name for protocol in PROTOCOLS if protocol.selectable)

CARRIES = {STREAM: "streams", DATAGRAM: "datagrams", SEQPACKET: "sequential packets"}
SPOKEN_OVER = {"unix": "a UNIX socket", "vsock": "a vsock", "inet": "an IPv4 socket", "inet6": "an IPv6 socket"}
DIRECTIVES = {STREAM: "ListenStream=", DATAGRAM: "ListenDatagram=", SEQPACKET: "ListenSequentialPacket="}


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
    family = listen.address.family
    if asked is None:
        return Invalid(
            f"{CARRIES[listen.kind]} need a protocol over {SPOKEN_OVER[str(family)]}", hint="SocketProtocol=sctp has them"
        )
    claim = f"cannot use SocketProtocol={asked.name} with "
    if family is None:
        return Invalid(f"{claim}ListenFIFO=: a FIFO speaks no protocol", hint=f"put the FIFO {apart}")
    if family not in asked.families:
        message = f"{claim}{listen.address}: {SPOKEN_OVER[family]} does not carry {asked.title}"
        return Invalid(message, hint=f"put {listen.address} {apart}, or listen on an IP address")
    known = " and ".join(CARRIES[kind] for kind in CARRIES if kind in asked.kinds)
    use = " or ".join(DIRECTIVES[kind] for kind in DIRECTIVES if kind in asked.kinds)
    message = f"{claim}{DIRECTIVES[listen.kind]}: {asked.title} carries {known} only"
    return Invalid(message, hint=f"use {use}, or put the {listen.kind} socket {apart}")
