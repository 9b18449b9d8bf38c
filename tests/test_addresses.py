"""Addresses: every case of the reference, and where the mistake in a broken one is."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.net.addresses import (
    KINDS,
    MOST_OF_A_RANGE,
    Address,
    Inet,
    Inet6,
    Named,
    Netlink,
    Unix,
    Vsock,
    canonical_ipv6,
    escape,
    parse,
    parse_fifo,
    parse_netlink,
    read,
)
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives.socket import SocketSection
from sockact.unit.verify import verify
from tests.fakes import Machine, codes, findings, gathered, ours, socket_unit

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "address-cases.json").read_text())
"""../shared/reference/address-cases.json: what systemd 262 makes of each value."""

LISTENING = (*(kind.directive for kind in KINDS.values()), "ListenUSBFunction")

DEVIATIONS: dict[tuple[str, str], str | None] = {
    ("ListenStream", "0"): "[::]:0",
    ("ListenStream", "127.0.0.1:0"): "127.0.0.1:0",
    ("address-parser", "192.168.1.1:0"): "192.168.1.1:0",
    ("address-parser", "[::1]:0"): "[::1]:0",
    ("address-parser", "[::1]:0%lo"): "[::1]:0%lo",
    # Port 0 lets the kernel choose a port.
    ("ListenSequentialPacket", "80"): "[::]:80",
    ("ListenSequentialPacket", "127.0.0.1:80"): "127.0.0.1:80",
    # systemd drops these lines; with SocketProtocol=sctp they are SCTP one-to-many, without it verify says so.
    ("ListenSequentialPacket", "vsock::99"): "vsock::99",
    ("ListenSequentialPacket", "vsock-seqpacket::99"): "vsock::99",
    # vsock(7) has sequential packets since Linux 5.14; systemd's parser is older.
    ("ListenStream", "[::1]:80%%nosuchif0"): "[::1]:80%nosuchif0",
    ("ListenStream", "[fe80::1]:80%%-1"): "[fe80::1]:80%-1",
    ("address-parser", "[::1]:1234%xxxxasdf"): "[::1]:1234%xxxxasdf",
    ("ListenMessageQueue", "/.."): None,
    # systemd makes of it a queue without a name, which no kernel opens.
    # Whether an interface exists is true of a machine, not of a file: SA052, found by the verifier unless --offline.
}
"""Where sockact differs on purpose: the case, and what sockact makes of it."""

BEYOND_SYSTEMD = {case for case, taken in DEVIATIONS.items() if taken and "%%" not in case[1]}
"""Of these, the ones that are about the file, whatever the machine: verify --portable tells them."""

ELSEWHERE = {"unix-print": "names of peers, which test_connection looks at"}


def of(*kinds: str) -> list[Any]:
    return [pytest.param(case, id=f"{case['kind']}-{case['input']}"[:60]) for case in CASES if case["kind"] in kinds]


def test_every_case_of_the_reference_is_looked_at() -> None:
    assert {case["kind"] for case in CASES} == {*LISTENING, *ELSEWHERE, "address-parser", "netlink-parser", "equal"}
    assert {(case["kind"], case["input"]) for case in CASES if isinstance(case["input"], str)} >= set(DEVIATIONS)


@pytest.mark.parametrize("case", of(*LISTENING))
def test_a_unit_file_takes_the_addresses_that_systemd_takes(case: dict[str, Any]) -> None:
    unit, found = socket_unit(f"{case['kind']}={case['input']}\n", name="t.socket")
    addresses = [str(listen.address) for listen in unit.socket.listen]
    expected = DEVIATIONS.get((case["kind"], case["input"]), case["canonical"])
    if expected is None:
        assert addresses == []
        assert codes(found) == ["SA011"]
        assert found[0].span is not None
        assert found[0].span.line == 2
    else:
        assert (addresses, ours(found)) == ([expected], [])


@pytest.mark.parametrize("case", of(*LISTENING))
def test_what_systemd_would_refuse_is_told_with_portable_and_nothing_else_is(case: dict[str, Any]) -> None:
    line = f"{case['kind']}={case['input']}"
    protocol = "SocketProtocol=sctp\n" if case["kind"] == "ListenSequentialPacket" and "vsock" not in line else ""
    files = {"t.socket": f"[Socket]\n{line}\n{protocol}Service=a.service\n", "a.service": "[Service]\nExecStart=/x\n"}
    told = [d for d in verify(gathered(files), None, portable=True) if d.code == "SA060"]
    assert bool(told) is ((case["kind"], case["input"]) in BEYOND_SYSTEMD)
    assert [d for d in findings(files) if d.code == "SA060"] == []
    for diagnostic in told:
        assert (diagnostic.severity, diagnostic.scope, diagnostic.span and diagnostic.span.line) == ("warning", "portable", 2)


@pytest.mark.parametrize("case", of("netlink-parser"))
def test_the_parser_takes_the_netlink_sockets_that_systemd_takes(case: dict[str, Any]) -> None:
    address = parse_netlink(case["input"])
    assert (None if isinstance(address, Invalid) else str(address)) == case["canonical"]


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
    fifo = parse_fifo("/run/x")
    assert not isinstance(fifo, Invalid)
    assert (fifo.family, fifo.node) == (None, "/run/x")
    for name in (Named("/dev/kmsg"), Named("/jobs")):
        assert (name.family, name.node, str(name)) == (None, None, name.name)
    assert (Netlink(0, 1).family, Netlink(0, 1).node, Netlink(15, 1).protocol) == ("netlink", None, 15)


@pytest.mark.parametrize("address", [parse_fifo("/run/f"), Named("/dev/kmsg")], ids=str)
def test_what_is_no_socket_has_no_address_for_bind(address: Address) -> None:
    with pytest.raises(TypeError, match="not the address of a socket"):
        _ = address.wire


def test_each_address_is_handed_to_bind_in_the_form_that_python_takes() -> None:
    texts = ("1.2.3.4:5", "[::1]:5", "/run/x", "@x", "vsock:3:5")
    found = [address.wire for text in texts if isinstance(address := parse(text), Address)]
    assert found == [("1.2.3.4", 5), ("::1", 5), "/run/x", b"\0x", (3, 5)]
    assert Netlink(0, 5).wire == (0, 5)


def test_addresses_are_records_of_their_family() -> None:
    assert parse("1.2.3.4:0x50") == Inet("1.2.3.4", 80)
    assert parse("[2001:DB8::1]:80%eth0") == Inet6("2001:db8::1", 80, "eth0")
    assert parse("@x y") == Unix("@x y")
    assert parse("vsock:any:7") == Vsock(0xFFFFFFFF, 7)


@pytest.mark.parametrize(
    ("text", "part"),
    [
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
    found = parse_fifo(text)
    assert not isinstance(found, Invalid)
    assert found.path == path


@pytest.mark.parametrize(
    "text", ["", "x", "./x", "/a/../b", "/proc", "/proc/x", "/sys/x", "/dev/x", "//dev/./x", "/" + "x" * 4096]
)
def test_paths_that_lead_nowhere_are_refused(text: str) -> None:
    assert isinstance(parse_fifo(text), Invalid)


def test_a_path_that_only_begins_like_a_forbidden_one_is_fine() -> None:
    assert not isinstance(parse_fifo("/device/x"), Invalid)


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
    assert listening == set(LISTENING)


def test_a_kind_is_a_row_that_says_all_there_is_to_say() -> None:
    assert list(KINDS) == [kind.name for kind in KINDS.values()]
    for kind in KINDS.values():
        assert kind.directive.startswith("Listen")
        assert kind.noun
        assert bool(kind.carries) is bool(kind.constant), "sockets have a type and carry something; nothing else does"
    assert [kind.name for kind in KINDS.values() if kind.listens] == ["stream", "seqpacket"]


# Netlink


@pytest.mark.parametrize(
    ("text", "part"),
    [("roads", "roads"), ("-1", "-1"), ("2147483648 1", "2147483648"), ("route x", "x"), ("route 4294967296", "4294967296")],
)
def test_the_wrong_part_of_a_netlink_socket_is_pointed_at(text: str, part: str) -> None:
    invalid = parse_netlink(text)
    assert isinstance(invalid, Invalid)
    assert text[invalid.start : invalid.end] == part


def test_netlink_families_have_the_numbers_of_the_kernel() -> None:
    constants = {"route": "ROUTE", "firewall": "FIREWALL", "nflog": "NFLOG", "xfrm": "XFRM", "ip6-fw": "IP6_FW"}
    for name, constant in constants.items():
        assert parse_netlink(name) == Netlink(getattr(socket, f"NETLINK_{constant}"), 0)


# Ranges of ports, and port 0


def spelled(kind: str, text: str) -> list[str]:
    found = read(kind, text)
    assert not isinstance(found, Invalid), found
    assert {listen.kind for listen in found} == {kind}
    return [str(listen.address) for listen in found]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("stream", "8000-8002", ["[::]:8000", "[::]:8001", "[::]:8002"]),
        ("stream", "127.0.0.1:8000-8001", ["127.0.0.1:8000", "127.0.0.1:8001"]),
        ("datagram", "[::1]:0x10-0x11", ["[::1]:16", "[::1]:17"]),
        ("seqpacket", "[fe80::1]:1-2%a-b", ["[fe80::1]:1%a-b", "[fe80::1]:2%a-b"]),
        ("stream", "65534-65535", ["[::]:65534", "[::]:65535"]),
        ("stream", "/run/1-2", ["/run/1-2"]),
        ("stream", "@1-2", ["@1-2"]),
        ("stream", "vsock-stream:1:2", ["vsock:1:2"]),
        ("stream", "[fe80::1]:80%my-if", ["[fe80::1]:80%my-if"]),
        ("fifo", "/run/1-2", ["/run/1-2"]),
        ("special", "/dev/1-2", ["/dev/1-2"]),
        ("mqueue", "/1-2", ["/1-2"]),
        ("netlink", "fib-lookup 3", ["fib-lookup 3"]),
        ("netlink", "10-11", None),
    ],
)
def test_a_range_of_ports_is_a_socket_for_each_of_them_in_order(kind: str, text: str, expected: list[str] | None) -> None:
    if expected is None:
        assert isinstance(read(kind, text), Invalid)
    else:
        assert spelled(kind, text) == expected


def test_a_range_has_an_end() -> None:
    assert len(spelled("stream", f"1-{MOST_OF_A_RANGE}")) == MOST_OF_A_RANGE
    assert isinstance(read("stream", f"1-{MOST_OF_A_RANGE + 1}"), Invalid)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("8001-8000", "8001-8000"),
        ("80-80", "80-80"),
        ("0-5", "0-5"),
        ("1-65535", "1-65535"),
        ("127.0.0.1:9-1", "9-1"),
        ("[::1]:2-1%lo", "2-1"),
        ("80-x", "x"),
        ("80-65536", "65536"),
        ("127.0.0.1:99999-100000", "99999"),
        ("127.0.0.1:80-81-82", "81-82"),
        ("256.1.1.1:80-81", "256.1.1.1"),
        ("[::g]:80-81", "::g"),
        ("[::1]:80-81%a/b", "a/b"),
    ],
)
def test_the_wrong_part_of_a_range_is_pointed_at(text: str, part: str) -> None:
    invalid = read("stream", text)
    assert isinstance(invalid, Invalid)
    assert text[invalid.start : invalid.end] == part


@pytest.mark.parametrize("text", ["web-server.sock", "my-host", "run-time/web.sock"])
def test_a_name_with_a_hyphen_is_no_range_of_ports(text: str) -> None:
    """Who forgot the slash of a path is told so, and hears nothing of names of services."""
    invalid = read("stream", text)
    assert isinstance(invalid, Invalid)
    assert invalid.message == f"not an address: '{text}'"


def test_a_range_that_cannot_be_read_is_a_located_error_and_its_unit_has_none_of_it() -> None:
    unit, (found,) = socket_unit("ListenStream=80\nListenStream=127.0.0.1:90-89\nListenStream=81\n")
    assert [str(listen.address) for listen in unit.socket.listen] == ["[::]:80", "[::]:81"]
    assert found.code == "SA011"
    assert found.span is not None
    assert (found.span.line, found.span.column, found.span.end_column) == (3, 24, 29)
    assert str(MOST_OF_A_RANGE) in found.hint


def test_descriptors_of_a_range_stand_in_order_between_those_before_and_after() -> None:
    unit, _ = socket_unit("ListenStream=9\nListenDatagram=127.0.0.1:1-3\nListenStream=8\n")
    expected = [("stream", "[::]:9"), *(("datagram", f"127.0.0.1:{port}") for port in (1, 2, 3)), ("stream", "[::]:8")]
    assert [(listen.kind, str(listen.address)) for listen in unit.socket.listen] == expected
    assert [origin.span().line for index in range(5) if (origin := unit.socket.origin("listen", index))] == [2, 3, 3, 3, 4]


def test_an_address_that_stands_in_a_range_and_by_itself_stands_there_twice() -> None:
    files = {"a.socket": "[Socket]\nListenStream=80-83\nListenStream=82\n", "a.service": "[Service]\nExecStart=/x\n"}
    (found,) = findings(files)
    assert (found.code, found.span and found.span.line) == ("SA025", 3)


@pytest.mark.parametrize(("text", "found"), [("0", []), ("0.0.0.0:0", []), ("[::]:0", []), ("vsock::0", ["SA025"])])
def test_port_0_may_stand_twice_where_the_kernel_chooses_a_free_one_each_time(text: str, found: list[str]) -> None:
    """To vsock(7), 0 is a port like any other."""
    lines = f"ListenStream={text}\n" * 2
    files = {"a.socket": f"[Socket]\n{lines}", "a.service": "[Service]\nExecStart=/x\n"}
    assert codes(findings(files)) == found
