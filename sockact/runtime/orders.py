"""What the supervisor is told to do with signals, and when to end: `--forward` and `--exit` of `sockact start`."""

from __future__ import annotations

from sockact.net import linux
from sockact.record import Record

ALL, FIRST = "all", "first"
"""End when all units have ended, or with the first service; anything else is the name of the service to end with."""

_FAULTS = {linux.SIGNALS[name] for name in ("ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS")}
"""What a process that is broken gets; forwarding it would hide that it was ours."""
_OURS = {linux.SIGNALS[name] for name in ("TERM", "INT", "QUIT", "HUP")}
_NOT_BY_ITSELF = {linux.SIGNALS[name] for name in ("PIPE", "TTIN", "TTOU")}
"""What we get for our own output: `all` leaves them out."""
_NEVER = {linux.SIGNALS[name] for name in ("KILL", "STOP", "CHLD", "TERM")} | _FAULTS


_KNOWN = {*range(1, 32), *range(linux.RTMIN, linux.RTMAX + 1)}
"""The C library keeps 32 and 33 for itself."""


class Forward(Record):
    """A signal to be passed on: to a service or (without a name) all, as another one or itself."""

    signal: int
    sent: int
    unit: str = ""


class Orders(Record):
    """What is to be done besides running the units."""

    now: bool = False
    exit: str = ALL
    forwards: tuple[Forward, ...] = ()


def read_forwards(texts: tuple[str, ...]) -> tuple[Forward, ...]:
    """Read `[UNIT:]SIGNAL[=SIGNAL]` or `[UNIT:]all`. ValueError says what is wrong."""
    return tuple(forward for text in texts for forward in _read(text))


def _read(text: str) -> list[Forward]:
    unit, _, rest = text.rpartition(":")
    if rest == ALL:
        return [Forward(number, number, unit) for number in sorted(_KNOWN - _NEVER - _OURS - _NOT_BY_ITSELF)]
    name, equals, other = rest.partition("=")
    number, sent = linux.signal_number(name), linux.signal_number(other if equals else name)
    if number not in _KNOWN or sent not in _KNOWN or number is None or sent is None:
        raise ValueError(f"--forward={text}: not a signal; write for example USR1, USR2=HUP or web.service:WINCH")
    if number in _NEVER:
        raise ValueError(
            f"--forward={text}: {linux.signal_name(number)} cannot be forwarded: it is for the supervisor, or nobody"
        )
    return [Forward(number, sent, unit)]
