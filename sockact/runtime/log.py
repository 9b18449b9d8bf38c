"""What is said while units run: how important it is, of whom, and what. `cli.output` says it."""

from __future__ import annotations

from sockact.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Log = Callable[[str, str, str], None]
    """A level, a unit (or sockact itself), and a sentence."""

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
