"""SocketProtocol=: which protocol fits which socket. Where systemd looks away, sockact says so, and what to do."""

from __future__ import annotations

from itertools import product

import pytest

from sockact.net import linux, plan
from sockact.net.addresses import FAMILIES, KINDS
from sockact.net.protocols import NAMES, PROTOCOLS, Protocol, by_name, by_number, choose
from sockact.unit.diagnostics import Diagnostic, render
from sockact.unit.verify import verify
from tests.fakes import SERVICE, codes, findings, gathered, ours, socket_unit

LINES = {
    "stream inet": "ListenStream=127.0.0.1:80",
    "stream inet6": "ListenStream=[::1]:80",
    "stream unix": "ListenStream=/run/x",
    "stream abstract": "ListenStream=@x",
    "stream vsock": "ListenStream=vsock::80",
    "datagram inet": "ListenDatagram=127.0.0.1:80",
    "datagram inet6": "ListenDatagram=80",
    "datagram unix": "ListenDatagram=/run/x",
    "datagram vsock": "ListenDatagram=vsock::80",
    "seqpacket inet": "ListenSequentialPacket=127.0.0.1:80",
    "seqpacket inet6": "ListenSequentialPacket=[::1]:80",
    "seqpacket unix": "ListenSequentialPacket=@x",
    "seqpacket vsock": "ListenSequentialPacket=vsock::80",
    "fifo": "ListenFIFO=/run/f",
    "special": "ListenSpecial=/dev/kmsg",
    "mqueue": "ListenMessageQueue=/jobs",
    "netlink": "ListenNetlink=route 1",
}
FITS = {
    "tcp": {"stream inet", "stream inet6"},
    "udp": {"datagram inet", "datagram inet6"},
    "sctp": {"stream inet", "stream inet6", "seqpacket inet", "seqpacket inet6"},
    "udplite": {"datagram inet", "datagram inet6"},
    "mptcp": {"stream inet", "stream inet6"},
}
UNASKED = {
    **dict.fromkeys(("stream inet", "stream inet6"), "tcp"),
    **dict.fromkeys(("datagram inet", "datagram inet6"), "udp"),
    **dict.fromkeys(("stream unix", "stream abstract", "datagram unix", "seqpacket unix"), "unix"),
    **dict.fromkeys(("stream vsock", "datagram vsock", "seqpacket vsock"), "vsock"),
    "netlink": "netlink",
}


def verified(line: str, protocol: str) -> list[Diagnostic]:
    return findings({"web.socket": f"[Socket]\n{line}\nSocketProtocol={protocol}\n", "web.service": SERVICE})


def test_the_matrix_knows_every_protocol_that_can_be_asked_for() -> None:
    assert set(FITS) == set(NAMES)


@pytest.mark.parametrize(("where", "protocol"), list(product(LINES, FITS)))
def test_a_protocol_fits_or_is_a_load_error_at_its_line_that_says_what_to_do(where: str, protocol: str) -> None:
    found = verified(LINES[where], protocol)
    if where in FITS[protocol]:
        assert found == []
        return
    (diagnostic,) = found
    assert (diagnostic.code, diagnostic.severity, diagnostic.scope) == ("SA021", "error", "unit")
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column, diagnostic.span.end_column) == (3, 16, 16 + len(protocol))
    assert f"SocketProtocol={protocol}" in diagnostic.message
    assert diagnostic.hint


def test_the_classic_mptcp_with_udp_is_told_as_the_house_plan_has_it() -> None:
    (diagnostic,) = verified("ListenDatagram=5353", "mptcp")
    assert render(diagnostic).splitlines() == [
        "web.socket:3:16: error[SA021]: cannot use SocketProtocol=mptcp with ListenDatagram=: Multipath TCP carries streams only",
        "    SocketProtocol=mptcp",
        "                   ^~~~~",
        "    hint: use ListenStream=, or put the datagram socket into a unit of its own",
    ]


@pytest.mark.parametrize("protocol", ["quic", "junk", "mptcp,sctp", "-1", "0", "ip", "dccp", "33", "0x"])
def test_an_unknown_protocol_is_a_load_error_that_names_those_there_are(protocol: str) -> None:
    (diagnostic,) = verified("ListenStream=80", protocol)
    assert (diagnostic.code, diagnostic.severity) == ("SA011", "error")
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column, diagnostic.span.end_column) == (3, 16, 16 + len(protocol))
    assert all(name in diagnostic.hint for name in ("tcp", "sctp", "mptcp", "udplite"))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *(("mptcp", "mptcp"), ("MPTCP", "mptcp"), ("mPTcp", "mptcp"), ("262", "mptcp"), ("0x106", "mptcp"), ("0o406", "mptcp")),
        *(("tcp", "tcp"), ("TCP", "tcp"), ("6", "tcp"), ("sctp", "sctp"), ("132", "sctp"), ("0x84", "sctp")),
    ],
)
def test_a_protocol_is_named_in_any_case_or_numbered_in_any_radix(written: str, name: str) -> None:
    unit, found = socket_unit(f"ListenStream=80\nSocketProtocol={written}\n")
    assert (unit.socket.protocol, ours(found)) == (by_name(name), [])


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["SocketProtocol=mptcp"], 262),
        (["SocketProtocol=tcp"], 6),
        (["SocketProtocol=mptcp", "SocketProtocol=tcp"], 6),
        (["SocketProtocol=mptcp", "SocketProtocol="], 0),
        (["SocketProtocol=tcp", "SocketProtocol=", "SocketProtocol=sctp"], 132),
        ([], 0),
    ],
)
def test_a_later_assignment_or_an_empty_one_resets_the_protocol(lines: list[str], number: int) -> None:
    unit, found = socket_unit("ListenStream=80\n" + "\n".join(lines))
    assert ours(found) == []
    (port,) = plan.plan(unit)
    (opening,) = [step for step in port.steps if isinstance(step, plan.OpenSocket)]
    assert opening.protocol == number


