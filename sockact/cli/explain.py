"""What `sockact explain` tells: a directive, or a code of a diagnostic.

All of a directive is read off its row, and which protocols it reaches is asked of the plan that `start` carries out: an
explanation cannot say what sockact does not do.
"""

from __future__ import annotations

import textwrap
from difflib import get_close_matches
from functools import cache

from sockact.cli.codes import ADVICE, Advice
from sockact.net.addresses import KINDS, VSOCK_ANY, Inet, Inet6, Listen, Netlink, Unix, Vsock
from sockact.net.plan import applies
from sockact.net.protocols import PROTOCOLS
from sockact.record import TYPE_CHECKING, Record
from sockact.unit import diagnostics
from sockact.unit.diagnostics import CODES
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.unit import InstallSection
from sockact.unit.load import BODIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sockact.net.protocols import Protocol
    from sockact.unit.directives import Option, Row, Section

SECTIONS: tuple[type[Section], ...] = tuple(
    dict.fromkeys((*(section for _, parts in BODIES.values() for section in parts), InstallSection))
)
SHARED = frozenset(row for _, row in ExecutionSection.rows())
SAMPLES = (Inet("127.0.0.1", 1), Inet6("::1", 1), Unix("@x"), Vsock(VSOCK_ANY, 1), Netlink(0, 0))
"""An address of each family."""
LABEL = 11
"""Columns of the labels on the left."""


class Topic(Record):
    """A key as one section has it: its row, or the reason why nothing is applied."""

    section: str
    key: str
    row: Row | None = None
    reason: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.key, *self.row.aliases) if self.row else (self.key,)

    @property
    def applied(self) -> bool:
        return self.row is not None and not self.reason


@cache
def topics() -> tuple[Topic, ...]:
    """Every key of every section, once in each."""
    found: dict[tuple[str, str], Topic] = {}
    for section in SECTIONS:
        for topic in _topics_of(section):
            found.setdefault((topic.section, topic.key), topic)
    return tuple(found.values())


def _topics_of(section: type[Section]) -> Iterator[Topic]:
    """In the order in which the loader looks: what stands elsewhere, the table, what concerns others, what is not applied."""
    title = section.title
    for key, other in section.moved.items():
        yield Topic(title, key, None, f"It belongs to [{other}], and is read as if it stood there.")
    for _, row in section.rows():
        yield Topic(title, row.key, row, row.meaning if row.kind.name == "refused" else "")
    others = "systemctl enable" if section is InstallSection else "people"
    for key in sorted(section.silent):
        yield Topic(title, key, None, f"It concerns {others} only; sockact passes over it in silence.")
    for key, reason in section.known.items():
        yield Topic(title, key, None, f"Not applied: {reason}.")


# Which topics a word means


def find(word: str) -> list[Topic]:
    """The topics of `KEY`, `KEY=VALUE` or `SECTION.KEY`; in any letter case, unless one is spelled exactly so."""
    title, _, key = word.partition("=")[0].strip().rpartition(".")
    known = [topic for topic in topics() if not title or title.strip("[]").lower() == topic.section.lower()]
    exact = [topic for topic in known if key in topic.spellings]
    return exact or [topic for topic in known if key.lower() in (name.lower() for name in topic.spellings)]


def code(word: str) -> str:
    """The code of diagnostics that a word is, in any letter case."""
    return word.upper() if word.upper() in CODES else ""


def is_known(word: str) -> bool:
    return bool(code(word) or find(word))


def near(word: str) -> list[str]:
    """What may have been meant by a word that means nothing."""
    names = {name.lower(): f"{name}=" for topic in topics() for name in topic.spellings} | {code.lower(): code for code in CODES}
    key = word.partition("=")[0].rpartition(".")[2].lower()
    return [names[match] for match in get_close_matches(key, names, 3, 0.7)]


def unknown(word: str) -> str:
    meant = " or ".join(near(word))
    return f"'{diagnostics.printable(word)}' is no directive and no code" + (
        f"; did you mean {meant}?" if meant else "; sockact explain lists them"
    )


def completions(incomplete: str) -> list[tuple[str, str]]:
    """Keys and codes that begin so, in any letter case, with a few words for each; without a beginning, what is applied."""
    words = {topic.key: _brief(topic) for topic in topics() if topic.applied or incomplete}
    words |= {code: about.about for code, about in CODES.items()}
    return [(word, about) for word, about in words.items() if word.lower().startswith(incomplete.lower())]


# What an option reaches


def reach(option: Option) -> dict[str, list[Listen]]:
    """The protocols that speak an option, each with the sockets that it speaks it for."""
    spoken = {p.name: [listen for listen in sockets(p) if applies(option, listen, p)] for p in PROTOCOLS}
    return {name: listens for name, listens in spoken.items() if listens}


