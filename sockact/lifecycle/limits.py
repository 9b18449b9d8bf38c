"""Rate limits and restart policy: small arithmetic that decides whether something may start again."""

from __future__ import annotations

from sockact.record import Record

SUCCESS, EXIT_CODE, SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL = "success", "exit-code", "signal", "core-dump", "timeout", "protocol"
"""Results of a service, by the names systemd gives them."""

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


RESTARTS = {
    "no": frozenset(),
    "always": frozenset({SUCCESS, EXIT_CODE, SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL}),
    "on-success": frozenset({SUCCESS}),
    "on-failure": frozenset({EXIT_CODE, SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL}),
    "on-abnormal": frozenset({SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL}),
    "on-abort": frozenset({SIGNAL, CORE_DUMP}),
}
"""Restart= and the results after which it restarts (systemd.service(5), table 1)."""


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
