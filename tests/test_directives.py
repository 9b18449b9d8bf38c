"""The directive table: every row's examples do something, every reject is told at its place, and systemd's keys are all known."""

from __future__ import annotations

import ast
import json
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sockact
from sockact.cli.describe import describe
from sockact.net import linux
from sockact.net.addresses import Listen
from sockact.net.plan import applies, plan
from sockact.net.protocols import PROTOCOLS, choose
from sockact.unit.diagnostics import Diagnostic, Invalid
from sockact.unit.directives import Concern, Field, Option, Row, Section, directive
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.directives.service import ServiceSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import InstallSection, UnitSection
from sockact.unit.load import BODIES, ServiceUnit, SocketUnit
from tests.fakes import ours, service_unit, socket_unit

DATA = Path(__file__).parent / "data"
SECTIONS: tuple[type[Section], ...] = (UnitSection, SocketSection, ServiceSection, SockactSection)
PORTS = "ListenStream=127.0.0.1:1\nListenStream=[::1]:1\n"
NODES = "ListenDatagram=127.0.0.1:1\nListenStream=/x\nListenFIFO=/f\nListenNetlink=route\nListenMessageQueue=/q\n"


def names(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / file).read_text())
    return found


def rows() -> Iterator[tuple[type[Section], Field, Row]]:
    for section in SECTIONS:
        for field, row in section.rows():
            yield section, field, row


def vectors(column: str) -> list[Any]:
    """One parameter for each entry of a column, over all rows."""
    return [
        pytest.param(section, field, row, text, id=f"[{section.title}]{row.key}={text}({field.name})")
        for section, field, row in rows()
        for text in getattr(row, column)
    ]


WITHOUT_EFFECT = ("DeferTrigger", "DeferTriggerMaxSec")
"""No unit conflicts with another here, so that nothing is ever deferred, whatever these say."""

ROWS = [pytest.param(section, field, row, id=f"[{section.title}]{row.key}({field.name})") for section, field, row in rows()]


def unit_with(section: type[Section], line: str) -> tuple[SocketUnit | ServiceUnit, list[Diagnostic]]:
    """A unit on which every directive can act, with one more line in the section."""
    if section is ServiceSection:
        return service_unit(f"[Service]\nExecStart=/bin/true\n{line}\n")
    # A protocol is that of all sockets, so that it is tried on those which can speak it.
    ports = PORTS if line.startswith("SocketProtocol=") else PORTS + NODES
    unit, found = socket_unit(f"[Unit]\n[Socket]\n{ports}[{section.title}]\n{line}\n")
    return unit, ours(found)


def line_of_the_mistake(section: type[Section], line: str) -> int:
    return 3 if section is ServiceSection else 4 + (PORTS if line.startswith("SocketProtocol=") else PORTS + NODES).count("\n")


@pytest.mark.parametrize(("section", "field", "row", "text"), vectors("examples"))
def test_an_example_loads_clean_and_changes_what_is_shown(section: type[Section], field: Field, row: Row, text: str) -> None:
    line = f"{row.key}={text}"
    plain, with_example = unit_with(section, "SocketProtocol=" if row.key == "SocketProtocol" else ""), unit_with(section, line)
    assert with_example[1] == []
    assert section_of(with_example[0], section).value(field) != section_of(plain[0], section).value(field)
    assert describe(with_example[0], True) != describe(plain[0], True)


@pytest.mark.parametrize(("section", "field", "row", "text"), vectors("rejects"))
def test_a_reject_is_one_diagnostic_at_its_line_and_changes_nothing(
    section: type[Section], field: Field, row: Row, text: str
) -> None:
    line = f"{row.key}={text}"
    plain, broken = unit_with(section, ""), unit_with(section, line)
    if row.key == "SocketProtocol":
        plain = unit_with(section, "SocketProtocol=")
    (diagnostic,) = broken[1]
    span = diagnostic.span
    assert span is not None
    known_to_systemd = "is not applied" in diagnostic.message
    assert diagnostic.code == ("SA011" if row.essential else "SA008" if known_to_systemd else "SA010")
    assert span.line == line_of_the_mistake(section, line)
    assert len(row.key) + 2 <= span.column < span.end_column <= len(line) + 2
    assert span.source == line
    assert section_of(broken[0], section).value(field) == section_of(plain[0], section).value(field)


