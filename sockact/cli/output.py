"""How things are said: diagnostics, and one log line an event. Colour on a terminal only, and never with NO_COLOR."""

from __future__ import annotations

import os
import select
import sys

from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import ERROR, NOTE, WARNING, Diagnostic, printable, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
COLOURS = {"error": "\033[31m", "warning": "\033[33m", "debug": "\033[2m", "note": "\033[36m"}
RESET = "\033[0m"
LONGEST_LINE = 2000
"""Characters of a log line: a pipe that is not full takes at least PIPE_BUF bytes at once (pipe(7))."""


def coloured(stream: TextIO | None) -> bool:
    """Whether to use colour there (https://no-color.org); Python has no stream where there is no descriptor."""
    return stream is not None and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def logger(least: str) -> Callable[[str, str, str], None]:
    """A log on standard error that leaves out what is less grave than `least`."""
    spoken = LEVELS[LEVELS.index(least) :]
    colour = coloured(sys.stderr)

    def log(level: str, who: str, what: str) -> None:
        if level not in spoken:
            return
        label = f"{level}: " if level in ("warning", "error") else ""
        line = printable(f"{who}: {label}{what}"[:LONGEST_LINE])
        say(f"{COLOURS[level]}{line}{RESET}" if colour and level in COLOURS else line)

    return log


def say(text: str) -> None:
    """A line on standard error in one write(2). Whoever stopped listening does not stop the services: what a full pipe
    would have us wait for goes unsaid."""
    if sys.stderr is None or _is_full(sys.stderr):
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None  # what is left in its buffer would fail once more at exit, and change the exit status


def _is_full(stream: TextIO) -> bool:
    """Whether writing a line there would have to wait for a reader."""
    try:
        return not select.select((), (stream.fileno(),), (), 0)[1]
    except (OSError, ValueError):
        return False  # no descriptor, nothing to wait for


def tell(diagnostics: Iterable[Diagnostic], least: str = NOTE) -> None:
    """Print diagnostics on standard error, those at least as grave as `least`."""
    order = (NOTE, WARNING, ERROR)
    spoken = order[order.index(least) :]
    colour = coloured(sys.stderr)
    for diagnostic in diagnostics:
        if diagnostic.severity in spoken:
            text = render(diagnostic)
            mark = f"{diagnostic.severity}[{diagnostic.code}]"
            say(text.replace(mark, f"{COLOURS[diagnostic.severity]}{mark}{RESET}", 1) if colour else text)
