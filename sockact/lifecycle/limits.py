"""Rate limits and restart policy: small arithmetic that decides whether something may start again."""

from __future__ import annotations

from math import inf

from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockact.unit.statuses import ExitStatus

SUCCESS, EXIT_CODE, SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL = "success", "exit-code", "signal", "core-dump", "timeout", "protocol"
WATCHDOG, CONDITION, RESOURCES, OOM_KILL = "watchdog", "exec-condition", "resources", "oom-kill"
START_LIMIT, TRIGGER_LIMIT, SERVICE_LIMIT = "start-limit-hit", "trigger-limit-hit", "service-start-limit-hit"
"""Results of a unit, by the names systemd gives them; the first that is not success stays, but for those of limits."""

CLEAN_SIGNALS = frozenset({1, 2, 13, 15})
"""SIGHUP, SIGINT, SIGPIPE, SIGTERM: dying of these is a clean end (systemd.service(5), SuccessExitStatus=)."""


class Window(Record):
    """A fixed window of time: when it began, and what was counted in it."""

    began: float = 0.0
    count: int = 0


def count(window: Window, now: float, interval: float, burst: int) -> tuple[bool, Window]:
    """Count one event; whether it exceeds the limit, and the window after it. Zero in either setting means no limit.

    The window begins with the first event after the last one ended, as systemd's does.
    """
    if interval <= 0 or burst <= 0:
        return False, window
    if window.count == 0 or now - window.began >= interval:
        return False, Window(now, 1)
    return window.count >= burst, window.replace(count=window.count + 1)


class Exit(Record):
    """How a process ended: its status, or the signal that killed it."""

    code: int = 0
    signal: int = 0
    dumped: bool = False

    @property
    def result(self) -> str:
        if self.signal:
            return SUCCESS if self.signal in CLEAN_SIGNALS else CORE_DUMP if self.dumped else SIGNAL
        return EXIT_CODE if self.code else SUCCESS

    @property
    def status(self) -> int:
        """As a shell reports it."""
        return 128 + self.signal if self.signal else self.code

    def among(self, statuses: Iterable[ExitStatus]) -> bool:
        """Whether a list such as SuccessExitStatus= names this end."""
        return any((self.code, self.signal) == (status.code, status.signal) for status in statuses)


_ABORTED = frozenset({SIGNAL, CORE_DUMP})
_ABNORMAL = _ABORTED | {TIMEOUT, PROTOCOL, WATCHDOG, RESOURCES, OOM_KILL}
RESTARTS = {
    "no": frozenset[str](),
    "always": _ABNORMAL | {SUCCESS, EXIT_CODE},
    "on-success": frozenset({SUCCESS}),
    "on-failure": _ABNORMAL | {EXIT_CODE},
    "on-abnormal": _ABNORMAL,
    "on-watchdog": frozenset({WATCHDOG}),
    "on-abort": _ABORTED,
}
"""Restart= and the results after which it restarts (systemd.service(5), table 1)."""


def result_of(ended: Exit, forgiven: bool = False, success: Iterable[ExitStatus] = (), daemon: bool = False) -> str:
    """The result that the end of a process stands for: a command written with `-` cannot fail, nor one that ended in a way
    that SuccessExitStatus= names. To be asked to go is a clean end for a daemon, and none for a command with work to do."""
    if forgiven or ended.among(success):
        return SUCCESS
    if ended.signal and not daemon:
        return CORE_DUMP if ended.dumped else SIGNAL
    return ended.result


def restarts(restart: str, result: str, ended: Exit | None, prevent: Iterable[ExitStatus], force: Iterable[ExitStatus]) -> bool:
    """Whether Restart= starts the service again after this result; the lists of statuses have the first word."""
    if result == CONDITION or (ended and ended.among(prevent)):
        return False
    return (ended is not None and ended.among(force)) or result in RESTARTS[restart]


def share(name: str) -> float:
    """A number from 0 to 1 that a random name stands for, always the same one: what is random about a start is its name."""
    return int.from_bytes(name.encode(), "big") % 65521 / 65520


def delay(number: int, first: float, most: float, steps: int) -> float:
    """Seconds before the `number`-th restart in a row: they grow from RestartSec= to RestartMaxDelaySec= in RestartSteps=."""
    first = min(first, most)
    if number <= 1 or steps == 0 or most in (0.0, inf) or first in (0.0, most):
        return first
    return most if number > steps else first * float((most / first) ** ((number - 1) / steps))
