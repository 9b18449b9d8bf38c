"""The verifier's rules one by one: what each finds, what it leaves alone, and what it says."""

from __future__ import annotations

import errno
import os
import socket
import time
from itertools import permutations, product
from pathlib import Path

import pytest

from sockact.net.addresses import Inet, Inet6, parse
from sockact.runtime import host
from sockact.unit.diagnostics import Diagnostic, render
from sockact.unit.rules.between import is_multicast
from sockact.unit.rules.idle import most_in
from sockact.unit.rules.within import needs_scope
from sockact.unit.verify import verify
from tests.fakes import SERVICE, Machine, codes, findings, gathered

TEMPLATE = {"web@.service": SERVICE}
NO_ACCOUNTS = ("CAP_CHOWN", "CAP_SETUID")


def said(lines: str, own: str = "", service: str = SERVICE, name: str = "web.socket") -> list[Diagnostic]:
    """What is found in a socket unit with these lines."""
    text = f"[Socket]\n{lines}" + (f"\n[X-Sockact]\n{own}" if own else "")
    return findings({name: text, "web.service": service, **TEMPLATE}, name)


def one(lines: str, own: str = "", service: str = SERVICE) -> Diagnostic:
    (found,) = said(lines, own, service)
    return found


def short(found: Diagnostic) -> str:
    return f"{found.code} {found.message}"


# Every finding is one that helps


def test_every_finding_of_a_rule_has_a_hint() -> None:
    lines = (
        "ListenStream=80\nListenStream=127.0.0.1:80\nListenStream=[fe80::1]:1\nListenDatagram=9\nListenDatagram=9\nPipeSize=4K"
    )
    lines += "\nAccept=yes\nDeferTrigger=yes\nSymlinks=/run/x\nService=web.service\nMaxConnections=0\nFlushPending=yes\nUser=x"
    found = said(f"{lines}\nKeepAliveProbes=3\nPollLimitBurst=0\nPollLimitIntervalSec=3\nPassCredentials=yes\nBindToDevice=")
    assert len(set(codes(found))) > 10
    assert [short(d) for d in found if not d.hint] == []


def test_a_finding_of_what_has_no_effect_points_at_the_key() -> None:
    found = one("ListenStream=80\n  PipeSize = 4K")
    assert found.span is not None
    assert (found.span.line, found.span.column, found.span.end_column) == (3, 3, 11)


def test_a_key_in_a_drop_in_is_pointed_at_there() -> None:
    from sockact.unit.gather import Source, gather
    from tests.fakes import HOST

    sources = {
        "web.socket": Source("web.socket", "web.socket", b"[Socket]\nListenStream=80", (("x.conf", b"[Socket]\nPipeSize=4K"),)),
        "web.service": Source("web.service", "web.service", SERVICE.encode()),
    }
    (found,) = verify(gather(["web.socket"], sources.__getitem__, HOST), None)
    assert found.where == "x.conf:2:1"


# What systemd refuses, too


@pytest.mark.parametrize(
    ("listens", "wrong"),
    [
        ("ListenStream=80", "here is none"),
        ("ListenStream=@abstract", "here is none"),
        ("ListenMessageQueue=/q", "here is none"),
        ("ListenStream=/run/a\nListenDatagram=/run/b", "here are 2"),
        ("ListenStream=/run/a\nListenFIFO=/run/b", "here are 2"),
        ("ListenStream=/run/a", ""),
        ("ListenFIFO=/run/a\nListenStream=80", ""),
    ],
)
def test_links_need_exactly_one_path_or_fifo_to_lead_to(listens: str, wrong: str) -> None:
    found = said(f"{listens}\nSymlinks=/run/link")
    assert [d.code for d in found] == (["SA027"] if wrong else [])
    assert all(wrong in d.message for d in found)


@pytest.mark.parametrize(
    ("accept", "defer", "expected"), [("yes", "yes", ["SA028"]), ("yes", "no", []), ("no", "yes", ["SA008"])]
)
def test_nothing_is_deferred_for_single_connections(accept: str, defer: str, expected: list[str]) -> None:
    assert codes(said(f"ListenStream=80\nAccept={accept}\nDeferTrigger={defer}")) == expected


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("ListenDatagram=80", "datagram socket"),
        ("ListenFIFO=/run/f", "FIFO"),
        ("ListenSpecial=/dev/kmsg", "special file"),
        ("ListenNetlink=route 1", "netlink socket"),
        ("ListenMessageQueue=/q", "message queue"),
    ],
)
def test_what_has_no_connections_cannot_accept_them(line: str, what: str) -> None:
    found = one(f"{line}\nAccept=yes")
    assert (found.code, what in found.message, what in found.hint) == ("SA022", True, True)


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("[fe80::1]:80", False),
        ("[febf::1]:80", False),
        ("[ff02::fb]:80", False),
        ("[ff01::1]:80", False),
        ("[ff05::1]:80", True),
        ("[fec0::1]:80", True),
        ("[fd00::1]:80", True),
        ("[::1]:80", True),
        ("[::]:80", True),
    ],
)
def test_an_address_of_one_link_needs_the_name_of_it(address: str, alone: bool) -> None:
    parsed = parse(address)
    assert isinstance(parsed, Inet6)
    assert needs_scope(parsed) is not alone
    assert codes(said(f"ListenDatagram={address}")) == ([] if alone else ["SA029"])
    assert said(f"ListenDatagram={address}%%eth0") == []
    assert said(f"ListenDatagram={address}\nBindToDevice=eth0") == []


def test_the_hint_for_a_link_says_that_percent_stands_twice() -> None:
    assert "[fe80::1]:80%%IFACE" in one("ListenStream=[fe80::1]:80").hint


