"""The plan: what each socket asks of the kernel, in which order, and what two sockets must not share."""

from __future__ import annotations

import pytest

from sockact.net import plan
from sockact.net.linux import MEANINGS, meaning, number, signal_name
from sockact.net.protocols import by_name, choose
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives import Option
from tests.fakes import socket_unit


def ports(text: str, name: str = "web.socket") -> tuple[plan.Port, ...]:
    unit, found = socket_unit(text, name)
    assert found == []
    return plan.plan(unit)


def steps(text: str) -> list[str]:
    """All steps of all ports, each port led by its name."""
    return [line for port in ports(text) for line in (f"# {port}", *map(str, port.steps))]


PLAIN_TCP = """\
# tcp [::]:8080
socket(AF_INET6, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
bind([::]:8080)
listen(2147483647)
"""
FULL_MPTCP = """\
# mptcp 127.0.0.1:8080
socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 262)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
setsockopt(IPPROTO_IP, IP_FREEBIND, 1)
setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 60)
setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 10)
setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 3)
setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
setsockopt(SOL_SOCKET, SO_SNDBUF, 32768)
setsockopt(IPPROTO_TCP, TCP_CONGESTION, reno)
bind(127.0.0.1:8080)
listen(128)
# mptcp [::1]:8080
socket(AF_INET6, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 262)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
setsockopt(IPPROTO_IPV6, IPV6_FREEBIND, 1)
setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 60)
setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 10)
setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 3)
setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
setsockopt(SOL_SOCKET, SO_SNDBUF, 32768)
setsockopt(IPPROTO_TCP, TCP_CONGESTION, reno)
bind([::1]:8080)
listen(128)
"""
FILES = """\
# unix stream /run/web/sock
mkdir -p /run/web (mode 0700)
socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
bind(/run/web/sock) (mode 0660)
chown(/run/web/sock, www-data, -)
listen(2147483647)
# fifo /run/web/fifo
mkdir -p /run/web (mode 0700)
mkfifo(/run/web/fifo, 0660); open(/run/web/fifo, O_RDWR|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC)
chown(/run/web/fifo, www-data, -)
# unix stream @web
socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
bind(@web)
listen(2147483647)
"""
OTHERS = """\
# udp [::]:53
socket(AF_INET6, SOCK_DGRAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 1048576)
bind([::]:53)
# unix datagram @log
socket(AF_UNIX, SOCK_DGRAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 1048576)
bind(@log)
# unix seqpacket @p
socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 1048576)
bind(@p)
listen(2147483647)
# vsock stream vsock::80
socket(AF_VSOCK, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_SOCKET, SO_RCVBUF, 1048576)
bind(vsock::80)
listen(2147483647)
"""
SCTP = """\
# sctp 127.0.0.1:9
socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 132)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_SCTP, SCTP_NODELAY, 1)
bind(127.0.0.1:9)
listen(2147483647)
# sctp seqpacket 127.0.0.1:10
socket(AF_INET, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 132)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_SCTP, SCTP_NODELAY, 1)
bind(127.0.0.1:10)
listen(2147483647)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ListenStream=8080\n", PLAIN_TCP),
        (
            "ListenStream=127.0.0.1:8080\nListenStream=[::1]:8080\nSocketProtocol=mptcp\nBindIPv6Only=ipv6-only\nBacklog=128\n"
            "ReusePort=yes\nFreeBind=yes\nKeepAlive=yes\nKeepAliveTimeSec=1min\nKeepAliveIntervalSec=10\nKeepAliveProbes=3\n"
            "NoDelay=yes\nReceiveBuffer=64K\nSendBuffer=32K\nTCPCongestion=reno\n",
            FULL_MPTCP,
        ),
        (
            "ListenStream=/run/web/sock\nListenFIFO=/run/web/fifo\nListenStream=@web\nSocketMode=0660\nDirectoryMode=0700\n"
            "SocketUser=www-data\n",
            FILES,
        ),
        (
            "ListenDatagram=53\nListenDatagram=@log\nListenSequentialPacket=@p\nListenStream=vsock::80\nReceiveBuffer=1M\n"
            "NoDelay=yes\nKeepAlive=yes\nKeepAliveTimeSec=5\nTCPCongestion=reno\n",
            OTHERS,
        ),
        (
            "ListenStream=127.0.0.1:9\nListenSequentialPacket=127.0.0.1:10\nSocketProtocol=sctp\nNoDelay=yes\nKeepAliveProbes=3\n",
            SCTP,
        ),
    ],
    ids=["plain", "mptcp with everything", "files", "others", "sctp"],
)
def test_the_steps_of_a_unit_are_exactly_these(text: str, expected: str) -> None:
    assert steps(text) == expected.splitlines()


def test_options_come_before_bind_and_bind_before_listen() -> None:
    (port,) = ports("ListenStream=1\nNoDelay=yes\nReceiveBuffer=1K\n")
    kinds = [type(step) for step in port.steps]
    order = [plan.OpenSocket, plan.SetOption, plan.Bind, plan.StartListening]
    assert sorted(kinds, key=order.index) == kinds


def test_the_owner_is_set_before_anybody_can_connect() -> None:
    (port,) = ports("ListenStream=/run/x\nSocketGroup=g\n")
    kinds = [type(step) for step in port.steps]
    assert kinds.index(plan.Bind) < kinds.index(plan.SetOwner) < kinds.index(plan.StartListening)


def test_a_backlog_beyond_an_int_is_the_largest_int() -> None:
    (port,) = ports("ListenStream=1\nBacklog=4294967295\n")
    assert port.steps[-1] == plan.StartListening(0x7FFFFFFF)
    (none,) = ports("ListenStream=1\nBacklog=0\n")
    assert none.steps[-1] == plan.StartListening(0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("BindIPv6Only=default", None),
        ("BindIPv6Only=both", 0),
        ("BindIPv6Only=ipv6-only", 1),
    ],
)
def test_ipv6_only_is_set_either_way_or_left_to_the_system(text: str, shown: int | None) -> None:
    (port,) = ports(f"ListenStream=1\n{text}\n")
    found = [step for step in port.steps if isinstance(step, plan.SetOption) and step.name == "IPV6_V6ONLY"]
    assert [(step.value, step.fatal) for step in found] == ([] if shown is None else [(shown, True)])


@pytest.mark.parametrize(
    "line", ["KeepAliveTimeSec=0", "KeepAliveTimeSec=infinity", "KeepAliveProbes=0", "ReceiveBuffer=0", "NoDelay=no"]
)
def test_zero_infinity_and_no_leave_the_kernel_alone(line: str) -> None:
    assert steps(f"ListenStream=8080\n{line}\n") == PLAIN_TCP.splitlines()


def test_buffers_may_be_forced_and_only_they() -> None:
    (port,) = ports("ListenStream=1\nReceiveBuffer=1K\nSendBuffer=1K\nNoDelay=yes\n")
    forced = {step.name: step.forced for step in port.steps if isinstance(step, plan.SetOption) and step.forced}
    assert forced == {"SO_RCVBUF": "SO_RCVBUFFORCE", "SO_SNDBUF": "SO_SNDBUFFORCE"}


def test_descriptors_bear_the_name_of_the_unit_unless_told_otherwise() -> None:
    assert [port.fd_name for port in ports("ListenStream=1\nListenFIFO=/x\n")] == ["web.socket"] * 2
    assert ports("ListenStream=1\nAccept=yes\n")[0].fd_name == "connection"
    assert ports("ListenStream=1\nAccept=yes\nFileDescriptorName=x\n")[0].fd_name == "x"
    assert ports("ListenStream=1\nFileDescriptorName=%p-%i\n", "web@7.socket")[0].fd_name == "web-7"


def test_only_nodes_in_the_file_system_have_a_mode_an_owner_and_parents() -> None:
    for port in ports("ListenStream=1\nListenStream=@x\nListenStream=vsock::1\nSocketMode=0600\nSocketUser=u\n"):
        assert port.node is None
        assert not any(isinstance(step, (plan.MakeParents, plan.SetOwner)) for step in port.steps)
        assert [step.mode for step in port.steps if isinstance(step, plan.Bind)] == [None]


def test_connections_are_accepted_from_streams_and_from_packets_that_have_them() -> None:
    text = "ListenStream=1\nListenStream=@x\nListenStream=vsock::1\nListenSequentialPacket=@y\nListenSequentialPacket=vsock::2\n"
    assert all(plan.accepts(port.listen) for port in ports(text))
    unit, _ = socket_unit("ListenDatagram=1\nListenDatagram=@x\nListenFIFO=/x\nListenSequentialPacket=1\n")
    assert not any(plan.accepts(listen) for listen in unit.socket.listen)


# Where an option exists


def applied(option: Option, text: str, lacks: frozenset[str] = frozenset()) -> bool:
    unit, _ = socket_unit(text)
    (listen,) = unit.socket.listen
    protocol = choose(listen, unit.socket.protocol)
    assert protocol is not None
    assert not isinstance(protocol, Invalid)
    return plan.applies(option, listen, protocol.replace(lacks=lacks))


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        (Option("IPPROTO_TCP", "TCP_NODELAY"), "ListenStream=1", True),
        (Option("IPPROTO_TCP", "TCP_NODELAY"), "ListenDatagram=1", False),
        (Option("IPPROTO_TCP", "TCP_NODELAY"), "ListenStream=@x", False),
        (Option("IPPROTO_TCP", "TCP_NODELAY"), "ListenStream=1\nSocketProtocol=sctp", False),
        (Option("IPPROTO_SCTP", "SCTP_NODELAY"), "ListenStream=1\nSocketProtocol=sctp", True),
        (Option("IPPROTO_IP", "IP_TTL"), "ListenStream=1.2.3.4:1", True),
        (Option("IPPROTO_IP", "IP_TTL"), "ListenStream=[::1]:1", False),
        (Option("IPPROTO_IP", "IP_TOS", families=frozenset({"inet", "inet6"})), "ListenStream=[::1]:1", True),
        (Option("IPPROTO_IPV6", "IPV6_V6ONLY"), "ListenStream=1.2.3.4:1", False),
        (Option("SOL_SOCKET", "SO_X"), "ListenStream=vsock::1", True),
        (Option("SOL_SOCKET", "SO_X", kinds=frozenset({"datagram"})), "ListenStream=1", False),
        (Option("SOL_SOCKET", "SO_X", kinds=frozenset({"datagram"})), "ListenDatagram=@x", True),
        (Option("SOL_SOCKET", "SO_X", families=frozenset({"unix"})), "ListenStream=1", False),
    ],
)
def test_an_option_exists_where_protocol_family_and_kind_have_it(option: Option, text: str, expected: bool) -> None:
    assert applied(option, text) is expected


def test_an_option_that_a_protocol_lacks_is_left_out() -> None:
    option = Option("IPPROTO_IP", "IP_TTL")
    assert applied(option, "ListenStream=1.2.3.4:1")
    assert not applied(option, "ListenStream=1.2.3.4:1", frozenset({"IP_TTL"}))


# What two sockets must not share


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("ListenStream=1", "ListenStream=1", True),
        ("ListenStream=1", "ListenStream=[::]:1", True),
        ("ListenStream=1", "ListenStream=1\nSocketProtocol=tcp", True),
        ("ListenStream=1", "ListenStream=1\nSocketProtocol=mptcp", True),
        ("ListenStream=1", "ListenStream=1\nSocketProtocol=sctp", False),
        ("ListenStream=1", "ListenStream=2", False),
        ("ListenStream=1", "ListenDatagram=1", False),
        ("ListenDatagram=1", "ListenDatagram=1\nSocketProtocol=udplite", False),
        ("ListenStream=127.0.0.1:1", "ListenStream=127.0.0.2:1", False),
        ("ListenStream=/x", "ListenDatagram=/x", True),
        ("ListenStream=/x", "ListenFIFO=/x", True),
        ("ListenStream=@x", "ListenDatagram=@x", False),
        ("ListenStream=@x", "ListenStream=@x", True),
        ("ListenStream=@x", "ListenStream=/x", False),
        ("ListenStream=vsock::1", "ListenSequentialPacket=vsock::1", True),
        ("ListenStream=vsock::1", "ListenStream=vsock:3:1", False),
        ("ListenStream=[fe80::1]:1%%a", "ListenStream=[fe80::1]:1%%b", False),
    ],
)
def test_two_sockets_are_the_same_when_the_kernel_would_not_bind_both(left: str, right: str, same: bool) -> None:
    (first,), (second,) = ports(left), ports(right)
    found = plan.identity(first.listen, first.protocol) == plan.identity(second.listen, second.protocol)
    assert found is same


# What an errno means


@pytest.mark.parametrize(
    ("step", "protocol", "name", "words"),
    [
        ("socket", "mptcp", "ENOPROTOOPT", "net.mptcp.enabled"),
        ("socket", "mptcp", "EPROTONOSUPPORT", "CONFIG_MPTCP"),
        ("socket", "mptcp", "EINVAL", "5.6"),
        ("socket", "sctp", "EPROTONOSUPPORT", "module"),
        ("bind", "tcp", "EADDRINUSE", "another socket"),
        ("bind", "mptcp", "EADDRNOTAVAIL", "FreeBind"),
        ("listen", "tcp", "EADDRINUSE", "another socket"),
    ],
)
def test_an_errno_means_something_at_its_step(step: str, protocol: str, name: str, words: str) -> None:
    import errno

    text = meaning(step, protocol, getattr(errno, name))
    assert text.startswith(f"{name}: ")
    assert words in text


def test_the_three_ways_in_which_mptcp_can_be_missing_are_told_apart() -> None:
    said = {text for (step, protocol, _), text in MEANINGS.items() if (step, protocol) == ("socket", "mptcp")}
    assert len(said) == 3


def test_an_errno_that_says_enough_by_itself_is_just_named() -> None:
    assert meaning("listen", "tcp", 22) == "EINVAL"
    assert meaning("bind", "tcp", 99999) == "99999"


def test_signals_have_names() -> None:
    assert (signal_name(9), signal_name(40), signal_name(32)) == ("SIGKILL", "SIGRTMIN+6", "signal 32")


def test_the_protocols_of_the_plan_are_the_kernels() -> None:
    mptcp = by_name("mptcp")
    assert mptcp is not None
    assert mptcp.number == number("IPPROTO_MPTCP") == 262
