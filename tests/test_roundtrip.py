"""There and back: units made from the directive table are written as text and read again, and no bytes at all are too much.

What `sockact show` prints of a value is, but for the kinds named here, text that reads as this value; `tools/fuzz.py` writes
units with it and examines whatever hypothesis makes up here and libFuzzer there.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sockact.net import linux, protocols
from sockact.unit.commands import MaybePath, Stream
from sockact.unit.directives import Field, Row, Section
from sockact.unit.directives.unit import UnitSection
from sockact.unit.load import BODIES, ServiceUnit, SocketUnit, load
from sockact.unit.places import WAYS, OpenFile
from sockact.unit.syntax import parse
from sockact.unit.values import RESET
from tests.fakes import findings
from tools.fuzz import HOST, SECTIONS, SEPARATOR, SERVICE, SPELLED, closed, examine, meaning, placeless, reread, row_of, spelled

quick = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
"""The same inputs each time: this is a proof for everybody's change. Those that nobody has seen are for tools/fuzz.py."""

NAMES = {section: f"web.{kind}" for kind, (_, sections) in BODIES.items() for section in sections}
"""A unit in which a section may stand."""

Line = tuple[type[Section], Field, Row, str]
"""One assignment to be: section, field, row and the text of the value."""

EXAMPLES: list[Line] = [
    (section, field, row, text) for section in SECTIONS for field, row in section.rows() for text in row.examples
]
EACH_EXAMPLE = [pytest.param(*line, id=f"[{line[0].title}]{line[2].key}={line[3]}({line[1].name})") for line in EXAMPLES]


def read(text: str, name: str) -> SocketUnit | ServiceUnit:
    """A unit of which nothing is refused."""
    unit, found = load(parse(text.encode(), name), name, name, HOST.context(name, name))
    assert [diagnostic for diagnostic in found if diagnostic.scope != "portable"] == []
    return unit


def value_of(row: Row, text: str, name: str = "web.socket") -> Any:
    return row.kind.read(text, HOST.context(name, name))


# Every row


@pytest.mark.parametrize(("section", "field", "row", "text"), EACH_EXAMPLE)
def test_an_example_is_written_as_a_unit_that_means_the_same(section: type[Section], field: Field, row: Row, text: str) -> None:
    unit = read(f"[{section.title}]\n{row.key}={text}\n", NAMES[section])
    assert field.name in meaning(unit)[section.title]
    reread(unit)


def shown(row: Row, value: Any) -> str:
    """A value as `sockact show` prints it, one entry of a list."""
    text = row.kind.show(value)
    text = text[0] if isinstance(text, list | tuple) else text
    return ("no", "yes")[text] if isinstance(text, bool) else str(getattr(text, "address", text))


@pytest.mark.parametrize(("section", "field", "row", "text"), EACH_EXAMPLE)
def test_what_show_prints_of_an_example_reads_as_the_same_value(
    section: type[Section], field: Field, row: Row, text: str
) -> None:
    value = value_of(row, text)
    if row.kind.name not in SPELLED and row_of(field, value).kind is row.kind and not (row.kind.appends and len(value) > 1):
        assert value_of(row, shown(row, value)) == value