# What has no effect: options


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("ListenStream=/run/a\nNoDelay=yes", "SA040 NoDelay= has no effect: nothing here is an IPv4 socket or an IPv6 socket"),
        (
            "ListenStream=80\nPassCredentials=yes",
            "SA040 PassCredentials= has no effect: nothing here is a UNIX socket or a netlink socket",
        ),
        ("ListenStream=0.0.0.0:80\nBindIPv6Only=both", "SA040 BindIPv6Only= has no effect: nothing here is an IPv6 socket"),
        ("ListenStream=80\nBroadcast=yes", "SA040 Broadcast= has no effect: nothing here is a datagram socket"),
        ("ListenDatagram=80\nKeepAlive=yes", "SA040 KeepAlive= has no effect: nothing here is a stream socket"),
        (
            "ListenDatagram=80\nListenStream=/run/a\nKeepAlive=yes",
            "SA040 KeepAlive= has no effect: no stream socket here is an IPv4 socket or an IPv6 socket",
        ),
        ("ListenDatagram=80\nDeferAcceptSec=5", "SA041 DeferAcceptSec= has no effect: nothing here speaks TCP or Multipath TCP"),
        ("ListenStream=80\nSocketProtocol=mptcp\nIPTTL=5", "SA041 IPTTL= has no effect: Multipath TCP does not have it"),
        (
            "ListenStream=80\nSocketProtocol=sctp\nTCPCongestion=reno",
            "SA041 TCPCongestion= has no effect: nothing here speaks TCP or Multipath TCP",
        ),
        ("ListenFIFO=/run/f\nReusePort=yes", "SA040 ReusePort= has no effect: nothing here is an IPv4 socket or an IPv6 socket"),
    ],
)
def test_an_option_that_applies_nowhere_is_told_with_the_reason(lines: str, expected: str) -> None:
    assert short(one(lines)) == expected


def test_an_option_of_our_own_section_is_held_to_the_same() -> None:
    found = one("ListenStream=80\nSocketProtocol=mptcp", "UserTimeoutSec=5")
    assert short(found) == "SA041 UserTimeoutSec= has no effect: Multipath TCP does not have it"


@pytest.mark.parametrize(
    "lines",
    [
        "ListenStream=80\nListenStream=/run/a\nNoDelay=yes\nPassCredentials=yes",
        "ListenStream=80\nIPTTL=5\nPriority=3\nReceiveBuffer=64K",
        "ListenStream=80\nSocketProtocol=sctp\nNoDelay=yes",
        "ListenStream=/run/a\nNoDelay=no\nIPTTL=-1\nKeepAlive=no\nTimestamping=off\nAcceptFileDescriptors=yes",
        "ListenStream=80\nNoDelay=no\nBindIPv6Only=default",
        "ListenStream=/run/a\nAcceptFileDescriptors=no",
        "ListenNetlink=route 1\nPassPacketInfo=yes\nReceiveBuffer=64K",
    ],
)
def test_an_option_that_applies_somewhere_or_asks_for_nothing_is_not_told(lines: str) -> None:
    assert said(lines) == []


def test_a_unit_that_listens_nowhere_hears_of_that_only() -> None:
    assert codes(said("PipeSize=4K\nNoDelay=yes\nSymlinks=/run/x")) == ["SA020"]


def test_the_last_of_several_assignments_counts() -> None:
    assert said("ListenStream=80\nPipeSize=4K\nPipeSize=0") == []
    found = one("ListenStream=80\nPipeSize=0\nPipeSize=4K")
    assert found.span is not None
    assert found.span.line == 4


# What has no effect: concerns and Accept=


@pytest.mark.parametrize(
    ("setting", "noun", "where"),
    [
        ("PipeSize=4K", "a FIFO", "ListenFIFO=/run/f"),
        ("SocketMode=0600", "a UNIX path, FIFO or message queue", "ListenMessageQueue=/q"),
        ("DirectoryMode=0700", "a UNIX path or FIFO", "ListenStream=/run/a"),
        ("RemoveOnStop=yes", "a UNIX path, FIFO or message queue", "ListenStream=/run/a"),
        ("Writable=yes", "a special file", "ListenSpecial=/dev/kmsg"),
    ],
)
def test_a_setting_that_concerns_nothing_here_is_told(setting: str, noun: str, where: str) -> None:
    found = one(f"ListenStream=80\n{setting}")
    assert (short(found), found.severity) == (f"SA040 {setting.partition('=')[0]}= has no effect: nothing here is {noun}", "note")
    assert said(f"ListenStream=80\n{where}\n{setting}") == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("MaxConnectionsPerSource=3", ["MaxConnectionsPerSource= has no effect without Accept=yes"]),
        ("MaxConnections=3", ["MaxConnections= has no effect without Accept=yes"]),
        ("MaxConnections=64", []),
        ("FlushPending=yes", []),
        ("Accept=yes\nFlushPending=yes", ["FlushPending= has no effect with Accept=yes"]),
        ("Accept=yes\nFlushPending=no\nMaxConnections=3\nMaxConnectionsPerSource=2", []),
        ("Accept=yes\nAccept=no\nFlushPending=yes", []),
    ],
)
def test_a_setting_for_the_other_accept_is_told(lines: str, expected: list[str]) -> None:
    found = said(f"ListenStream=80\n{lines}")
    assert [d.message for d in found] == expected
    assert set(codes(found)) <= {"SA042"}


def test_a_line_that_is_wrong_is_not_told_to_have_no_effect_besides() -> None:
    assert codes(said("ListenStream=80\nMaxConnections=0")) == ["SA024"]
    assert codes(said("ListenStream=80\nSymlinks=/run/x")) == ["SA027"]


def test_that_a_line_has_no_effect_is_told_once() -> None:
    """Here it is of another protocol, and lacks another setting besides."""
    assert codes(said("ListenDatagram=80\nKeepAliveTimeSec=9")) == ["SA041"]


