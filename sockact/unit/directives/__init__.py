"""The directive table. A directive is one row, and the row is the typed field of a section:

    backlog: int = directive("Backlog", UNSIGNED, "Connections the kernel queues before accept(2).", default=2147483647, …)

Everything else is read off the rows: the loader, the socket options, what the verifier finds, `sockact show`, the manual's
lists, the test vectors. There is no second place to edit.
"""

from __future__ import annotations

from math import inf

from sockact.record import TYPE_CHECKING, Record
from sockact.unit.values import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from sockact.net.addresses import Listen
    from sockact.unit.syntax import Assignment


def _encode(value: Any) -> int | str | None:
    """What setsockopt(2) takes; None leaves the kernel's own setting alone, as an unset, switched-off or unlimited value does."""
    if isinstance(value, str):
        return value or None
    return int(value) if value and value != inf else None


def _same(asked: object, got: object) -> bool:
    return asked == got


class Concern(Record):
    """What a directive is about, when it is not about everything its section opens."""

    noun: str
    """As in "nothing here is …"."""
    holds: Callable[[Listen], bool]


class Option(Record):
    """A socket option that carries a directive's value to the kernel (setsockopt(2))."""

    level: str
    name: str
    families: frozenset[str] = frozenset()
    """Where the option exists, if not wherever its level is spoken; IPPROTO_IP is for IPv4, IPPROTO_IPV6 for IPv6."""
    kinds: frozenset[str] = frozenset()
    """The kinds of socket it makes sense for; all when empty."""
    fatal: bool = False
    """Whether the socket would be another one without it, so that a refusal fails the unit; else it is a warning."""
    forced: str = ""
    """The privileged twin for when the kernel caps the value by a sysctl."""
    encode: Callable[[Any], int | str | tuple[int, int] | None] = _encode
    inherited: bool = True
    """Whether a connection has it from the socket that accepted it."""
    holds: Callable[[Any, Any], bool] = _same
    """Whether what the kernel reports afterwards (second) is what was asked for (first)."""


class Row(Record):
    """One directive.

    `default` may be a function of the section, for defaults that depend on other directives. An `essential` directive is
    one whose unreadable value fails the unit; any other is ignored with a warning, as in systemd.
    """

    key: str
    kind: Kind
    meaning: str
    default: object = None
    examples: tuple[str, ...] = ()
    rejects: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    essential: bool = False
    aliases: tuple[str, ...] = ()
    concerns: Concern | None = None
    """What it has an effect on; options tell that by themselves."""
    accept: bool | None = None
    """The Accept= it needs to have an effect."""
    controller: str = ""
    """The controller of control groups that it takes (cgroups(7))."""
    since: str = ""
    """The version of systemd that has it since; nothing for sockact's own."""


class Field:
    """A typed field of a section, fed by one row or, where order across keys matters, by several."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self.rows = rows
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, section: Section | None, owner: type) -> Any:
        if section is None:
            return self
        value = section.given.get(self.name, self.rows[0].default)
        found = value(section) if callable(value) else value
        # A section never changes: from now on the attribute is found without coming here.
        section.__dict__[self.name] = found
        return found


def directive(key: str, kind: Kind, meaning: str, default: object = None, **columns: Any) -> Any:
    """A field fed by one directive."""
    return Field((Row(key, kind, meaning, default, **columns),))


def ordered(*fields: Any) -> Any:
    """A field fed by several directives whose order in the file is one order."""
    return Field(tuple(row for field in fields for row in field.rows))


class Section:
    """The values of one section. A field that was not assigned has its default; `origins` tell where the others came from;
    `refused` names the fields that were assigned something nobody can read."""

    title: ClassVar[str]
    given: dict[str, Any]
    origins: dict[str, tuple[Assignment, ...]]
    refused: frozenset[str]

    known: ClassVar[Mapping[str, str]] = {}
    """Directives of systemd that sockact does not apply, with the reason."""
    moved: ClassVar[Mapping[str, str]] = {}
    """Directives that old files have here, with the section they belong to."""
    silent: ClassVar[frozenset[str]] = frozenset()
    """Directives that concern others than sockact, and need no word."""
    table: ClassVar[dict[str, tuple[tuple[Field, Row], ...]]]
    """By key and alias: the row, and the field it feeds (`TimeoutSec=` feeds two)."""

    def __init_subclass__(cls, title: str = "") -> None:
        """Without a title it is what several sections have in common."""
        cls.title = title
        cls.table = {}
        for field, row in cls.rows():
            for key in (row.key, *row.aliases):
                cls.table[key] = (*cls.table.get(key, ()), (field, row))

    def __init__(
        self, given: dict[str, Any], origins: dict[str, tuple[Assignment, ...]], refused: frozenset[str] = frozenset()
    ) -> None:
        self.__dict__.update(given=given, origins=origins, refused=refused)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a section is frozen: cannot set {name}")

    @classmethod
    def rows(cls) -> list[tuple[Field, Row]]:
        """Every row and the field it feeds, in the order of the table."""
        sections = [base for base in cls.__mro__ if issubclass(base, Section)]
        fields = [value for section in sections for value in section.__dict__.values() if isinstance(value, Field)]
        return [(field, row) for field in fields for row in field.rows]

    def value(self, field: Field) -> Any:
        return getattr(self, field.name)

    def origin(self, name: str, index: int = -1) -> Assignment | None:
        """The assignment that gave a field its value: the last one, or for a list the one of that entry."""
        found = self.origins.get(name)
        return found[index] if found else None


def not_applied(reasons: dict[str, str]) -> dict[str, str]:
    """Turn `reason: "Key Key …"` into `key: reason`."""
    return {key: reason for reason, keys in reasons.items() for key in keys.split()}