UNREADABLE = {
    "address": ("ListenStream", "@\u00e9", "UNIX names are shown with systemd's octal escapes; unit files have none there"),
    "time": ("RestartSec", "1us", "a time is shown as a number of JSON, 1e-06, and time spans have no exponents"),
    "timeout": ("TimeoutStopSec", "1us", "as with time"),
    "interval": ("TriggerLimitIntervalSec", "1us", "as with time"),
    "condition": ("ConditionPathExists", "|!/etc/web", "a condition is shown as a whole line, among those of other keys"),
    "command": ("ExecStart", "echo a ; echo b", "each command is shown alone, without its place in the line"),
    "variables": ("Environment", '"A=b c"', "variables are shown without their quotes"),
    "paths": ("Symlinks", '"/a b"', "paths are shown without their quotes"),
    "names and values": ("UnsetEnvironment", '"A=b c"', "variables are shown without their quotes"),
    "accounts": ("SupplementaryGroups", '"a b"', "groups are shown without their quotes"),
    "directories": ("StateDirectory", '"a b"', "directories are shown without their quotes"),
    "opened file": ("OpenFile", r"/a\:b:c", "paths of opened files are shown without their backslashes"),
    "credential": ("SetCredential", r"a:b\x5cn", "a credential is shown without its escapes"),
    "data": ("StandardInputData", "aGVsbG8=", "data is shown as text"),
    "bits": ("SecureBits", "3", "bits are shown by their names, all lines together"),
    "mappings": ("CoredumpFilter", "1 2", "masks are shown as one, all lines together"),
    "processors": ("CPUAffinity", "1 0", "processors are shown in order, all lines together"),
    "capabilities": ("CapabilityBoundingSet", "~CAP_CHOWN", "capabilities are shown as what all lines come to"),
}
"""Kinds of which the shown form is for people: a text of which it does not read as the same value, and why that is so."""


def test_the_kinds_whose_shown_form_is_not_meant_to_be_read_are_these() -> None:
    kinds = {row.kind.name for section in SECTIONS for _, row in section.rows()}
    assert UNREADABLE.keys() == SPELLED.keys()
    assert kinds >= UNREADABLE.keys()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_kind_called_unreadable_is_and_can_be_written_all_the_same(kind: str) -> None:
    key, text, _reason = UNREADABLE[kind]
    section = next(section for section in reversed(SECTIONS) if key in section.table)
    _, row = section.table[key][0]
    value = value_of(row, text)
    assert row.kind.name == kind
    assert value_of(row, shown(row, value)) != value
    unit = read(f"[{section.title}]\n{key}={text}\n", NAMES[section])
    assert value in meaning(unit)[section.title].values() or kind == "command"
    reread(unit)


def test_a_percent_sign_is_shown_once_and_written_twice() -> None:
    row = UnitSection.table["Description"][0][1]
    value = value_of(row, "50%%n")
    assert shown(row, value) == "50%n"
    assert value_of(row, shown(row, value)) == "50web.socket"
    assert value_of(row, spelled(row, value)) == value


CONDITIONS = [line for line in EXAMPLES if line[2].kind.name == "condition"]


@pytest.mark.parametrize(("section", "field", "row", "text"), CONDITIONS, ids=lambda part: str(getattr(part, "key", part))[:60])
def test_a_condition_is_shown_as_the_line_that_it_is(section: type[Section], field: Field, row: Row, text: str) -> None:
    """Several keys feed one list, so that each entry is shown with its own."""
    (condition,) = value_of(row, text)
    key, _, shown_text = str(condition).partition("=")
    assert key == row.key
    assert value_of(row, shown_text) == (condition,)


@pytest.mark.parametrize(
    "lines",
    [
        "ConditionPathExists=/a\nConditionHost=b\nConditionPathExists=|!/c\nAssertUser=d",
        "ConditionHost=! %Bb\nConditionHost=|%B!c\nConditionHost=d %B",
        "ConditionPathExists=/50%%n \\\\",
        "ConditionHost=%t",
    ],
)
def test_conditions_keep_their_order_and_what_they_are(lines: str) -> None:
    unit = read(f"[Unit]\n{lines}\n[Service]\n", "web.service")
    assert len(unit.unit.conditions) + len(unit.unit.asserts) == len(lines.split("\n"))
    reread(unit)


@pytest.mark.parametrize("text", ["|no", "|", "| 50%", "|!!|"])
def test_a_condition_that_is_not_applied_is_written_as_it_was(text: str) -> None:
    unit, found = load(parse(f"[Unit]\nConditionFirstBoot={text}\n".encode(), "a"), "web.service", "a", HOST.context("a.b", "a"))
    assert [diagnostic.code for diagnostic in found] == ["SA008"]
    assert [str(condition) for condition in unit.unit.conditions] == [f"ConditionFirstBoot={text}"]
    reread(unit)