# What has no effect: without another setting


@pytest.mark.parametrize("line", ["User=root", "Environment=A=1", "WorkingDirectory=/", "KillMode=none", "TimeoutSec=5"])
def test_a_setting_for_commands_needs_a_command(line: str) -> None:
    found = one(f"ListenStream=80\n{line}")
    assert short(found) == f"SA043 {line.partition('=')[0]}= has no effect without a command in the socket unit"
    for command in ("ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost"):
        assert said(f"ListenStream=80\n{line}\n{command}=/bin/true") == []


def test_sockets_are_passed_to_commands_that_run_while_there_are_sockets() -> None:
    line = "ListenStream=80\nPassFileDescriptorsToExec=yes\n"
    told = "SA043 PassFileDescriptorsToExec= has no effect without ExecStartPost=, ExecStopPre= or ExecStopPost="
    assert short(one(line)) == short(one(line + "ExecStartPre=/bin/true")) == told
    assert said(line + "ExecStopPost=/bin/true") == []


@pytest.mark.parametrize(
    ("lines", "key", "other", "mended"),
    [
        ("ListenStream=80\nKeepAliveTimeSec=9", "KeepAliveTimeSec", "KeepAlive", "KeepAlive=yes"),
        ("ListenStream=80\nKeepAliveIntervalSec=9", "KeepAliveIntervalSec", "KeepAlive", "KeepAlive=yes"),
        ("ListenStream=80\nKeepAliveProbes=9", "KeepAliveProbes", "KeepAlive", "KeepAlive=yes"),
        (
            "ListenMessageQueue=/q\nMessageQueueMaxMessages=5",
            *("MessageQueueMaxMessages", "MessageQueueMessageSize", "MessageQueueMessageSize=1K"),
        ),
        (
            "ListenMessageQueue=/q\nMessageQueueMessageSize=1K",
            *("MessageQueueMessageSize", "MessageQueueMaxMessages", "MessageQueueMaxMessages=5"),
        ),
    ],
)
def test_a_setting_that_needs_another_is_told_when_it_is_alone(lines: str, key: str, other: str, mended: str) -> None:
    found = one(lines)
    assert (short(found), found.severity) == (f"SA044 {key}= has no effect without {other}=", "note")
    assert said(f"{lines}\n{mended}") == []


def test_how_long_to_defer_needs_something_to_defer_and_sockact_defers_nothing() -> None:
    assert codes(said("ListenStream=80\nDeferTriggerMaxSec=5")) == ["SA044"]
    found = said("ListenStream=80\nDeferTriggerMaxSec=5\nDeferTrigger=patient")
    assert [(d.code, d.severity) for d in found] == [("SA008", "note")] * 2


@pytest.mark.parametrize(
    ("protocol", "told"),
    [("SocketProtocol=mptcp", False), ("SocketProtocol=tcp", True), ("", True), ("SocketProtocol=sctp", False)],
)
def test_falling_back_needs_a_protocol_that_may_be_missing(protocol: str, told: bool) -> None:
    assert codes(said(f"ListenStream=80\n{protocol}", "ProtocolFallback=tcp")) == (["SA044"] if told else [])
    assert said(f"ListenStream=80\n{protocol}", "ProtocolFallback=no") == []


def test_the_start_limit_of_a_socket_is_said_not_to_be_applied() -> None:
    found = said("ListenStream=80\n[Unit]\nStartLimitBurst=9")
    assert [short(d) for d in found] == ["SA008 StartLimitBurst= is not applied to sockets: sockact starts each of them once"]


# Limits


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("TriggerLimitIntervalSec=0\nTriggerLimitBurst=9", "TriggerLimitBurst= has no effect: TriggerLimitIntervalSec=0"),
        ("TriggerLimitIntervalSec=9\nTriggerLimitBurst=0", "TriggerLimitIntervalSec= has no effect: TriggerLimitBurst=0"),
        ("Accept=yes\nPollLimitIntervalSec=0\nPollLimitBurst=9", "PollLimitBurst= has no effect: PollLimitIntervalSec=0"),
        ("TriggerLimitIntervalSec=0", ""),
        ("TriggerLimitBurst=0", ""),
        ("TriggerLimitIntervalSec=0\nTriggerLimitBurst=0", ""),
        ("Accept=yes\nTriggerLimitIntervalSec=5\nTriggerLimitBurst=9", ""),
    ],
)
def test_half_of_a_limit_has_no_effect_when_the_other_half_is_0(lines: str, told: str) -> None:
    assert [d.message.removesuffix(" switches the limit off") for d in said(f"ListenStream=80\n{lines}")] == [told][: bool(told)]


@pytest.mark.parametrize(("burst", "interval", "told"), [(3, 0, True), (0, 9, True), (3, 9, False), (0, 0, False)])
def test_the_start_limit_of_a_service_is_held_to_the_same(burst: int, interval: int, told: bool) -> None:
    text = f"[Unit]\nStartLimitBurst={burst}\nStartLimitIntervalSec={interval}\n{SERVICE}"
    assert codes(findings({"web.service": text})) == (["SA045"] if told else [])


@pytest.mark.parametrize(("per_source", "told"), [(4, False), (5, True), (6, True)])
def test_one_source_never_has_more_connections_than_all(per_source: int, told: bool) -> None:
    found = said(f"ListenStream=80\nAccept=yes\nMaxConnections=5\nMaxConnectionsPerSource={per_source}")
    assert codes(found) == (["SA045"] if told else [])


