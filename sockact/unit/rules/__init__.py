"""The verifier's rules: what a unit must be to work, what of it has no effect, what units must be to each other, and what they
ask of the machine. A rule is a generator of findings; `unit/verify.py` says which there are."""

from __future__ import annotations

from sockact.net import protocols
from sockact.record import TYPE_CHECKING
from sockact.unit.diagnostics import Diagnostic, Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    from sockact.net.addresses import Listen
    from sockact.net.protocols import Protocol
    from sockact.unit.directives import Field, Row, Section
    from sockact.unit.load import SocketUnit
    from sockact.unit.syntax import Assignment

    Findings: TypeAlias = Iterator[Diagnostic]


def at(code: str, message: str, origin: Assignment | None, hint: str, file: str) -> Diagnostic:
    """A finding about the value of an assignment, or about the file when nothing was assigned."""
    return Diagnostic(code, message, origin.span() if origin else None, hint, file)


def at_key(code: str, message: str, origin: Assignment, hint: str) -> Diagnostic:
    """A finding about a whole line: `KEY= has no effect …`."""
    return Diagnostic(code, f"{origin.key}= {message}", origin.key_span, hint, origin.file)


def place(origin: Assignment | None, file: str) -> str:
    """`FILE:LINE`, to refer to another line."""
    span = origin.span() if origin else None
    return f"{span.file}:{span.line}" if span else file


def ports(unit: SocketUnit) -> list[tuple[Listen, Protocol | None]]:
    """What the unit listens on, with the protocol that is spoken there, as far as there is one."""
    chosen = [(listen, protocols.choose(listen, unit.socket.protocol)) for listen in unit.socket.listen]
    return [(listen, protocol) for listen, protocol in chosen if not isinstance(protocol, Invalid)]


def changed(section: Section) -> Iterator[tuple[Field, Row, Any, Assignment]]:
    """The settings that were assigned something else than their default: field, row, value, and where."""
    for name, value in section.given.items():
        origin = section.origin(name)
        rows = section.table.get(origin.key, ()) if origin else ()
        for field, row in rows:
            if origin and field.name == name and value != default(section, field):
                yield field, row, value, origin


def made(section: Section) -> dict[str, Assignment]:
    """Where the settings were made that are not at their default, by field."""
    return {field.name: origin for field, _, _, origin in changed(section)}


def default(section: Section, field: Field) -> Any:
    """What the setting would be if nothing were assigned."""
    value = field.rows[0].default
    return value(section) if callable(value) else value


def listed(words: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`; what is there twice is said once."""
    words = list(dict.fromkeys(words))
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)
