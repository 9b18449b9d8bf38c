"""Assignments become a typed unit, by the directive table alone.

No directive is named here: the row says how its value is read, which field it feeds, and whether the unit can live without
it. What makes sense *between* directives and units is the verifier's affair.
"""

from __future__ import annotations

from functools import cache

from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import ERROR, Diagnostic, Invalid
from sockact.unit.directives.service import ServiceSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import InstallSection, UnitSection
from sockact.unit.values import RESET

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sockact.unit.directives import Field, Row, Section
    from sockact.unit.specifiers import Context
    from sockact.unit.syntax import Assignment, Document


class SocketUnit(Record):
    """A socket unit, loaded."""

    name: str
    file: str
    unit: UnitSection
    socket: SocketSection
    own: SockactSection

    @property
    def sections(self) -> tuple[Section, ...]:
        return self.unit, self.socket, self.own


class ServiceUnit(Record):
    """A service unit, loaded."""

    name: str
    file: str
    unit: UnitSection
    service: ServiceSection

    @property
    def sections(self) -> tuple[Section, ...]:
        return self.unit, self.service


BODIES: dict[str, tuple[Any, tuple[type[Section], ...]]] = {
    "socket": (SocketUnit, (UnitSection, SocketSection, SockactSection)),
    "service": (ServiceUnit, (UnitSection, ServiceSection)),
}
"""Unit types by the suffix of the name: the record, and the sections it is made of."""


def load(document: Document, name: str, file: str, context: Context) -> tuple[SocketUnit | ServiceUnit, list[Diagnostic]]:
    """Build the unit and tell what was wrong; a unit with errors is complete enough to be looked at, not to be started."""
    unit_class, bodies = BODIES[name.rpartition(".")[2]]
    parts: tuple[type[Section], ...] = (*bodies, InstallSection)
    sections = {section.title: section for section in parts}
    loading = _Loading(sections, context.replace(variables=None))
    diagnostics = [*document.diagnostics, *_unknown_sections(document, sections)]
    own, others = _own_first(document.assignments)
    diagnostics += loading.take_all(own)
    if loading.given.get(SockactSection.title, {}).get("expand"):
        loading.context = context
    diagnostics += loading.take_all(others)
    if loading.healed:
        diagnostics = [told for found in diagnostics for told in loading.healed.get(found, [found])]
    return unit_class(name, file, *map(loading.build, bodies)), diagnostics


def _own_first(assignments: tuple[Assignment, ...]) -> tuple[list[Assignment], list[Assignment]]:
    """Those of our own section, which may say how others are to be read; and the others."""
    own = SockactSection.title
    return [a for a in assignments if a.section == own], [a for a in assignments if a.section != own]


def _unknown_sections(document: Document, sections: dict[str, type[Section]]) -> list[Diagnostic]:
    others = [name for name in document.sections if name not in sections and not name.startswith("X-")]
    found = [
        Diagnostic("SA006", f"unknown section [{name}]: ignored", document.sections[name], _did_you_mean(name, sections, "[{}]"))
        for name in others
    ]
    own = SockactSection.title
    if own in document.sections and own not in sections:
        found.append(Diagnostic("SA006", f"[{own}] is read in socket units only: ignored", document.sections[own]))
    return found