def test_polling_is_not_limited_where_each_activation_begins_a_new_count() -> None:
    assert "without Accept=yes" in one("ListenStream=80\nPollLimitBurst=9").message
    assert said("ListenStream=80\nAccept=yes\nPollLimitBurst=9") == []
    assert said("ListenStream=80\nPollLimitBurst=0") == []


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("PollLimitBurst=400", "PollLimitBurst"),
        ("PollLimitBurst=399", ""),
        ("PollLimitBurst=400\nTriggerLimitBurst=0", ""),
        ("PollLimitBurst=400\nTriggerLimitIntervalSec=1", ""),
        ("TriggerLimitBurst=300", "TriggerLimitBurst"),
        ("TriggerLimitBurst=299", ""),
        ("TriggerLimitBurst=300\nListenStream=81", ""),
        ("TriggerLimitBurst=600\nListenStream=81", "TriggerLimitBurst"),
    ],
)
def test_of_two_limits_the_one_that_is_always_reached_later_is_told(lines: str, key: str) -> None:
    found = said(f"ListenStream=80\nAccept=yes\n{lines}")
    assert [short(d).partition("=")[0] for d in found] == ([f"SA045 {key}"] if key else [])


@pytest.mark.parametrize("span", [0.5, 1.0, 2.0, 3.5, 10.0])
@pytest.mark.parametrize("interval", [0.7, 1.0, 2.0, 10.0])
def test_no_more_events_pass_a_limit_than_is_claimed(span: float, interval: float) -> None:
    """The windows of a limit may fall into a time as they like: here events come all the time, and the windows lie anyhow."""
    burst, most = 3, 0
    for shift in range(20):
        windows = [shift * interval / 20 + number * interval for number in range(-1, 40)]
        passed = [began + slack for began in windows for slack in [interval * 0.999 * i / burst for i in range(burst)]]
        most = max(most, sum(0 <= moment < span for moment in passed))
    assert most <= most_in(span, interval, burst)


LIMITED = f"[Unit]\nStartLimitIntervalSec=10\nStartLimitBurst=5\n{SERVICE}"


@pytest.mark.parametrize(
    ("lines", "service", "told"),
    [
        ("TriggerLimitBurst=10", LIMITED, True),
        ("TriggerLimitBurst=9", LIMITED, False),
        ("TriggerLimitIntervalSec=20", LIMITED, True),
        ("TriggerLimitIntervalSec=40", LIMITED, False),
        ("TriggerLimitBurst=50", LIMITED + "Restart=always\n", False),
        ("TriggerLimitBurst=50", LIMITED.replace("Sec=10", "Sec=0").replace("Burst=5", "Burst=0"), False),
        ("Accept=yes\nTriggerLimitBurst=250", LIMITED, False),
        ("", LIMITED, False),
    ],
)
def test_a_trigger_limit_beyond_the_start_limit_of_the_service_is_told_if_that_is_certain(
    lines: str, service: str, told: bool
) -> None:
    assert codes(said(f"ListenStream=80\n{lines}", "", service)) == (["SA045"] if told else [])


def test_to_pause_is_of_no_use_when_the_service_fails_for_good_before() -> None:
    found = one("ListenStream=80", "TriggerLimitAction=pause")
    assert (found.code, found.severity) == ("SA046", "warning")
    assert "web.service fails before, at its StartLimitBurst=5 in 10 s" in found.message
    assert "StartLimitIntervalSec=0" in found.hint
    off = f"[Unit]\nStartLimitIntervalSec=0\n{SERVICE}"
    assert said("ListenStream=80", "TriggerLimitAction=pause", off) == []
    assert said("ListenStream=80\nTriggerLimitBurst=4", "TriggerLimitAction=pause") == []
    assert said("ListenStream=80\nAccept=yes", "TriggerLimitAction=pause") == []
    assert codes(said("ListenStream=80\nTriggerLimitBurst=0", "TriggerLimitAction=pause")) == ["SA045"]


# Addresses that collide

ADDRESSES = ("[::]", "0.0.0.0", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]")
MODES = ("both", "ipv6-only")
Mode = tuple[str, str]
"""An address, and BindIPv6Only=."""


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bound(address: str, only_ipv6: bool, reuse_port: bool, kind: int, number: int) -> socket.socket:
    """A socket as sockact opens it."""
    parsed = parse(f"{address}:{number}")
    assert isinstance(parsed, Inet | Inet6)
    opened = socket.socket(socket.AF_INET6 if isinstance(parsed, Inet6) else socket.AF_INET, kind)
    try:
        if isinstance(parsed, Inet6):
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        if reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(parsed.wire)
        if kind == socket.SOCK_STREAM:
            opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def both_can_be_bound(first: Mode, second: Mode, reuse: tuple[bool, bool], kind: int, number: int) -> bool:
    with bound(first[0], first[1] == "ipv6-only", reuse[0], kind, number):
        try:
            bound(second[0], second[1] == "ipv6-only", reuse[1], kind, number).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