def section_of(unit: SocketUnit | ServiceUnit, section: type[Section]) -> Section:
    return next(found for found in unit.sections if isinstance(found, section))


@pytest.mark.parametrize(("section", "field", "row"), ROWS)
def test_a_row_has_examples_unless_nothing_is_applied_and_says_what_it_means(
    section: type[Section], field: Field, row: Row
) -> None:
    assert row.meaning.endswith((".", "show.")) or row.kind.name == "text"
    assert row.kind.grammar
    assert row.examples or row.kind.grammar == "not applied"
    assert row.rejects or row.kind.name == "text", "only free text can be refused nowhere"


@pytest.mark.parametrize(("section", "field", "row"), ROWS)
def test_a_row_is_read_by_somebody(section: type[Section], field: Field, row: Row) -> None:
    for_people_only = row.meaning.endswith("shown by sockact show.")
    read = row.options or for_people_only or field.name in attributes_read()
    assert bool(read) is (row.key not in WITHOUT_EFFECT), f"nobody reads {field.name}"


@pytest.mark.parametrize("record", [Row, Option, Concern], ids=lambda record: record.__name__)
def test_a_column_is_read_by_somebody(record: type[Row] | type[Option] | type[Concern]) -> None:
    """Examples and what is refused are read here."""
    assert [column for column in record.fields if column not in columns_read()[record.__name__]] == []


@cache
def columns_read() -> dict[str, set[str]]:
    """The attributes that are read of what bears the name of a row, an option or a concern."""
    root = Path(sockact.__file__).parent
    called = {"row": "Row", "option": "Option", "step": "Option", "concerns": "Concern"}
    found: dict[str, set[str]] = {"Row": {"examples", "rejects"}, "Option": set(), "Concern": set()}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                whose = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                found[called.get(whose.removeprefix("_"), "Concern")].add(node.attr)
    return found


@pytest.mark.parametrize(
    "row", [row for field, row in SocketSection.rows() if field in vars(SocketSection).values()], ids=lambda row: row.key
)
def test_a_row_of_socket_tells_since_when_systemd_has_it(row: Row) -> None:
    since = {entry["name"]: entry["since"].split()[0] for entry in names("socket-directives.json")}
    assert row.since == {**since, "NetworkNamespacePath": "242", "PrivateNetwork": "33"}[row.key]


@pytest.mark.parametrize("row", [row for _, row in SockactSection.rows()], ids=lambda row: row.key)
def test_a_row_of_our_own_is_nothing_that_systemd_has_had(row: Row) -> None:
    assert row.since == ""
    assert row.key not in {*SOCKET_KEYS, *SERVICE_KEYS}
    assert row.key not in SocketSection.table


def test_what_is_run_is_configured_alike_in_services_and_sockets() -> None:
    shared = {row.key for _, row in ExecutionSection.rows()}
    assert shared
    for section in (ServiceSection, SocketSection):
        assert shared <= section.table.keys()
        assert all(row.since == "" or row.since.isdigit() for _, row in section.rows())
    lines = "Environment=A=1\nUser=nobody\nKillSignal=SIGINT\nStandardOutput=null\n"
    socket_section, service_section = socket_unit(lines)[0].socket, service_unit(lines)[0].service
    for field, row in ExecutionSection.rows():
        assert socket_section.value(field) == service_section.value(field), row.key