# Values of every kind

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), max_size=12)
WORD = st.text("aZ9_.é%", min_size=1, max_size=8)
PATH = st.lists(TEXT.filter(lambda part: part != ".."), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
SPAN = st.floats(0, 1e9) | st.integers(0, 10**12).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "account": WORD.filter(lambda name: not name.isdigit() and name not in (".", "..")) | st.integers(0, 65534).map(str),
    "boolean": st.booleans(),
    "burst": st.integers(0, 0xFFFFFFFE),
    "count": st.integers(1, (1 << 63) - 1),
    "directory": st.builds(MaybePath, PATH | st.just("~"), st.booleans()),
    "file": st.builds(MaybePath, PATH, st.booleans()),
    "interface": WORD.filter(lambda name: "%" not in name and not name.isdigit() and name not in (".", "..")),
    "interval": SPAN,
    "mode": st.integers(0, 0o7777),
    "name": st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=12),
    "number": st.integers(0, 0xFFFFFFFF),
    "output": st.builds(Stream, st.sampled_from(["file", "append", "truncate"]), PATH)
    | st.builds(Stream, st.sampled_from(["inherit", "null", "journal", "socket"])),
    "protocol": st.sampled_from([protocol for protocol in protocols.PROTOCOLS if protocol.selectable]),
    "service class": st.integers(0, 255),
    "setting": st.integers(0, (1 << 31) - 1),
    "signal": st.sampled_from([*linux.SIGNALS.values(), *range(linux.RTMIN, linux.RTMAX + 1)]),
    "size": st.integers(0, (1 << 63) - 1),
    "text": TEXT.filter(bool),
    "time": SPAN | st.just(inf),
    "timeout": SPAN.filter(bool) | st.just(inf),
    "units": st.from_regex(r"[a-z0-9:_.\\-]{1,8}(@[a-z0-9]{1,3})?\.socket", fullmatch=True),
    "variables": st.tuples(st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), TEXT | st.just("a\nb")),
}
VALUES["opened file"] = st.builds(OpenFile, PATH, VALUES["name"], st.sampled_from(["", *WAYS]), st.booleans())
"""Typed values by the name of their kind; for an adding kind, one entry."""

OF_THESE_KINDS = [
    pytest.param(section, field, row, id=f"[{section.title}]{row.key}({field.name})")
    for section in SECTIONS
    for field, row in section.rows()
    if row.kind.name in VALUES and row_of(field, None).kind is row.kind
]


@pytest.mark.parametrize(("section", "field", "row"), OF_THESE_KINDS)
@settings(quick, max_examples=8)
@given(st.data())
def test_any_value_of_a_kind_is_written_as_text_that_reads_as_this_value(
    section: type[Section], field: Field, row: Row, data: st.DataObject
) -> None:
    value = data.draw(VALUES[row.kind.name])
    unit = read(f"[{section.title}]\n{row.key}={closed(spelled(row, value))}\n", NAMES[section])
    assert meaning(unit)[section.title][field.name] == ((value,) if row.kind.appends else value)
    reread(unit)


# Addresses and command lines, which have grammars of their own

PORT = st.integers(1, 65535)
HEX = st.integers(0, (1 << 128) - 1)
LETTERS = st.text("az09_-. éÜ%$@:", min_size=1, max_size=20)
ADDRESSES = st.one_of(
    PORT.map(str),
    st.tuples(st.ip_addresses(v=4), PORT).map(lambda it: f"{it[0]}:{it[1]}"),
    st.tuples(st.ip_addresses(v=6), PORT).map(lambda it: f"[{it[0]}]:{it[1]}"),
    st.tuples(st.ip_addresses(v=6, network="fe80::/10"), PORT).map(lambda it: f"[{it[0]}]:{it[1]}%%eth0"),
    LETTERS.map(lambda name: f"/run/{name}".replace("%", "%%").rstrip()),
    LETTERS.map(lambda name: f"@{name}".replace("%", "%%").rstrip()).filter(lambda name: len(name) > 1),
    st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFE)).map(lambda it: f"vsock:{it[0]}:{it[1]}"),
)
ADDRESS_KEYS = st.sampled_from(["ListenStream", "ListenDatagram"])