@pytest.mark.parametrize("reuse", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", ["Stream", "Datagram"])
def test_addresses_collide_in_the_rule_where_they_do_in_the_kernel(kind: str, reuse: tuple[bool, bool]) -> None:
    """Every two addresses, in every mode of IPv6, against bind(2) and listen(2) of this machine."""
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    number, wrong = port(), []
    asked = [(a, m) for a, m in product(ADDRESSES, MODES) if not ("ffff" in a and m == "ipv6-only") and (m == "both" or "[" in a)]
    for first, second in product(asked, asked):
        constant = socket.SOCK_STREAM if kind == "Stream" else socket.SOCK_DGRAM
        works = both_can_be_bound(first, second, reuse, constant, number)
        files = {
            f"{name}.socket": f"[Socket]\nService=web.service\nListen{kind}={address}:{number}\nBindIPv6Only={mode}\n"
            f"ReusePort={'yes' if shares else 'no'}"
            for name, (address, mode), shares in zip("ab", (first, second), reuse, strict=True)
        }
        if ("SA025" not in codes(findings({**files, "web.service": SERVICE}))) != works:
            wrong.append((first, second))
    assert wrong == []


def collisions(*files: str, survey: Machine | None = None) -> list[Diagnostic]:
    """What is found about the addresses of units with these lines, all of which start one service."""
    named = {f"{chr(97 + n)}.socket": f"[Socket]\nService=web.service\n{text}" for n, text in enumerate(files)}
    found = findings({**named, "web.service": SERVICE}, survey=survey)
    return [d for d in found if d.code in ("SA025", "SA026")]


def test_the_other_line_of_a_collision_is_named() -> None:
    (found,) = collisions("\n\nListenStream=80", "ListenStream=80")
    assert found.message == "[::]:80 is taken by a.socket"
    assert found.hint == "the other is at a.socket:5; remove one, or share it with ReusePort=yes in both"
    assert found.where == "b.socket:3:14"
    (found,) = collisions("ListenStream=/run/a\nListenFIFO=/run/a")
    assert (found.message, found.hint) == ("/run/a stands here twice", "the other is at a.socket:3; remove one")


def test_addresses_that_overlap_are_told_with_both_of_them() -> None:
    (found,) = collisions("ListenStream=80", "ListenStream=127.0.0.1:80\nSocketProtocol=mptcp")
    assert found.message == "127.0.0.1:80 overlaps with [::]:80 of a.socket: only one of them can be bound"
    assert "a.socket:3" in found.hint
    assert "BindIPv6Only=ipv6-only" in found.hint
    (found,) = collisions("ListenStream=0.0.0.0:80\nListenStream=127.0.0.1:80")
    assert found.message == "127.0.0.1:80 overlaps with 0.0.0.0:80: only one of them can be bound"
    assert "BindIPv6Only" not in found.hint


def test_whether_a_wildcard_takes_ipv4_is_asked_of_the_machine_if_the_unit_leaves_it_open() -> None:
    units = ("ListenStream=[::]:80", "ListenStream=0.0.0.0:80")
    only = Machine(settings={"net.ipv6.bindv6only": 1})
    assert codes(collisions(*units)) == codes(collisions(*units, survey=Machine())) == ["SA025"]
    assert collisions(*units, survey=only) == []
    assert codes(collisions(units[0] + "\nBindIPv6Only=both", units[1], survey=only)) == ["SA025"]


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("ListenStream=80\nBindToDevice=lo", "ListenStream=80\nBindToDevice=eth0", False),
        ("ListenStream=80\nBindToDevice=lo", "ListenStream=127.0.0.1:80\nBindToDevice=lo", True),
        ("ListenStream=80\nBindToDevice=lo", "ListenStream=127.0.0.1:80", True),
        ("ListenStream=[fe80::1]:80%%a", "ListenStream=[fe80::1]:80%%b", False),
        ("ListenStream=[fe80::1]:80%%a", "ListenStream=[fe80::1]:80%%a", True),
        ("ListenStream=80", "ListenStream=[fe80::1]:80%%a", True),
        ("ListenStream=80", "ListenStream=81", False),
        ("ListenStream=80", "ListenStream=80\nSocketProtocol=sctp", False),
        ("ListenStream=80", "ListenDatagram=80", False),
        ("ListenStream=80", "ListenStream=127.0.0.1:80\nNetworkNamespacePath=/run/netns/x", False),
        ("ListenStream=80\nPrivateNetwork=yes", "ListenStream=80\nPrivateNetwork=yes", False),
        ("ListenStream=80-82", "ListenStream=127.0.0.1:82", True),
        ("ListenStream=0", "ListenStream=0", False),
        ("ListenDatagram=53", "ListenDatagram=127.0.0.1:53", False),
        ("ListenDatagram=[ff02::fb]:53%%a", "ListenDatagram=[ff02::fb]:53%%a", False),
        ("ListenStream=@a\nReusePort=yes", "ListenStream=@a\nReusePort=yes", True),
    ],
)
def test_what_is_apart_does_not_collide(first: str, second: str, collide: bool) -> None:
    assert codes(collisions(first, second)) == (["SA025"] if collide else [])
    assert codes(collisions(second, first)) == (["SA025"] if collide else [])


@pytest.mark.parametrize(
    ("lines", "told"), [("", True), ("BindToDevice=lo", True), ("ReusePort=yes", False), ("PrivateNetwork=yes", True)]
)
def test_of_two_datagram_sockets_on_one_address_one_gets_nothing(lines: str, told: bool) -> None:
    found = collisions(f"ListenDatagram=127.0.0.1:53\nListenDatagram=127.0.0.1:53\n{lines}")
    assert [(d.code, d.severity) for d in found] == ([("SA026", "warning")] if told else [])


def test_the_kernel_gives_all_datagrams_to_the_socket_bound_last() -> None:
    number = port()
    kind = socket.SOCK_DGRAM
    with bound("127.0.0.1", False, False, kind, number) as first, bound("127.0.0.1", False, False, kind, number) as last:
        with socket.socket(socket.AF_INET, kind) as client:
            client.sendto(b"x", ("127.0.0.1", number))
        last.settimeout(5)
        assert last.recv(9) == b"x"
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(9)


def test_everybody_who_listens_to_a_group_gets_what_comes() -> None:
    groups = [parse(text) for text in ("224.0.0.1:1", "239.255.0.1:1", "[ff02::1]:1", "[ff0e::1]:1")]
    others = [parse(text) for text in ("223.0.0.1:1", "240.0.0.1:1", "[fe80::1]:1", "[::1]:1", "0.0.0.0:1")]
    assert [is_multicast(a) for a in groups + others if isinstance(a, Inet | Inet6)] == [True] * 4 + [False] * 5


def test_three_on_one_address_are_two_findings_that_name_the_first() -> None:
    for lines in permutations(["ListenStream=80", "ListenStream=127.0.0.1:80", "ListenStream=0.0.0.0:80"]):
        found = collisions(*lines)
        assert [d.where.partition(":")[0] for d in found] == ["b.socket", "c.socket"]
        assert found[0].hint.startswith("the other is at a.socket:3")


