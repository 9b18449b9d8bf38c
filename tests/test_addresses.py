"""Addresses: every case of the reference, and where the mistake in a broken one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.net.addresses import Inet, Inet6, Unix, Vsock, canonical_ipv6, escape, parse, parse_path
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives.socket import SocketSection
from tests.fakes import Machine, findings, socket_unit

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "address-cases.json").read_text())
"""../shared/reference/address-cases.json: what systemd 262 makes of each value."""

KINDS = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO")

DEVIATIONS = {
    ("ListenSequentialPacket", "80"): "[::]:80",
    ("ListenSequentialPacket", "127.0.0.1:80"): "127.0.0.1:80",
    # systemd drops these lines; with SocketProtocol=sctp they are SCTP one-to-many, without it verify says so.
    ("ListenSequentialPacket", "vsock::99"): "vsock::99",
    ("ListenSequentialPacket", "vsock-seqpacket::99"): "vsock::99",
    # vsock(7) has sequential packets since Linux 5.14; systemd's parser is older.
    ("ListenStream", "[::1]:80%%nosuchif0"): "[::1]:80%nosuchif0",
    ("ListenStream", "[fe80::1]:80%%-1"): "[fe80::1]:80%-1",
    ("address-parser", "[::1]:1234%xxxxasdf"): "[::1]:1234%xxxxasdf",
    # Whether an interface exists is true of a machine, not of a file: SA052, found by the verifier unless --offline.
}
"""Where sockact differs on purpose: the case, and what sockact makes of it."""

NOT_OPENED = ("ListenNetlink", "ListenSpecial", "ListenMessageQueue", "ListenUSBFunction", "netlink-parser", "unix-print")
"""Kinds of sockets that sockact does not open yet, and names of peers, which test_connection looks at."""


def of(*kinds: str) -> list[Any]:
    return [pytest.param(case, id=f"{case['kind']}-{case['input']}"[:60]) for case in CASES if case["kind"] in kinds]


def test_every_case_of_the_reference_is_looked_at_or_named_as_out_of_scope() -> None:
    assert {case["kind"] for case in CASES} == {*KINDS, *NOT_OPENED, "address-parser", "equal"}
    assert {(case["kind"], case["input"]) for case in CASES if isinstance(case["input"], str)} >= set(DEVIATIONS)


@pytest.mark.parametrize("case", of(*KINDS))
def test_a_unit_file_takes_the_addresses_that_systemd_takes(case: dict[str, Any]) -> None:
    unit, found = socket_unit(f"{case['kind']}={case['input']}\n", name="t.socket")
    addresses = [str(listen.address) for listen in unit.socket.listen]
    expected = DEVIATIONS.get((case["kind"], case["input"]), case["canonical"])
    if expected is None:
        assert addresses == []
        assert [d.code for d in found] == ["SA011"]
        assert found[0].span is not None
        assert found[0].span.line == 2
    else:
        assert (addresses, found) == ([expected], [])


@pytest.mark.parametrize("case", of("address-parser"))
def test_the_parser_takes_the_addresses_that_systemd_takes(case: dict[str, Any]) -> None:
    address = parse(case["input"])
    expected = DEVIATIONS.get((case["kind"], case["input"]), case["canonical"])
    assert (None if isinstance(address, Invalid) else str(address)) == expected


@pytest.mark.parametrize("case", of("equal"))
def test_addresses_are_equal_when_they_mean_the_same(case: dict[str, Any]) -> None:
    left, right = (parse(text) for text in case["input"])
    assert (left == right) is case["ok"]
    assert not isinstance(left, Invalid)


def test_a_missing_interface_is_a_finding_about_the_host() -> None:
    files = {
        "a.socket": "[Socket]\nListenStream=[fe80::1]:80%%eth7\nService=a.service\n",
        "a.service": "[Service]\nExecStart=/x\n",
    }
    assert findings(files) == []
    (found,) = [d for d in findings(files, survey=Machine("/x")) if d.code != "SA050"]
    assert (found.code, found.scope, found.span and found.span.line) == ("SA052", "host", 2)
    assert findings(files, survey=Machine("/x", "eth7")) == []


def test_a_port_alone_is_every_address_and_only_those_of_version_4_where_there_is_no_version_6() -> None:
    assert parse("80") == Inet6("::", 80)
    assert parse("80", ipv6=False) == Inet("0.0.0.0", 80)
    unit, _ = socket_unit("ListenStream=80\n", ipv6=False)
    assert str(unit.socket.listen[0].address) == "0.0.0.0:80"


def test_each_address_knows_its_family_and_the_node_it_leaves() -> None:
    found = [parse(text) for text in ("1.2.3.4:5", "[::1]:5", "/run/x", "@x", "vsock:3:5")]
    assert [address.family for address in found if not isinstance(address, Invalid)] == ["inet", "inet6", "unix", "unix", "vsock"]
    assert [address.node for address in found if not isinstance(address, Invalid)] == [None, None, "/run/x", None, None]
    fifo = parse_path("/run/x")
    assert not isinstance(fifo, Invalid)
    assert (fifo.family, fifo.node) == (None, "/run/x")


def test_addresses_are_records_of_their_family() -> None:
    assert parse("1.2.3.4:0x50") == Inet("1.2.3.4", 80)
    assert parse("[2001:DB8::1]:80%eth0") == Inet6("2001:db8::1", 80, "eth0")
    assert parse("@x y") == Unix("@x y")
    assert parse("vsock:any:7") == Vsock(0xFFFFFFFF, 7)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0", "0"),
        ("65536", "65536"),
        ("1.2.3.4:99999", "99999"),
        ("1.2.3.4:http", "http"),
        ("localhost:80", "localhost"),
        ("256.1.1.1:80", "256.1.1.1"),
        ("::1:80", "::1:80"),
        ("[::g]:80", "::g"),
        ("[::1]:x", "x"),
        ("[::1]:80%a/b", "a/b"),
        ("1.2.3.4:80#x", "#"),
        ("vsock:9x:1", "9x"),
        ("vsock:2:y", "y"),
        ("@", "@"),
    ],
)
def test_the_wrong_part_of_an_address_is_pointed_at(text: str, part: str) -> None:
    invalid = parse(text)
    assert isinstance(invalid, Invalid)
    assert text[invalid.start : invalid.end] == part


@pytest.mark.parametrize(
    ("text", "hint"),
    [("::1:80", "[::1]:80"), ("1.2.3.4", "1.2.3.4:PORT"), ("localhost:80", "host names"), ("[fe80::1%lo]:80", "after the port")],
)
def test_common_mistakes_are_answered_with_what_to_write(text: str, hint: str) -> None:
    invalid = parse(text)
    assert isinstance(invalid, Invalid)
    assert hint in invalid.hint


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("::", "::"),
        ("::0001", "::1"),
        ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("::ffff:102:304", "::ffff:1.2.3.4"),
        ("fe80::1%eth0", None),
        ("1.2.3.4", None),
        ("::1::", None),
        ("", None),
    ],
)
def test_ipv6_addresses_are_written_as_rfc_5952_says(text: str, canonical: str | None) -> None:
    assert canonical_ipv6(text) == canonical


def test_what_is_not_printable_ascii_is_escaped_as_c_does() -> None:
    assert escape("a\"b'c\\\a\b\t\n\v\f\r\x01é\x7f") == "a\\\"b\\'c\\\\\\a\\b\\t\\n\\v\\f\\r\\001\\303\\251\\177"


@pytest.mark.parametrize(
    ("text", "path"),
    [("/run/x", "/run/x"), ("//run/./x/", "/run/x"), ("/var/run/x", "/run/x"), ("/var/runner/x", "/var/runner/x"), ("/", "/")],
)
def test_paths_are_simplified(text: str, path: str) -> None:
    found = parse_path(text)
    assert not isinstance(found, Invalid)
    assert found.path == path


@pytest.mark.parametrize(
    "text", ["", "x", "./x", "/a/../b", "/proc", "/proc/x", "/sys/x", "/dev/x", "//dev/./x", "/" + "x" * 4096]
)
def test_paths_that_lead_nowhere_are_refused(text: str) -> None:
    assert isinstance(parse_path(text), Invalid)


def test_a_path_that_only_begins_like_a_forbidden_one_is_fine() -> None:
    assert not isinstance(parse_path("/device/x"), Invalid)


@settings(max_examples=400, deadline=None)
@given(st.text("0123456789abcdef:.[]%/@#vsock-+xo \té", max_size=24) | st.text(max_size=12).map("@{}".format))
def test_any_text_is_an_address_or_says_why_not_and_what_is_one_reads_back(text: str) -> None:
    address = parse(text)
    if isinstance(address, Invalid):
        assert address.message
        assert 0 <= address.start <= len(text) + 1, "at most just behind the end"
    elif not isinstance(address, Unix):
        assert parse(str(address)) == address


def test_the_table_has_a_line_for_every_kind_of_socket_that_systemd_opens() -> None:
    listening = {row.key for _, row in SocketSection.rows() if row.key.startswith("Listen")}
    assert listening == {*KINDS, *(kind for kind in NOT_OPENED if kind.startswith("Listen"))}