class _Loading:
    """The values collected so far, by section and field."""

    def __init__(self, sections: dict[str, type[Section]], context: Context) -> None:
        self.sections = sections
        self.context = context
        self.given: dict[str, dict[str, Any]] = {title: {} for title in sections}
        self.origins: dict[str, dict[str, list[Assignment]]] = {title: {} for title in sections}
        self.refused: dict[str, set[str]] = {title: set() for title in sections}
        self.failures: dict[tuple[str, str], list[tuple[Diagnostic, bool]]] = {}
        """What made fields unreadable that the unit cannot do without, and whether systemd can read it."""
        self.healed: dict[Diagnostic, list[Diagnostic]] = {}
        """Those of them that a later assignment, as of a drop-in, has made good; a mistake is still worth a warning."""

    def build(self, section: type[Section]) -> Section:
        """The section; what added up is final now."""
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in self.given[section.title].items()}
        origins = {name: tuple(found) for name, found in self.origins[section.title].items()}
        return section(given, origins, frozenset(self.refused[section.title]))

    def take_all(self, assignments: list[Assignment]) -> list[Diagnostic]:
        known = [(self.sections[a.section], a) for a in assignments if a.section in self.sections]
        return [diagnostic for section, assignment in known for diagnostic in self.take(section, assignment)]

    def take(self, section: type[Section], assignment: Assignment) -> list[Diagnostic]:
        section = self.sections[section.moved.get(assignment.key, section.title)]
        rows = section.table.get(assignment.key)
        if rows is None:
            return _not_in_table(section, assignment)
        row = rows[0][1]
        value = row.kind.read(assignment.value, self.context)
        if isinstance(value, Invalid):
            self.refused[section.title].update(field.name for field, _ in rows)
            if value.kept:
                self._keep(section, assignment, value.kept)
            found = _unreadable(row, assignment, value)
            for field, _ in rows if found.severity == ERROR else ():
                self.failures.setdefault((section.title, field.name), []).append((found, value.known))
            return [found]
        if value is RESET or not row.kind.appends:
            self._heal(section, rows)
        self._keep(section, assignment, value)
        return _not_portable(row, assignment, () if value is RESET else value) if row.kind.extends else []

    def _heal(self, section: type[Section], rows: tuple[tuple[Field, Row], ...]) -> None:
        """The last assignment counts: what was wrong with those before it matters no more."""
        for field, _ in rows:
            for found, known in self.failures.pop((section.title, field.name), ()):
                self.healed[found] = [] if known else [found.replace(code="SA010")]
            self.refused[section.title].discard(field.name)

    def _keep(self, section: type[Section], assignment: Assignment, value: Any) -> None:
        given, origins = self.given[section.title], self.origins[section.title]
        for field, row in section.table[assignment.key]:
            if value is RESET:
                given.pop(field.name, None)
                origins.pop(field.name, None)
            elif row.kind.appends:
                given.setdefault(field.name, []).extend(value)
                origins.setdefault(field.name, []).extend([assignment] * len(value))
            else:
                given[field.name] = value
                origins[field.name] = [assignment]


def _unreadable(row: Row, assignment: Assignment, why: Invalid) -> Diagnostic:
    code = "SA011" if row.essential and assignment.value else "SA008" if why.known else "SA010"
    message = why.message if assignment.value else f"an empty value does not reset {assignment.key}="
    return Diagnostic(code, f"{assignment.key}=: {message}", assignment.span(why.start, why.end), why.hint)


def _not_portable(row: Row, assignment: Assignment, value: Any) -> list[Diagnostic]:
    why = row.kind.extends(assignment.value, value) if row.kind.extends else ""
    return [Diagnostic("SA060", f"{row.key}={assignment.value}: {why}", assignment.span())] if why else []


def _not_in_table(section: type[Section], assignment: Assignment) -> list[Diagnostic]:
    key = assignment.key
    if key in section.silent or key.startswith("X-"):
        return []
    if key in section.known:
        return [Diagnostic("SA008", f"{key}= is not applied: {section.known[key]}", assignment.key_span)]
    hint = _did_you_mean(key, {**section.table, **section.known}, "{}=")
    return [Diagnostic("SA007", f"unknown key {key}= in [{section.title}]: ignored", assignment.key_span, hint)]


@cache
def _nearest(word: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, n=1, cutoff=0.8)), "")


def _did_you_mean(word: str, known: Iterable[str], form: str) -> str:
    """The nearest known word, when it is near: same letters in another case, or few of them changed."""
    same = [name for name in known if name.lower() == word.lower()]
    if same:
        return f"did you mean {form.format(same[0])}? Names are case-sensitive"
    near = _nearest(word, tuple(known)) if len(word) < 60 else ""
    return f"did you mean {form.format(near)}?" if near else ""