@pytest.mark.parametrize(
    ("link", "told"), [("/run/a", "a.socket:3"), ("/run/link", "a.socket:4"), ("/run/b", "b.socket:3"), ("/run/c", "")]
)
def test_a_link_where_another_unit_has_a_node_or_a_link_is_told(link: str, told: str) -> None:
    units = ("ListenStream=/run/a\nSymlinks=/run/link", f"ListenFIFO=/run/b\nSymlinks={link}")
    files = {f"{name}.socket": f"[Socket]\nService=web.service\n{text}" for name, text in zip("ab", units, strict=True)}
    found = findings({**files, "web.service": SERVICE})
    assert [(d.code, d.severity, d.where.partition(":")[0]) for d in found] == [("SA039", "warning", "b.socket")][: bool(told)]
    assert all(told in d.hint and link in d.message for d in found)


# Services and their sockets


def test_a_service_that_asks_for_the_socket_of_another_is_told_who_is_started() -> None:
    files = {
        "web.service": SERVICE + "Sockets=web.socket other.socket\n",
        "web.socket": "[Socket]\nListenStream=80",
        "other.socket": "[Socket]\nListenStream=81",
        "other.service": SERVICE,
    }
    (found,) = findings(files, "web.service")
    assert short(found) == "SA037 traffic on other.socket starts other.service, not web.service"
    assert found.hint == "add Service=web.service to other.socket"
    files["other.socket"] += "\nService=web.service"
    assert findings(files, "web.service") == []


def test_a_socket_that_accepts_by_itself_has_nothing_for_who_asks_for_it() -> None:
    files = {
        "own.service": SERVICE + "Sockets=web.socket\n",
        "web.socket": "[Socket]\nListenStream=80\nAccept=yes",
        **TEMPLATE,
    }
    (found,) = findings(files, "own.service")
    assert found.code == "SA037"
    assert "web.socket:3" in found.hint


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("FileDescriptorName=a", "FileDescriptorName=a", True),
        ("FileDescriptorName=a", "FileDescriptorName=b", False),
        ("", "", False),
        ("", "FileDescriptorName=a.socket", False),
    ],
)
def test_two_sockets_of_one_service_that_have_one_name_are_noted(first: str, second: str, told: bool) -> None:
    files = {
        "a.socket": f"[Socket]\nListenStream=80\nService=web.service\n{first}",
        "b.socket": f"[Socket]\nListenStream=81\nService=web.service\n{second}",
        "web.service": SERVICE,
    }
    found = findings(files)
    assert [(d.code, d.severity) for d in found] == ([("SA038", "note")] if told else [])
    assert all("a.socket:4" in d.hint for d in found)


def test_one_name_for_sockets_of_two_services_is_fine() -> None:
    files = {
        name: "[Socket]\nFileDescriptorName=x\nListenStream=" + text for name, text in (("a.socket", "80"), ("b.socket", "81"))
    }
    assert findings({**files, "a.service": SERVICE, "b.service": SERVICE}) == []


# The machine


def on(machine: Machine, lines: str, own: str = "") -> list[Diagnostic]:
    text = f"[Socket]\n{lines}" + (f"\n[X-Sockact]\n{own}" if own else "")
    return findings({"web.socket": text, "web.service": SERVICE}, "web.socket", survey=machine)


def machine(*lacks: str, have: tuple[str, ...] = (), **settings: int) -> Machine:
    return Machine("/bin/true", *have, lacks=lacks, settings=settings)


def test_the_commands_of_a_socket_are_looked_for_as_those_of_a_service() -> None:
    found = on(machine(), "ListenStream=80\nExecStartPre=/bin/mkdir /x ; -/bin/a\nExecStopPost=/bin/b\nExecStartPost=/bin/true")
    assert [(d.code, d.where) for d in found] == [("SA050", "web.socket:3:14"), ("SA050", "web.socket:4:14")]
    assert all(d.hint for d in found)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("User=who", "SA051"),
        ("Group=who", "SA051"),
        ("WorkingDirectory=/missing", "SA053"),
        ("EnvironmentFile=/missing", "SA054"),
    ],
)
def test_what_commands_of_a_socket_run_in_is_looked_for_if_there_are_commands(line: str, code: str) -> None:
    (found,) = on(machine(), f"ListenStream=80\nExecStartPost=/bin/true\n{line}")
    assert found.code == code
    assert found.hint
    assert codes(on(machine(), f"ListenStream=80\n{line}")) == ["SA043"]
    assert on(machine(have=("who", "/missing")), f"ListenStream=80\nExecStartPost=/bin/true\n{line}") == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("ExecStart=/bin/missing\nRootDirectory=/srv", []),
        ("ExecStart=/bin/true\nWorkingDirectory=/inside\nRootDirectory=/srv", []),
        ("ExecStart=/bin/true\nUser=made\nDynamicUser=yes", []),
        ("ExecStart=/bin/true\nUser=made\nDynamicUser=no", ["SA051"]),
        ("ExecStart=/bin/true\nWorkingDirectory=/run/web/cache\nRuntimeDirectory=web/cache", []),
        ("ExecStart=/bin/true\nWorkingDirectory=/run/web\nRuntimeDirectory=web/cache", []),
        ("ExecStart=/bin/true\nWorkingDirectory=/run/web/cache\nRuntimeDirectory=web", ["SA053"]),
        ("ExecStart=/bin/true\nWorkingDirectory=/run/other\nRuntimeDirectory=web", ["SA053"]),
    ],
)
def test_what_is_made_for_a_service_or_is_inside_of_its_root_is_not_looked_for(lines: str, expected: list[str]) -> None:
    found = [d for d in findings({"web.service": f"[Service]\n{lines}"}, survey=machine()) if d.scope == "host"]
    assert codes(found) == expected