@cache
def attributes_read() -> frozenset[str]:
    """All attributes that the package reads, outside of the table itself."""
    root = Path(sockact.__file__).parent
    trees = [ast.parse(path.read_text()) for path in root.rglob("*.py") if path.parent.name != "directives"]
    table = [ast.parse(path.read_text()) for path in (root / "unit" / "directives").glob("*.py")]
    inside = {node.attr for tree in table for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    outside = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    # What only the table reads decides about defaults of other rows, which are read in their turn.
    return frozenset(outside | inside)


def options() -> list[Any]:
    return [
        pytest.param(section, row, option, id=f"{row.key}-{option.name}") for section, _, row in rows() for option in row.options
    ]


@pytest.mark.parametrize(("section", "row", "option"), options())
def test_every_option_has_numbers_and_reaches_some_socket(section: type[Section], row: Row, option: Option) -> None:
    assert linux.number(option.level) >= 0
    assert linux.number(option.name) > 0
    if option.forced:
        assert linux.number(option.forced) > 0
    protocol = "sctp" if option.level == "IPPROTO_SCTP" else ""
    ports = f"{PORTS}SocketProtocol={protocol}\n{'' if protocol else NODES}"
    units = [socket_unit(f"[Socket]\n{ports}[{section.title}]\n{row.key}={example}\n")[0] for example in row.examples]
    steps = [str(step) for unit in units for port in plan(unit) for step in port.steps]
    assert any(step.startswith(f"setsockopt({option.level}, {option.name}, ") for step in steps)


@pytest.mark.parametrize(("section", "row", "option"), options())
def test_every_option_is_left_out_where_the_socket_does_not_have_it(section: type[Section], row: Row, option: Option) -> None:
    unit, _ = socket_unit(PORTS + NODES + "ListenSequentialPacket=@y\nListenStream=vsock::1\nListenDatagram=@z\n")
    for listen in unit.socket.listen:
        protocol = choose(listen, None)
        if protocol is None or isinstance(protocol, Invalid):
            continue
        if option.level == "IPPROTO_TCP":
            assert applies(option, listen, protocol) is (protocol.name == "tcp")
        if option.level == "IPPROTO_IP":
            assert applies(option, listen, protocol) is (listen.address.family in (option.families or {"inet"}))
        if option.level == "IPPROTO_IPV6":
            assert applies(option, listen, protocol) is (listen.address.family == "inet6")
        if option.level == "SOL_NETLINK":
            assert applies(option, listen, protocol) is (listen.kind == "netlink")


def test_an_unset_row_sets_no_option() -> None:
    unit, _ = socket_unit(PORTS + NODES)
    for port in plan(unit):
        set_there = [str(step) for step in port.steps if str(step).startswith("setsockopt")]
        assert set_there == (["setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"] if port.protocol else [])


def test_numbers_that_python_knows_too_are_the_same() -> None:
    for name, number in linux.LACKING.items():
        assert getattr(socket, name, number) == number


def test_a_number_that_nobody_knows_is_an_error_of_ours() -> None:
    with pytest.raises((KeyError, AttributeError)):
        linux.number("SO_NO_SUCH_OPTION")


# What systemd knows

SOCKET_KEYS = [entry["name"] for entry in names("socket-directives.json")] + [
    entry["name"] for entry in names("service-directives.json") if "Socket" in entry["sections"]
]
SERVICE_KEYS = [entry["name"] for entry in names("service-directives.json") if "Service" in entry["sections"]]
SYSTEMD = [(SocketSection, key) for key in SOCKET_KEYS] + [(ServiceSection, key) for key in SERVICE_KEYS]


@pytest.mark.parametrize("key", [entry["name"] for entry in names("socket-directives.json")])
def test_each_of_the_seventy_keys_is_a_row_or_known_with_a_reason(key: str) -> None:
    assert len(names("socket-directives.json")) == 70
    assert (key in SocketSection.table) is not (key in SocketSection.known)
    if key in SocketSection.known:
        assert SocketSection.known[key]


def known_to(section: type[Section]) -> set[str]:
    moved: dict[str, str] = getattr(section, "moved", {})
    return {*section.table, *section.known, *moved}


@pytest.mark.parametrize(("section", "keys"), [(SocketSection, SOCKET_KEYS), (ServiceSection, SERVICE_KEYS)])
def test_every_key_of_systemd_is_applied_or_named_with_the_reason(section: type[Section], keys: list[str]) -> None:
    assert sorted(set(keys) - known_to(section)) == []


@pytest.mark.parametrize(("section", "keys"), [(SocketSection, SOCKET_KEYS), (ServiceSection, SERVICE_KEYS)])
def test_no_key_is_claimed_that_systemd_does_not_have(section: type[Section], keys: list[str]) -> None:
    assert sorted(known_to(section) - set(keys)) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_key_is_applied_or_not_applied_but_never_both(section: type[Section]) -> None:
    assert sorted(section.table.keys() & section.known.keys()) == []
    assert sorted(section.silent & {*section.table, *section.known}) == []
    assert all(section.known.values())


@pytest.mark.parametrize(("section", "key"), SYSTEMD, ids=lambda value: value if isinstance(value, str) else value.title)
def test_no_key_of_systemd_is_called_unknown(section: type[Section], key: str) -> None:
    _, found = unit_with(section, f"{key}=x")
    assert "SA007" not in [diagnostic.code for diagnostic in found]
    if key in section.known:
        (diagnostic,) = found
        assert (diagnostic.code, diagnostic.severity) == ("SA008", "note")
        assert section.known[key] in diagnostic.message
        assert diagnostic.span is not None
        assert (diagnostic.span.column, diagnostic.span.end_column) == (1, 1 + len(key))


def test_keys_of_install_need_no_word() -> None:
    text = "[Socket]\nListenStream=1\n[Install]\n" + "".join(f"{key}=x\n" for key in InstallSection.silent)
    assert socket_unit(text)[1] == []


# Rows of one field, and of two


def test_rows_of_one_key_agree_on_how_they_read() -> None:
    for section in SECTIONS:
        for found in section.table.values():
            kinds = {row.kind for _, row in found}
            assert len(kinds) == 1
            assert len({row.essential for _, row in found}) == 1


def test_a_field_that_several_rows_feed_keeps_the_order_of_the_file() -> None:
    lines = ["ListenDatagram=1", "ListenStream=2", "ListenFIFO=/a", "ListenSequentialPacket=@b", "ListenStream=3"]
    unit, _ = socket_unit("\n".join(lines))
    kinds = [listen.kind for listen in unit.socket.listen]
    assert kinds == ["datagram", "stream", "fifo", "seqpacket", "stream"]


def test_every_kind_of_address_clears_the_list_of_all() -> None:
    for key in [row.key for _, row in SocketSection.rows() if row.key.startswith("Listen")]:
        unit, found = socket_unit(f"ListenStream=1\nListenFIFO=/a\n{key}=\nListenStream=2")
        assert found == []
        assert [str(listen.address) for listen in unit.socket.listen] == ["[::]:2"]


def test_timeout_sec_sets_both_timeouts_and_a_later_one_wins() -> None:
    unit, _ = service_unit("ExecStart=/x\nTimeoutStopSec=3\nTimeoutSec=5\nTimeoutStartSec=7")
    assert (unit.service.timeout_start, unit.service.timeout_stop) == (7, 5)


def test_defaults_may_depend_on_other_rows() -> None:
    assert socket_unit("Accept=yes")[0].socket.trigger_limit_burst == 200
    assert socket_unit("Accept=no")[0].socket.trigger_limit_burst == 20
    assert socket_unit("Accept=yes")[0].socket.poll_limit_burst == 150
    assert socket_unit("Accept=yes\nTriggerLimitBurst=7")[0].socket.trigger_limit_burst == 7
    assert service_unit("Type=oneshot")[0].service.timeout_start == float("inf")
    assert service_unit("Type=simple")[0].service.timeout_start == 90
    assert service_unit("Type=notify")[0].service.notify_access == "main"
    assert str(service_unit("StandardInput=socket")[0].service.standard_output) == "inherit"
    assert str(service_unit("StandardInput=socket")[0].service.standard_error) == "journal"


def test_defaults_are_those_of_systemd() -> None:
    section = socket_unit("ListenStream=1")[0].socket
    assert (section.backlog, section.socket_mode, section.directory_mode) == (2147483647, 0o666, 0o755)
    assert (section.max_connections, section.max_connections_per_source) == (64, 0)
    assert (section.trigger_limit_interval, section.bind_ipv6_only, section.accept) == (2, "default", False)
    assert (section.poll_limit_interval, section.poll_limit_burst, section.timeout) == (2, 15, 90)
    assert (section.pipe_size, section.queue_messages, section.queue_message_size) == (0, 0, 0)
    assert (section.accept_descriptors, section.writable, section.flush_pending, section.pass_to_exec) == (
        True,
        False,
        False,
        False,
    )
    assert (section.defer_trigger, section.defer_trigger_most) == ("no", float("inf"))
    service = service_unit("ExecStart=/x")[0]
    assert (service.service.type, service.service.restart, service.service.restart_delay) == ("simple", "no", 0.1)
    assert (service.service.timeout_stop, service.service.kill_signal, service.service.kill_mode) == (90, 15, "control-group")
    assert (service.unit.start_limit_interval, service.unit.start_limit_burst) == (10, 5)
    streams = (service.service.standard_input, service.service.standard_output, service.service.standard_error)
    assert [str(stream) for stream in streams] == ["null", "journal", "inherit"]


def test_nothing_of_our_own_is_done_unless_asked_for() -> None:
    own = socket_unit("ListenStream=1")[0].own
    assert (own.option_failure, own.protocol_fallback, own.expand, own.trigger_limit_action) == ("warn", "no", False, "fail")
    assert (own.tcp_fast_open, own.max_segment, own.user_timeout, own.linger) == (None,) * 4


def test_settings_that_moved_to_unit_are_taken_in_service_too() -> None:
    unit, found = service_unit("ExecStart=/x\nStartLimitBurst=9\nStartLimitInterval=1min")
    assert (unit.unit.start_limit_burst, unit.unit.start_limit_interval, found) == (9, 60, [])


def test_a_section_is_frozen() -> None:
    unit, _ = socket_unit("Backlog=5")
    with pytest.raises(AttributeError, match="frozen"):
        unit.socket.backlog = 6


def test_a_new_row_is_loaded_planned_and_shown_without_another_edit() -> None:
    """The newcomer's test of the house plan, done by machine: one row in the table is all that TCPNotSentLowat= takes."""
    from sockact.net.protocols import TCP
    from sockact.unit.values import UNSIGNED

    class Extended(Section, title="Socket"):
        low_water: int = directive("TCPNotSentLowat", UNSIGNED, "…", options=(Option(TCP, "TCP_NOTSENT_LOWAT"),))

    assert list(Extended.table) == ["TCPNotSentLowat"]
    section = Extended({"low_water": 5}, {})
    ((field, row),) = Extended.rows()
    assert section.value(field) == 5
    assert linux.number(row.options[0].name) == socket.TCP_NOTSENT_LOWAT
    tcp = PROTOCOLS[0]
    unit, _ = socket_unit(PORTS)
    assert all(applies(row.options[0], listen, tcp) for listen in unit.socket.listen if isinstance(listen, Listen))


def test_every_unit_type_has_a_body_section_in_the_walk() -> None:
    assert {section for _, sections in BODIES.values() for section in sections} == set(SECTIONS)
