"""The plan: what each socket asks of the kernel, in which order, and what two sockets must not share."""

from __future__ import annotations

import pytest

from sockact.net import plan
from sockact.net.linux import MEANINGS, meaning, number, signal_name
from sockact.net.protocols import by_name, choose
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives import Option
from sockact.unit.directives.socket import SocketSection
from tests.fakes import ours, socket_unit


def ports(text: str, name: str = "web.socket") -> tuple[plan.Port, ...]:
    unit, found = socket_unit(text, name)
    assert ours(found) == []
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
NO_SOCKETS = """\
# fifo /run/f
mkdir -p /run (mode 0755)
mkfifo(/run/f, 0600); open(/run/f, O_RDWR|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC)
fcntl(F_SETPIPE_SZ, 65536)
chown(/run/f, u, g)
mkdir -p /run/links (mode 0755)
symlink(/run/f, /run/links/a)
mkdir -p /run (mode 0755)
symlink(/run/f, /run/b)
# special /dev/kmsg
open(/dev/kmsg, O_RDWR|O_NONBLOCK|O_NOCTTY|O_NOFOLLOW|O_CLOEXEC)
# mqueue /jobs
mq_open(/jobs, O_RDONLY|O_CREAT|O_NONBLOCK|O_CLOEXEC, 0600, 5 messages of 1024 bytes)
fchown(the queue, u, g)
# netlink route 1
socket(AF_NETLINK, SOCK_RAW|SOCK_NONBLOCK|SOCK_CLOEXEC, 0)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_NETLINK, NETLINK_PKTINFO, 1)
bind(route 1)
# netlink kobject-uevent 3
socket(AF_NETLINK, SOCK_RAW|SOCK_NONBLOCK|SOCK_CLOEXEC, 15)
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(SOL_NETLINK, NETLINK_PKTINFO, 1)
bind(kobject-uevent 3)
"""
OWN = """\
# tcp 127.0.0.1:0
socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0) in /run/netns/blue
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 16)
setsockopt(IPPROTO_TCP, TCP_MAXSEG, 1200)
setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 1500)
setsockopt(SOL_SOCKET, SO_LINGER, (1, 5))
bind(127.0.0.1:0)
listen(2147483647)
# tcp 127.0.0.1:1
socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0) in /run/netns/blue
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 16)
setsockopt(IPPROTO_TCP, TCP_MAXSEG, 1200)
setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 1500)
setsockopt(SOL_SOCKET, SO_LINGER, (1, 5))
bind(127.0.0.1:1)
listen(2147483647)
# tcp 127.0.0.1:2
socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0) in /run/netns/blue
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 16)
setsockopt(IPPROTO_TCP, TCP_MAXSEG, 1200)
setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 1500)
setsockopt(SOL_SOCKET, SO_LINGER, (1, 5))
bind(127.0.0.1:2)
listen(2147483647)
# unix datagram @d
socket(AF_UNIX, SOCK_DGRAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0) in /run/netns/blue
setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
bind(@d)
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
        (
            "ListenFIFO=/run/f\nListenSpecial=/dev/kmsg\nListenMessageQueue=/jobs\nListenNetlink=route 1\n"
            "ListenNetlink=kobject-uevent 3\nSocketMode=0600\nSocketUser=u\nSocketGroup=g\nPipeSize=64K\nWritable=yes\n"
            "MessageQueueMaxMessages=5\nMessageQueueMessageSize=1K\nPassPacketInfo=yes\nSymlinks=/run/links/a /run/b\n",
            NO_SOCKETS,
        ),
        (
            "[X-Sockact]\nTCPFastOpen=16\nMaxSegment=1200\nUserTimeoutSec=1500ms\nLingerSec=5\n[Socket]\n"
            "ListenStream=127.0.0.1:0\nListenStream=127.0.0.1:1-2\nListenDatagram=@d\nNetworkNamespacePath=/run/netns/blue\n",
            OWN,
        ),
    ],
    ids=["plain", "mptcp with everything", "files", "others", "sctp", "no sockets", "what systemd has not"],
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


@pytest.mark.parametrize("line", ["MessageQueueMaxMessages=5", "MessageQueueMessageSize=1K", ""])
def test_sizes_of_a_queue_are_set_together_or_left_to_the_kernel(line: str) -> None:
    (port,) = ports(f"ListenMessageQueue=/q\n{line}\n")
    assert port.steps == (plan.OpenQueue("/q", 0o666, 0, 0),)


def test_a_special_file_is_neither_made_nor_given_to_anybody_nor_linked() -> None:
    (port,) = ports("ListenSpecial=/dev/kmsg\nSocketUser=u\nSymlinks=/run/l\nPipeSize=4K\n")
    assert port.steps == (plan.OpenSpecial("/dev/kmsg", False),)
    assert port.node is None


def test_links_are_made_last_when_what_they_lead_to_is_ready() -> None:
    (port,) = ports("ListenStream=/run/s\nSymlinks=/run/l\nSymlinks=/run/m\nRemoveOnStop=yes\n")
    links = [step for step in port.steps if isinstance(step, plan.MakeLink)]
    assert links == [plan.MakeLink("/run/s", "/run/l", True), plan.MakeLink("/run/s", "/run/m", True)]
    assert list(map(type, port.steps[-5:])) == [
        plan.StartListening,
        *(plan.MakeParents, plan.MakeLink),
        *(plan.MakeParents, plan.MakeLink),
    ]


@pytest.mark.parametrize(
    ("lines", "network", "shown"),
    [
        ("", "", ""),
        ("NetworkNamespacePath=/run/netns/x\n", "/run/netns/x", " in /run/netns/x"),
        ("PrivateNetwork=yes\n", plan.PRIVATE, " in PrivateNetwork"),
        ("PrivateNetwork=no\nNetworkNamespacePath=/x\n", "/x", " in /x"),
    ],
)
def test_a_socket_is_opened_in_the_network_namespace_of_its_unit(lines: str, network: str, shown: str) -> None:
    unit, _ = socket_unit(f"ListenStream=1\nListenFIFO=/f\n{lines}")
    assert plan.network(unit) == network
    tcp, fifo = plan.plan(unit)
    assert str(tcp.steps[0]).endswith(f", 0){shown}")
    assert not any(isinstance(step, plan.OpenSocket) for step in fifo.steps)


FALLBACK = "[X-Sockact]\nProtocolFallback=tcp\n[Socket]\n"


def test_a_port_may_fall_back_to_tcp_with_the_options_of_tcp() -> None:
    (port,) = ports(f"{FALLBACK}ListenStream=127.0.0.1:1\nSocketProtocol=mptcp\nIPTTL=5\nNoDelay=yes\n")
    other = port.fallback
    assert other is not None
    assert (str(port), str(other), other.fallback) == ("mptcp 127.0.0.1:1", "tcp 127.0.0.1:1", None)
    assert (other.listen, other.fd_name) == (port.listen, port.fd_name)
    sockets = [step.protocol for found in (port, other) for step in found.steps if isinstance(step, plan.OpenSocket)]
    assert sockets == [262, 6]
    names = [[step.name for step in found.steps if isinstance(step, plan.SetOption)] for found in (port, other)]
    assert [name for name in names[1] if name not in names[0]] == ["IP_TTL"]


@pytest.mark.parametrize(
    "lines",
    [
        "ListenStream=1\n",
        "ListenStream=1\nSocketProtocol=tcp\n",
        "ListenStream=/x\n",
        "ListenStream=vsock::1\n",
        "ListenDatagram=1\nSocketProtocol=udplite\n",
        "ListenSequentialPacket=1\nSocketProtocol=sctp\n",
        "ListenFIFO=/f\nListenDatagram=@x\nListenNetlink=route\nListenMessageQueue=/q\n",
    ],
)
def test_what_tcp_cannot_stand_in_for_has_no_fallback(lines: str) -> None:
    assert all(port.fallback is None for port in ports(FALLBACK + lines))


def test_without_being_asked_for_there_is_no_fallback() -> None:
    assert ports("ListenStream=1\nSocketProtocol=mptcp\n")[0].fallback is None


@pytest.mark.parametrize(("line", "fatal"), [("", {"SO_REUSEADDR", "IPV6_V6ONLY"}), ("OptionFailure=fail", None)])
def test_options_are_fatal_where_the_socket_would_be_another_one_or_all_if_asked_for(line: str, fatal: set[str] | None) -> None:
    (port,) = ports(f"[X-Sockact]\n{line}\n[Socket]\nListenStream=1\nNoDelay=yes\nReceiveBuffer=1K\nBindIPv6Only=both\n")
    options = [step for step in port.steps if isinstance(step, plan.SetOption)]
    assert len(options) == 4
    assert {option.name for option in options if option.fatal} == (fatal or {option.name for option in options})


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("LingerSec=0", "SO_LINGER", (1, 0)),
        ("LingerSec=5", "SO_LINGER", (1, 5)),
        ("LingerSec=infinity", "SO_LINGER", None),
        ("UserTimeoutSec=30s", "TCP_USER_TIMEOUT", 30000),
        ("UserTimeoutSec=0", "TCP_USER_TIMEOUT", 0),
        ("UserTimeoutSec=infinity", "TCP_USER_TIMEOUT", None),
        ("TCPFastOpen=0", "TCP_FASTOPEN", None),
        ("MaxSegment=0", "TCP_MAXSEG", None),
    ],
)
def test_values_of_our_own_options_are_in_the_form_of_the_kernel(line: str, name: str, value: object) -> None:
    (port,) = ports(f"[X-Sockact]\n{line}\n[Socket]\nListenStream=127.0.0.1:1\n")
    found = [step.value for step in port.steps if isinstance(step, plan.SetOption) and step.name == name]
    assert found == ([] if value is None else [value])


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 1), ("1.5s", 2), ("2", 2), ("1ms", 1)])
def test_to_linger_for_a_part_of_a_second_is_not_to_reset_the_connection(text: str, seconds: int) -> None:
    (port,) = ports(f"[X-Sockact]\nLingerSec={text}\n[Socket]\nListenStream=127.0.0.1:1\n")
    assert [step.value for step in port.steps if isinstance(step, plan.SetOption) and step.name == "SO_LINGER"] == [(1, seconds)]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [("KeepAliveIntervalSec=1.5", "TCP_KEEPINTVL", 1), ("DeferAcceptSec=2900ms", "TCP_DEFER_ACCEPT", 2)],
)
def test_parts_of_seconds_are_left_away_as_systemd_does(line: str, name: str, value: int) -> None:
    (port,) = ports(f"ListenStream=127.0.0.1:1\n{line}\n")
    assert [step.value for step in port.steps if isinstance(step, plan.SetOption) and step.name == name] == [value]


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ListenStream=1.2.3.4:1", True),
        ("ListenStream=1.2.3.4:1\nSocketProtocol=mptcp", True),
        ("ListenStream=1.2.3.4:1\nSocketProtocol=sctp", False),
        ("ListenStream=@x", False),
        ("ListenDatagram=1.2.3.4:1", False),
    ],
)
def test_only_tcp_keeps_connections_alive(text: str, expected: bool) -> None:
    """SCTP has heartbeats of its own; the kernel takes SO_KEEPALIVE there, and nothing comes of it (net/sctp/socket.c)."""
    (option,) = [option for _, row in SocketSection.rows() if row.key == "KeepAlive" for option in row.options]
    unit, _ = socket_unit(text)
    (port,) = plan.plan(unit)
    assert port.protocol is not None
    assert plan.applies(option, port.listen, port.protocol) is expected


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
        ("ListenMessageQueue=/q", "ListenMessageQueue=/q", True),
        ("ListenMessageQueue=/q", "ListenMessageQueue=/r", False),
        ("ListenMessageQueue=/q", "ListenFIFO=/q", False),
        ("ListenStream=/x", "ListenSpecial=/x", False),
        ("ListenStream=[fe80::1]:1%%a", "ListenStream=[fe80::1]:1%%b", False),
    ],
)
def test_two_sockets_are_the_same_when_the_kernel_would_not_bind_both(left: str, right: str, same: bool) -> None:
    assert (identity(left) == identity(right)) is same


def identity(text: str, name: str = "web.socket") -> object:
    unit, _ = socket_unit(text, name)
    (port,) = plan.plan(unit)
    return plan.identity(unit, port.listen, port.protocol)


@pytest.mark.parametrize(
    "text", ["ListenStream=0", "ListenDatagram=127.0.0.1:0", "ListenSpecial=/dev/kmsg", "ListenNetlink=route 1"]
)
def test_of_some_there_may_be_several(text: str) -> None:
    assert identity(text) is None


BLUE, GREEN, PRIVATE = "NetworkNamespacePath=/blue", "NetworkNamespacePath=/green", "PrivateNetwork=yes"


@pytest.mark.parametrize(
    ("listen", "left", "right", "same"),
    [
        ("ListenStream=80", BLUE, BLUE, True),
        ("ListenStream=80", BLUE, GREEN, False),
        ("ListenStream=80", BLUE, "", False),
        ("ListenStream=80", PRIVATE, PRIVATE, False),
        ("ListenStream=@x", BLUE, "", False),
        ("ListenStream=/x", BLUE, "", True),
        ("ListenFIFO=/x", PRIVATE, PRIVATE, True),
        ("ListenMessageQueue=/q", BLUE, "", True),
        ("ListenMessageQueue=/q", PRIVATE, PRIVATE, True),
        ("ListenStream=vsock::80", BLUE, "", True),
    ],
)
def test_a_network_namespace_has_ports_and_names_of_its_own_but_neither_files_nor_queues_nor_vsocks(
    listen: str, left: str, right: str, same: bool
) -> None:
    found = [identity(f"{listen}\n{line}\n", name) for line, name in ((left, "a.socket"), (right, "b.socket"))]
    assert (found[0] == found[1]) is same


def test_two_sockets_of_one_unit_share_its_private_network() -> None:
    text = "ListenStream=80\nPrivateNetwork=yes\n"
    assert identity(text) == identity(text)


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