def test_a_program_is_looked_for_in_the_folders_of_the_unit() -> None:
    class Searching(Machine):
        def program(self, name: str, path: str) -> str:
            return f"{name} in {path}"

    def searched(lines: str) -> list[str]:
        files = {"web.service": f"[Service]\nExecStart=web\n{lines}"}
        return [d.message for d in findings(files, survey=Searching()) if d.code == "SA050"]

    assert searched("") == ["web in "]
    assert searched("ExecSearchPath=/opt/bin:/bin") == ["web in /opt/bin:/bin"]
    assert searched("ExecSearchPath=/opt/bin\nEnvironment=PATH=/srv/bin") == ["web in /opt/bin"], "as under systemd"
    assert searched("Environment=PATH=/srv/bin") == ["web in /srv/bin"]
    assert searched("EnvironmentFile=-/etc/default/web") == []


def test_of_a_group_that_is_missing_the_hint_is_how_to_make_one() -> None:
    (group,) = on(machine(), "ListenStream=/run/a\nSocketGroup=who")
    (user,) = on(machine(), "ListenStream=/run/a\nSocketUser=who")
    assert ("groupadd" in group.hint, "useradd" in user.hint) == (True, True)


def test_interfaces_are_looked_for_where_the_sockets_are() -> None:
    lines = "ListenStream=[fe80::1]:80%%eth7\nListenStream=81\nBindToDevice=eth8"
    assert [(d.code, bool(d.hint)) for d in on(machine(), lines)] == [("SA052", True)] * 2
    assert on(machine(have=("eth7", "eth8")), lines) == []
    assert on(machine(), lines + "\nPrivateNetwork=yes") == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("ListenStream=192.0.2.1:80", True),
        ("ListenDatagram=[2001:db8::1]:80", True),
        ("ListenStream=192.0.2.1:80\nFreeBind=yes", False),
        ("ListenStream=192.0.2.1:80\nTransparent=yes", False),
        ("ListenStream=192.0.2.1:80\nPrivateNetwork=yes", False),
        ("ListenStream=192.0.2.1:80\nExecStartPre=/bin/true", False),
        ("ListenStream=192.0.2.2:80", False),
        ("ListenStream=80\nListenDatagram=0.0.0.0:80", False),
        ("ListenDatagram=224.0.0.1:80", False),
        ("ListenStream=/run/a", False),
    ],
)
def test_an_address_that_no_interface_has_is_told_with_what_to_do(lines: str, told: bool) -> None:
    found = on(machine("192.0.2.1", "2001:db8::1", "0.0.0.0", "::", "224.0.0.1"), lines)
    assert [(d.code, d.severity) for d in found] == ([("SA055", "warning")] if told else [])
    assert all("FreeBind=yes" in d.hint for d in found)


@pytest.mark.parametrize(
    ("lines", "start", "told"),
    [
        ("ListenStream=80", 1024, 1),
        ("ListenDatagram=1023", 1024, 1),
        ("ListenStream=1024", 1024, 0),
        ("ListenStream=80", 80, 0),
        ("ListenStream=80", 0, 0),
        ("ListenStream=0", 1024, 0),
        ("ListenStream=vsock::1023", 0, 1),
        ("ListenStream=vsock::1024", 2000, 0),
        ("ListenStream=/run/a", 1024, 0),
        ("ListenStream=80-90\nListenStream=91-99", 1024, 2),
        ("ListenStream=80\nPrivateNetwork=yes", 1024, 0),
    ],
)
def test_a_low_port_needs_a_privilege(lines: str, start: int, told: int) -> None:
    settings = {"net.ipv4.ip_unprivileged_port_start": start}
    lacking = Machine("/bin/true", lacks=["CAP_NET_BIND_SERVICE"], settings=settings)
    found = on(lacking, lines)
    assert [(d.code, d.severity, d.scope) for d in found] == [("SA056", "error", "host")] * told
    assert all("sysctl" in d.hint and "CAP_NET_BIND_SERVICE" in d.message for d in found)
    assert on(Machine("/bin/true", settings=settings), lines) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [("Mark=5", True), ("Transparent=yes", True), ("Priority=7", True), ("Priority=6", False), ("Transparent=no", False)],
)
def test_an_option_of_the_privileged_is_told_to_others(line: str, told: bool) -> None:
    lines = f"ListenStream=8080\n{line}"
    found = on(machine("CAP_NET_ADMIN", "CAP_NET_RAW"), lines)
    assert [(d.code, d.severity) for d in found] == ([("SA057", "warning")] if told else [])
    assert on(machine("CAP_NET_ADMIN"), lines) == on(machine(), lines) == []


def test_a_node_can_be_given_away_by_the_privileged_only() -> None:
    lines = "ListenStream=/run/a\nSocketUser=who"
    assert codes(on(machine(*NO_ACCOUNTS, have=("who",)), lines)) == ["SA056"]
    assert on(machine(have=("who",)), lines) == []
    assert "SA056" not in codes(on(machine(*NO_ACCOUNTS, have=("who",)), "ListenStream=8080\nSocketUser=who"))


def test_who_has_no_privileges_runs_nothing_as_somebody_else() -> None:
    for name, text in (
        ("web.socket", "[Socket]\nListenStream=8080\nExecStartPost=/bin/true\nUser=who"),
        ("web.service", f"{SERVICE}User=who"),
    ):
        files = {"web.service": SERVICE, name: text}
        assert codes(findings(files, name, survey=machine(*NO_ACCOUNTS, have=("who",)))) == ["SA057"]
        assert findings(files, name, survey=machine(have=("who",))) == []