def sockets(protocol: Protocol) -> list[Listen]:
    """A socket of every type and family that the protocol has."""
    families = [address for address in SAMPLES if address.family in protocol.families]
    return [Listen(kind, address) for kind in KINDS if kind in protocol.kinds for address in families]


def without(row: Row) -> list[str]:
    """The protocols that speak none of the options of a directive."""
    spoken = {name for option in row.options for name in reach(option)}
    return [protocol.name for protocol in PROTOCOLS if row.options and protocol.name not in spoken]


FAMILY_NAMES = {"inet": "IPv4", "inet6": "IPv6"}


def _limits(protocol: Protocol, listens: list[Listen]) -> str:
    """For which sockets of a protocol an option is, if not for all."""
    families = {listen.address.family for listen in listens}
    kinds = {listen.kind for listen in listens}
    over = [name for family, name in FAMILY_NAMES.items() if family in families and families != protocol.families]
    carried = [KINDS[kind].carries for kind in KINDS if kind in kinds and kinds != protocol.kinds]
    return "".join(f" {word} {' and '.join(names)}" for word, names in (("over", over), ("for", carried)) if names)


def _speakers(option: Option) -> str:
    """The protocols in words, those with the same limits together."""
    reached = reach(option)
    grouped: dict[str, list[str]] = {}
    for protocol in PROTOCOLS:
        if protocol.name in reached:
            grouped.setdefault(_limits(protocol, reached[protocol.name]), []).append(protocol.name)
    if grouped == {"": [protocol.name for protocol in PROTOCOLS]}:
        return "every socket"
    return "; ".join(f"{', '.join(names)}{limits}" for limits, names in grouped.items())


# As text


def as_text(words: Iterable[str], width: int) -> str:
    """What the words mean, for people."""
    parts = [[_code_text(code(word), width)] if code(word) else _topics_text(find(word), width) for word in words]
    return "\n\n".join(text for part in parts for text in part)


def _topics_text(found: list[Topic], width: int) -> list[str]:
    """Sections that say the same share one answer."""
    sections: dict[Topic, list[str]] = {}
    for topic in found:
        sections.setdefault(topic.replace(section=""), []).append(topic.section)
    return [_topic_text(topic, titles, width) for topic, titles in sections.items()]


def _topic_text(topic: Topic, titles: list[str], width: int) -> str:
    value = topic.row.kind.name.upper().replace(" ", "-") if topic.row and topic.applied else ""
    head = f"{_headed(titles)} {topic.key}={value}"
    lines = [head, "", *_wrapped(topic.reason or _meaning(topic, titles), "    ", width)]
    if topic.row and topic.applied:
        facts = [fact for fact in _facts(topic.row, titles) if fact[1]]
        labels = [label if i == 0 or facts[i - 1][0] != label else "" for i, (label, _) in enumerate(facts)]
        lines += ["", *(line for label, (_, text) in zip(labels, facts, strict=True) for line in _labelled(label, text, width))]
    return "\n".join(lines)


def _meaning(topic: Topic, titles: list[str]) -> str:
    assert topic.row, "what is applied has a row"
    there = " In [Socket] it is for the commands of ExecStartPre=, ExecStartPost=, ExecStopPre= and ExecStopPost=."
    return topic.row.meaning + (there if "Socket" in titles and topic.row in SHARED else "")


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    hanging = " " * len(indent)
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False)


def _labelled(label: str, text: str, width: int) -> list[str]:
    return _wrapped(text, f"    {label:<{LABEL}}", width)


def _facts(row: Row, titles: list[str]) -> Iterator[tuple[str, str]]:
    """What a row says, line by line; a label that comes again is not repeated."""
    yield "value", row.kind.grammar
    yield "default", default(row)
    yield "also", ", ".join(f"{alias}=" for alias in row.aliases)
    yield "only for", row.concerns.noun if row.concerns else ""
    yield "only with", "" if row.accept is None else f"Accept={'yes' if row.accept else 'no'}"
    for option in row.options:
        forced = f" (or {option.forced}, where a sysctl caps it)" if option.forced else ""
        fatal = "; if refused, the unit fails" if option.fatal else ""
        yield "kernel", f"setsockopt({option.level}, {option.name}){forced}: {_speakers(option)}{fatal}"
    yield "kernel", row.controller and f"the controller {row.controller} of the control group; without it, nothing is limited"
    yield "not with", ", ".join(without(row))
    yield "mistakes", "a value that cannot be read is an error (SA011)" if row.essential else ""
    for example in row.examples:
        yield "example", f"{row.key}={example}"
    own = SockactSection.title in titles
    yield "since", "sockact's own; systemd reads over the section in silence" if own else row.since and f"systemd {row.since}"