@quick
@given(st.lists(st.tuples(ADDRESS_KEYS, ADDRESSES), min_size=1, max_size=5))
def test_addresses_keep_their_order_and_what_they_are(listens: list[tuple[str, str]]) -> None:
    unit = read("[Socket]\n" + "".join(f"{key}={address}\n" for key, address in listens), "web.socket")
    assert isinstance(unit, SocketUnit)
    assert [listen.kind for listen in unit.socket.listen] == [key.removeprefix("Listen").lower() for key, _ in listens]
    reread(unit)


def bare(word: str) -> str:
    """A word without quotes: what means something to the splitter, or to the parser at the start of a line, is escaped."""
    return "".join(f"\\{c}" if c in "\"'\\" else f"\\x{ord(c):02x}" if c in " \t\n;#" else c for c in word)


def quoted(word: str, quote: str) -> str:
    return quote + word.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n") + quote


def in_numbers(word: str) -> str:
    return "".join(f"\\x{byte:02x}" if byte % 2 else f"\\{byte:03o}" for byte in word.encode())


QUOTINGS = st.sampled_from([bare, in_numbers, lambda word: quoted(word, "'"), lambda word: quoted(word, '"')])
WORDS = st.text("aZ0/;'\"\\ \t\né=$#[]", min_size=1, max_size=8)


@quick
@given(st.lists(st.tuples(WORDS, QUOTINGS, st.sampled_from([" ", "  ", " \t", " \\\n  ", " \\\n# why\n"])), max_size=6))
def test_words_are_the_same_however_they_are_quoted_and_divided(words: list[tuple[str, Any, str]]) -> None:
    line = "/bin/echo" + "".join(blanks + spell(word).replace("%", "%%") for word, spell, blanks in words)
    unit = read(f"[Service]\nExecStart={line}\n", "web.service")
    assert isinstance(unit, ServiceUnit)
    (command,) = unit.service.exec_start
    assert command.arguments == tuple(word for word, _, _ in words)
    reread(unit)


# Whole units


def lines_for(name: str) -> st.SearchStrategy[list[Line]]:
    _, sections = BODIES[name.rpartition(".")[2]]
    return st.lists(st.sampled_from([line for line in EXAMPLES if line[0] in sections]), max_size=12)


UNITS = st.sampled_from(sorted(f"web.{kind}" for kind in BODIES)).flatmap(lambda name: st.tuples(st.just(name), lines_for(name)))


def folded(name: str, lines: list[Line]) -> dict[str, dict[str, Any]]:
    """What the lines of a unit mean, one after the other, said without the loader: a list grows, all else is replaced."""
    _, sections = BODIES[name.rpartition(".")[2]]
    meant: dict[str, dict[str, Any]] = {section.title: {} for section in sections}
    for section, _, row, text in lines:
        value = value_of(row, text, name)
        for field, _ in section.table[row.key]:
            if value is RESET:
                meant[section.title].pop(field.name, None)
            elif row.kind.appends:
                meant[section.title][field.name] = (*meant[section.title].get(field.name, ()), *map(placeless, value))
            else:
                meant[section.title][field.name] = value
    return meant


@quick
@given(UNITS)
def test_a_unit_means_what_its_lines_mean_and_is_written_as_such(made: tuple[str, list[Line]]) -> None:
    name, lines = made
    unit = read("".join(f"[{section.title}]\n{row.key}={text}\n" for section, _, row, text in lines), name)
    assert meaning(unit) == folded(name, lines)
    reread(unit)


