"""[X-Sockact]: what sockact has and systemd has not, in a section that systemd passes over in silence: one file serves both."""

from __future__ import annotations

from math import ceil, inf

from sockact.net.addresses import STREAM
from sockact.net.protocols import SOCKET, TCP
from sockact.unit.directives import Concern, Option, Section, directive
from sockact.unit.values import BOOLEAN, SECONDS, UNSIGNED, words_as_choice

CONNECTIONS = Concern("a socket with connections", lambda listen: listen.kind == STREAM)


def _milliseconds(value: float | None) -> int | None:
    return None if value is None or value == inf else round(value * 1000)


def _linger(value: float | None) -> tuple[int, int] | None:
    """`struct linger` of socket(7): on, and seconds."""
    return None if value is None or value == inf else (1, ceil(value))


class SockactSection(Section, title="X-Sockact"):
    option_failure: str = directive(
        "OptionFailure",
        words_as_choice("warn", "fail"),
        "What to do when the kernel refuses a socket option, or makes something else of it: say so, or not start.",
        "warn",
        examples=("fail",),
        rejects=("ignore",),
    )
    protocol_fallback: str = directive(
        "ProtocolFallback",
        words_as_choice("no", "tcp"),
        "What to do when the kernel lacks the protocol of SocketProtocol=: not start, or listen for TCP and say so.",
        "no",
        examples=("tcp",),
        rejects=("udp",),
        concerns=CONNECTIONS,
    )
    expand: bool = directive(
        "Expand",
        BOOLEAN,
        "Put variables of the supervisor's environment into Listen…= values, written ${NAME} or ${NAME:-DEFAULT}.",
        False,
        examples=("yes",),
        rejects=("x",),
    )
    trigger_limit_action: str = directive(
        "TriggerLimitAction",
        words_as_choice("fail", "pause"),
        "What to do when TriggerLimitBurst= is reached: fail for good, or take no traffic until the window ends.",
        "fail",
        examples=("pause",),
        rejects=("stop",),
    )
    tcp_fast_open: int | None = directive(
        "TCPFastOpen",
        UNSIGNED,
        "How many connections may send data with their first packet before the handshake is done (RFC 7413); also needs "
        "net.ipv4.tcp_fastopen to allow it.",
        examples=("16",),
        rejects=("-1", "x"),
        options=(Option(TCP, "TCP_FASTOPEN"),),
    )
    max_segment: int | None = directive(
        "MaxSegment",
        UNSIGNED,
        "The largest segment to announce, in bytes.",
        examples=("1200",),
        rejects=("x",),
        options=(Option(TCP, "TCP_MAXSEG"),),
    )
    user_timeout: float | None = directive(
        "UserTimeoutSec",
        SECONDS,
        "How long sent data may stay unacknowledged before the connection counts as lost (RFC 5482).",
        examples=("30s", "500ms"),
        rejects=("x",),
        options=(Option(TCP, "TCP_USER_TIMEOUT", encode=_milliseconds),),
    )
    linger: float | None = directive(
        "LingerSec",
        SECONDS,
        "How long close(2) waits for what is not yet sent; 0 resets the connection at once.",
        examples=("5", "0"),
        rejects=("x",),
        options=(Option(SOCKET, "SO_LINGER", kinds=frozenset({STREAM}), families=frozenset({"inet", "inet6"}), encode=_linger),),
    )