def test_one_misfit_among_several_sockets_fails_the_unit_and_names_the_socket() -> None:
    found = verified("ListenStream=80\nListenStream=/run/x\nListenDatagram=81", "mptcp")
    assert [d.code for d in found] == ["SA021", "SA021"]
    assert "/run/x" in found[0].message
    assert "ListenDatagram=" in found[1].message
    assert {d.span.line for d in found if d.span} == {5}


def test_sequential_packets_over_ip_without_sctp_are_an_error_at_the_socket() -> None:
    text = "[Socket]\nListenSequentialPacket=80\n"
    (diagnostic,) = findings({"web.socket": text, "web.service": SERVICE})
    assert (diagnostic.code, diagnostic.span and diagnostic.span.line) == ("SA021", 2)
    assert "SocketProtocol=sctp" in diagnostic.hint


@pytest.mark.parametrize(("where", "name"), UNASKED.items())
def test_where_nothing_is_asked_for_the_kernel_chooses(where: str, name: str) -> None:
    unit, found = socket_unit(LINES[where])
    assert ours(found) == []
    protocol = choose(unit.socket.listen[0], None)
    assert isinstance(protocol, Protocol)
    assert protocol.name == name


@pytest.mark.parametrize("where", ["fifo", "special", "mqueue"])
def test_what_is_no_socket_speaks_no_protocol(where: str) -> None:
    unit, _ = socket_unit(LINES[where])
    assert choose(unit.socket.listen[0], None) is None


@pytest.mark.parametrize(("line", "noun"), [("fifo", "FIFO"), ("special", "special file"), ("mqueue", "message queue")])
def test_a_protocol_for_what_is_no_socket_is_told_by_what_it_is(line: str, noun: str) -> None:
    (diagnostic,) = verified(LINES[line], "mptcp")
    assert f"a {noun} speaks no protocol" in diagnostic.message


def test_a_protocol_for_netlink_is_told_to_be_carried_by_no_netlink_socket() -> None:
    (diagnostic,) = verified(LINES["netlink"], "udp")
    assert "a netlink socket does not carry UDP" in diagnostic.message


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        *(("mptcp", False), ("MPTCP", False), ("262", False), ("sctp", False), ("132", False), ("udplite", False)),
        *(("tcp", True), ("6", True), ("TCP", True), ("udp", True), ("", True)),
    ],
)
def test_a_protocol_that_systemd_would_refuse_is_told_with_portable(value: str, refused: bool) -> None:
    kind = "ListenDatagram" if value.startswith("udp") else "ListenStream"
    text = f"[Socket]\n{kind}=127.0.0.1:80\nSocketProtocol={value}\n"
    units = gathered({"web.socket": text, "web.service": SERVICE})
    assert codes(verify(units, None, portable=True)) == (["SA060"] if refused else [])
    assert verify(units, None) == []


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_every_protocol_exists_for_some_socket_and_is_found_by_name_and_number(protocol: Protocol) -> None:
    assert protocol.kinds
    assert protocol.families
    assert protocol.kinds <= {kind.name for kind in KINDS.values() if kind.constant}
    assert protocol.families <= {family.family for family in FAMILIES}
    if protocol.selectable:
        assert by_name(protocol.name.upper()) == by_number(protocol.number) == protocol
        assert linux.number(f"IPPROTO_{protocol.name.upper()}") == protocol.number
    else:
        assert by_name(protocol.name) is None
        assert protocol.number == 0


def test_numbers_and_names_are_given_once() -> None:
    assert len({p.name for p in PROTOCOLS}) == len(PROTOCOLS)
    selectable = [p.number for p in PROTOCOLS if p.selectable]
    assert len(set(selectable)) == len(selectable)


def test_the_levels_of_a_protocol_are_those_the_kernel_has() -> None:
    for protocol in PROTOCOLS:
        for level in protocol.levels:
            assert linux.number(level) >= 0
        for option in protocol.lacks:
            assert linux.number(option) > 0