def default(row: Row) -> str:
    """The default as one would write it; that of a function is what it is in an empty section."""
    value = _default(row)
    if value is None:
        return "what the kernel has" if row.options else ""
    said = ("yes" if value else "no") if isinstance(value, bool) else str(value) if value not in ([], ()) else ""
    return said and said + (", unless other settings say otherwise" if callable(row.default) else "")


def _default(row: Row) -> Any:
    """The default as a JSON value."""
    sections = (section for section in SECTIONS if any(row is other for _, other in section.rows()))
    value = row.default(next(sections)({}, {})) if callable(row.default) else row.default
    return None if value is None else row.kind.show(value)


def listing() -> str:
    """All that is applied, by section, a line each; what sections have in common stands in a list of its own."""
    applied = [topic for topic in topics() if topic.applied]
    groups: dict[tuple[str, ...], list[Topic]] = {}
    for topic in applied:
        titles = tuple(other.section for other in applied if (other.key, other.row) == (topic.key, topic.row))
        if topic.section == titles[0]:
            groups.setdefault(titles, []).append(topic)
    widest = max(len(topic.key) for topic in applied) + 1
    return "\n\n".join(
        "\n".join((_headed(titles), *(f"  {topic.key + '=':<{widest}}  {_brief(topic)}" for topic in found)))
        for titles, found in groups.items()
    )


def _headed(titles: Iterable[str]) -> str:
    return " and ".join(f"[{title}]" for title in titles)


def _brief(topic: Topic) -> str:
    """The first words of what it means."""
    text = topic.reason or (topic.row.meaning if topic.row else "")
    return text.partition(". ")[0].partition("; ")[0].removesuffix(".")


# Codes

SEVERITIES = {
    diagnostics.ERROR: "nothing is started",
    diagnostics.WARNING: "the units are started nevertheless",
    diagnostics.NOTE: "the units are started, and do less than under systemd",
}
SCOPES = {
    diagnostics.UNIT: "true of the file, on every machine",
    diagnostics.HOST: "true of this machine only; left out with --offline",
    diagnostics.PORTABLE: "true of the file under systemd; told with --portable only",
}


def _code_text(name: str, width: int) -> str:
    known, advice = CODES[name], ADVICE.get(name, Advice(""))
    lines = _wrapped(f"{known.severity}[{name}]: {known.about}", "", width)
    lines += ["", *(f"        {line}" for line in advice.example.split("\n"))] if advice.example else []
    lines += ["", *_wrapped(advice.remedy, "    ", width)] if advice.remedy else []
    lines += ["", *_labelled(known.severity, SEVERITIES[known.severity], width)]
    return "\n".join([*lines, *_labelled(known.scope, SCOPES[known.scope], width)])


# As JSON


def as_json(words: Iterable[str], everything: bool) -> list[dict[str, object]]:
    """What the words mean, or everything that is known."""
    if everything:
        return [*map(_topic_json, topics()), *map(_code_json, CODES)]
    return [said for word in words for said in ([_code_json(code(word))] if code(word) else map(_topic_json, find(word)))]


def _code_json(name: str) -> dict[str, object]:
    known, advice = CODES[name], ADVICE.get(name, Advice(""))
    return {
        "code": name,
        "severity": known.severity,
        "scope": known.scope,
        "about": known.about,
        "example": advice.example or None,
        "remedy": advice.remedy or None,
    }


def _topic_json(topic: Topic) -> dict[str, object]:
    """Every column of the row, or the reason why there is none."""
    said: dict[str, object] = {
        "section": topic.section,
        "key": topic.key,
        "applied": topic.applied,
        "reason": topic.reason or None,
    }
    return said | _row_json(topic.row) if topic.row and topic.applied else said


def _row_json(row: Row) -> dict[str, object]:
    return {
        "aliases": list(row.aliases),
        "meaning": row.meaning,
        "type": row.kind.name,
        "grammar": row.kind.grammar,
        "appends": row.kind.appends,
        "default": _default(row),
        "essential": row.essential,
        "only_for": row.concerns.noun if row.concerns else None,
        "only_with_accept": row.accept,
        "options": [_option_json(option) for option in row.options],
        "controller": row.controller or None,
        "not_with": without(row),
        "examples": list(row.examples),
        "since": row.since or None,
    }


def _option_json(option: Option) -> dict[str, object]:
    return {
        "level": option.level,
        "name": option.name,
        "forced": option.forced or None,
        "fatal": option.fatal,
        "protocols": {
            name: sorted({f"{listen.kind} {listen.address.family}" for listen in listens})
            for name, listens in reach(option).items()
        },
    }