NOISE = st.sampled_from(["", "\n", "# comment\n", " ; comment \\\n", "\t\n", "[X-Ours]\nkey=value\n", "[Install]\nAlias=x\n"])
MORE_NOISE = st.sampled_from(["", "X-Ours=1\n", "\n# [comment]\n"])
ODD = st.sampled_from(
    [
        *("{0}={1}", " {0} = {1} ", "{0}\t=\t{1}", "{0}=\\\n  {1}", "{0}\\\n={1}"),
        *("{0}=\\\n# why\n;\n\t{1}", "{0}={2}", "{0}={1}\\\n"),
    ]
)
"""Ways to lay out one assignment; {2} is the value with lines that end where single blanks are."""


@quick
@given(
    UNITS,
    st.lists(st.tuples(NOISE, MORE_NOISE, ODD), min_size=12, max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)
def test_layout_means_nothing(
    made: tuple[str, list[Line]], layout: list[tuple[str, str, str]], line_end: str, with_mark: bool, with_end: bool
) -> None:
    name, lines = made
    plain = "".join(f"[{section.title}]\n{row.key}={text}\n" for section, _, row, text in lines)
    text = "\ufeff" if with_mark else ""
    for (section, _, row, value), (noise, more, odd) in zip(lines, layout, strict=False):
        divided = re.sub(r" (?=[^ \t;#])", r"\\\n", value)
        text += f"{noise}[{section.title}]\n{more}{odd.format(row.key, value, divided)}\n"
    text = (text if with_end else text.removesuffix("\n")).replace("\n", line_end)
    assert meaning(read(text, name)) == meaning(read(plain, name))


# Whatever comes

KEYS = sorted({key for section in SECTIONS for key in (*section.table, *section.moved)})
JUNK = st.text("[]=\\\n\r#; \tA1.:%@/$'\"-+{}\x00\x1e\x7fé\ufeff\u2028٣²", max_size=10)
PLAUSIBLE = st.one_of(
    st.sampled_from([f"[{section.title}]\n" for section in SECTIONS]),
    st.builds("{}={}\n".format, st.sampled_from(KEYS), JUNK),
    st.sampled_from([f"{row.key}={text}\n" for section, _, row, text in EXAMPLES]),
    st.sampled_from([f"{row.key}={text}\n" for section in SECTIONS for _, row in section.rows() for text in row.rejects]),
    st.builds(lambda line, junk: f"{line[2].key}={line[3]}{junk}\n", st.sampled_from(EXAMPLES), JUNK),
    JUNK,
)


@settings(quick, max_examples=400)
@given(st.binary(max_size=60))
@example(b"")
@example(b"\xef\xbb\xbf[Socket]\nListenStream=8080")
def test_any_bytes_are_answered_with_diagnostics_that_point_into_the_file(data: bytes) -> None:
    examine(data)


@settings(quick, max_examples=800)
@given(st.lists(PLAUSIBLE, max_size=12).map("".join))
def test_any_plausible_text_is_answered_with_diagnostics_that_point_into_the_file(text: str) -> None:
    examine(text.encode())


@settings(quick, max_examples=200)
@given(
    st.lists(PLAUSIBLE, max_size=6).map("".join),
    st.lists(PLAUSIBLE, max_size=6).map("".join),
    st.lists(PLAUSIBLE, max_size=3).map("".join),
)
def test_so_are_a_socket_its_service_and_their_drop_ins(socket: str, service: str, drop_in: str) -> None:
    parts = ["[Socket]\nListenStream=1\n" + socket, "[Service]\nExecStart=/x\n" + service, SERVICE.decode(), drop_in, drop_in]
    examine(SEPARATOR.join(part.encode() for part in parts))


def test_units_may_need_each_other_in_a_chain_of_any_length() -> None:
    files = {}
    for number in range(3000):
        files[f"u{number}.socket"] = f"[Socket]\nListenStream=@{number}\n"
        files[f"u{number}.service"] = f"[Service]\nExecStart=/x\nSockets=u{number + 1}.socket\n"
    assert any("no socket for Sockets=u3000.socket" in found.message for found in findings(files, "u0.socket"))