@pytest.mark.parametrize(
    ("lines", "own", "told"),
    [
        ("ListenStream=[::1]:8080\nSocketProtocol=mptcp", "", True),
        ("ListenStream=8080\nSocketProtocol=mptcp", "ProtocolFallback=tcp", False),
        ("ListenStream=8080\nSocketProtocol=mptcp\nExecStartPre=/bin/true", "", False),
        ("ListenStream=8080\nSocketProtocol=mptcp\nNetworkNamespacePath=/run/netns/x", "", False),
        ("ListenDatagram=8080\nSocketProtocol=udplite", "", False),
        ("ListenStream=8080\nSocketProtocol=tcp", "", False),
        ("ListenStream=8080", "", False),
    ],
)
def test_a_protocol_that_the_kernel_lacks_is_found_before_anything_is_opened(lines: str, own: str, told: bool) -> None:
    found = on(machine("mptcp", "tcp", have=("/run/netns/x",)), lines, own)
    assert [(d.code, d.severity) for d in found] == ([("SA058", "error")] if told else [])
    assert all("ProtocolFallback=tcp" in d.hint and "[::1]:8080" in d.message for d in found)


def test_what_the_kernel_always_has_is_not_tried() -> None:
    asked = machine()
    on(asked, "ListenStream=8080\nListenStream=81\nListenDatagram=/run/a\nListenFIFO=/run/b")
    assert set(asked.asked) <= {"CAP_NET_BIND_SERVICE"}


@pytest.mark.parametrize("line", ["NetworkNamespacePath=/run/netns/x", "ListenSpecial=/run/netns/x"])
def test_a_namespace_and_a_special_file_have_to_be_there(line: str) -> None:
    lines = f"ListenStream=8080\n{line}"
    (found,) = on(machine(), lines)
    assert (found.code, found.severity, found.scope, bool(found.hint)) == ("SA059", "error", "host", True)
    assert on(machine(have=("/run/netns/x",)), lines) == []
    assert on(machine(), lines + "\nExecStartPre=/bin/true") == []


# This machine


def test_the_survey_tries_addresses_and_leaves_nothing_open() -> None:
    survey = host.Survey()
    before = sorted(os.listdir("/proc/self/fd"))
    assert survey.address(Inet("127.0.0.1", 80)) == ""
    assert survey.address(Inet("192.0.2.77", 80)) == "no interface has 192.0.2.77 now"
    assert survey.address(Inet6("fe80::1", 80, "nosuchif0")) == "", "that is for the interface to say"
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_survey_tries_protocols() -> None:
    survey = host.Survey()
    assert survey.protocol("tcp", "AF_INET", "SOCK_STREAM", 6) == ""
    assert "EPROTONOSUPPORT" in survey.protocol("nothing", "AF_INET", "SOCK_STREAM", 17)


def test_the_survey_reads_settings_of_the_kernel() -> None:
    survey = host.Survey()
    assert survey.setting("net.ipv4.ip_unprivileged_port_start") == int(
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    )
    assert survey.setting("net.no.such.setting") == 0


CAPS = """
import os, sys
from sockact.runtime.host import Survey
if sys.argv[1] == "drop":
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
survey = Survey()
print([bool(wrong) for wrong in (
    survey.capability("CAP_NET_BIND_SERVICE"), survey.capability("CAP_NET_ADMIN", "CAP_NET_RAW"),
    survey.owner("root", None), survey.owner("65534", "65534"), survey.owner("nobodyofthisname", None),
    survey.account("root", None), survey.account("65534", "65534"), survey.account("nobodyofthisname", None),
)])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize(
    ("how", "wrong"),
    [("keep", [False] * 8), ("drop", [True, True, True, False, False, True, False, False])],
    ids=["keep", "drop"],
)
def test_the_survey_knows_what_this_process_may_do(how: str, wrong: list[bool]) -> None:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", CAPS, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(wrong)


# Services


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("RuntimeRandomizedExtraSec=3", ["SA044 RuntimeRandomizedExtraSec= has no effect without RuntimeMaxSec="]),
        (
            "RuntimeRandomizedExtraSec=3\nRuntimeMaxSec=infinity",
            ["SA044 RuntimeRandomizedExtraSec= has no effect without RuntimeMaxSec="],
        ),
        ("RuntimeRandomizedExtraSec=3\nRuntimeMaxSec=9", []),
        ("RuntimeRandomizedExtraSec=0", []),
    ],
)
def test_a_random_time_is_added_to_one_that_there_is(lines: str, found: list[str]) -> None:
    assert [short(d) for d in findings({"web.service": f"{SERVICE}{lines}\n"})] == found


# Many units


def seconds_to_verify(count: int) -> float:
    files = {}
    for n in range(count):
        lines = f"ListenStream=127.0.{n >> 8}.{n & 255}:80\nListenDatagram=127.0.{n >> 8}.{n & 255}:80\nListenStream=/run/{n}\n"
        files[f"u{n}.socket"] = f"[Socket]\n{lines}SocketMode=0600\nNoDelay=yes\nFileDescriptorName=x\n"
        files[f"u{n}.service"] = SERVICE + f"Sockets=u{n}.socket\nStandardInput=null\n"
    units = gathered(files)
    began = time.process_time()
    found = verify(units, Machine("/bin/true"))
    assert found == []
    return time.process_time() - began


def test_the_time_it_takes_grows_as_the_units_do() -> None:
    few = min(seconds_to_verify(250) for _ in range(3))
    many = seconds_to_verify(2000)
    assert many < few * 8 * 3, f"{few:.3f} s for 250 units, {many:.3f} s for 2000"


def test_a_text_for_people_is_short() -> None:
    found = said("ListenStream=80\nListenStream=127.0.0.1:80\nPipeSize=1K\nUser=x")
    assert all(len(render(d).splitlines()) <= 4 for d in found)
