"""Every socket option of the directive table, as the kernel reports it to the service.

One supervisor opens a socket for every row, example and protocol, and one service reads all options of all its sockets back.
The cases are taken from the table, so that a new row is tried without a word here; what the kernel should then say is taken
from the plan, and for the rows of today it is also written down below, for a plan could be wrong.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sockact.net.linux import number
from sockact.net.plan import SetOption, plan
from sockact.runtime import host, search
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.gather import gather
from sockact.unit.load import SocketUnit
from tests.lab import PROBE, ask, free_port, refused, refuses, started, write_units
from tests.option_table import at_least

IPPROTO_MPTCP = 262
IPPROTO_UDPLITE = 136

PORTS = {
    "tcp": "ListenStream=127.0.0.1:{port}",
    "tcp6": "ListenStream=[::]:{port}",
    "mptcp": "ListenStream=127.0.0.1:{port}\nSocketProtocol=mptcp",
    "mptcp6": "ListenStream=[::]:{port}\nSocketProtocol=mptcp",
    "udp": "ListenDatagram=127.0.0.1:{port}",
    "udp6": "ListenDatagram=[::]:{port}",
    "udplite": "ListenDatagram=127.0.0.1:{port}\nSocketProtocol=udplite",
    "unix": "ListenStream={folder}/{port}",
    "unix datagram": "ListenDatagram={folder}/{port}",
    "unix packets": "ListenSequentialPacket={folder}/{port}",
    "netlink": "ListenNetlink=route 1",
}
KINDS = {"mptcp": (socket.SOCK_STREAM, IPPROTO_MPTCP), "udplite": (socket.SOCK_DGRAM, IPPROTO_UDPLITE)}
"""Protocols that a kernel may lack."""


def offered(port: str) -> bool:
    kind, protocol = KINDS.get(port.rstrip("6"), (socket.SOCK_STREAM, 0))
    try:
        socket.socket(socket.AF_INET, kind, protocol).close()
    except OSError:
        return False
    return True


SINCE = {"PassPIDFD": (6, 5), "AcceptFileDescriptors": (6, 16)}
"""Options that came with a version of Linux."""
SINCE_WITH_MPTCP = {"TCPFastOpen": (6, 2), "MaxSegment": (6, 17)}
PRIVILEGED = {"Mark", "Transparent"}


def possible(key: str, port: str = "") -> bool:
    since = SINCE.get(key, SINCE_WITH_MPTCP.get(key, (0, 0)) if port.startswith("mptcp") else (0, 0))
    return at_least(*since) and (os.geteuid() == 0 or key not in PRIVILEGED)


ROWS = {row.key: (section.title, row) for section in (SocketSection, SockactSection) for _, row in section.rows() if row.options}
"""Every row with an option, and its section."""


def cases() -> Iterator[tuple[str, str, str]]:
    """Each of these rows, each example, each port."""
    for _, row in ROWS.values():
        for example in row.examples:
            for port in PORTS:
                yield port, row.key, example


CASES = list(cases())


def planned(path: Path, key: str) -> dict[str, int | str]:
    """The options that the plan sets because of this directive, by level and name; empty if it does not fit the port."""
    request = [str(path)]
    units = gather(request, search.finder(request).find, host.here())
    (unit,) = (unit for unit in units.sockets.values() if isinstance(unit, SocketUnit))
    names = {option.name for option in ROWS[key][1].options}
    steps = [step for port in plan(unit) for step in port.steps if isinstance(step, SetOption) and step.name in names]
    return {f"option:{number(step.level)}:{number(step.name)}": expected(step.value, bool(step.forced)) for step in steps}


def expected(value: int | str | tuple[int, int], doubled: bool) -> int | str:
    """The kernel doubles the size of a buffer, for its own bookkeeping (socket(7), SO_RCVBUF); of a structure the service reads
    the first number."""
    if isinstance(value, tuple):
        return value[0]
    return 2 * int(value) if doubled else value


class Readings:
    """What was asked for and what the kernel says, by case."""

    def __init__(self, asked: Mapping[tuple[str, str, str], dict[str, int | str]], found: list[dict[str, Any]]) -> None:
        self.asked = asked
        self.found = dict(zip(asked, found, strict=True))


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Readings:
    folder = tmp_path_factory.mktemp("options")
    write_units(folder, {"all.service": "[Service]\nExecStart=/bin/true"})
    ports = set[int]()
    while len(ports) < len(CASES):
        ports.add(free_port())
    asked = {}
    for index, (case, port) in enumerate(zip(CASES, ports, strict=True)):
        if offered(case[0]) and possible(case[1], case[0]):
            listen = f"[Socket]\n{PORTS[case[0]].format(port=port, folder=folder)}\nService=all.service\n"
            text = f"{listen}[{ROWS[case[1]][0]}]\n{case[1]}={case[2]}\n"
            (path,) = write_units(folder, {f"{index:03}.socket": text})
            asked[case] = planned(path, case[1])
    wanted = sorted({option for options in asked.values() for option in options})
    lines = [f"ExecStart={PROBE} tell {' '.join(wanted)}", f"StandardOutput=truncate:{folder}/found"]
    write_units(folder, {"all.service": "\n".join(["[Service]", *lines])})
    with started(*sorted(folder.glob("[0-9]*.socket")), arguments=["--now"]) as supervisor:
        supervisor.wait_log("all.service: ended: exit status 0")
    idle = {f"{index:03}.socket" for index, case in enumerate(CASES) if case in asked and not asked[case]}
    complaints = [line for line in supervisor.log if "warning" in line or "error" in line]
    told = {line.partition(":")[0].rpartition("/")[2] for line in complaints if "[SA041]" in line}
    assert told <= idle, "only of what the plan leaves out it is said that it has no effect"
    assert not [line for line in complaints if "[SA041]" not in line]
    return Readings(asked, json.loads((folder / "found").read_text())["options"])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_the_service_finds_the_option_that_the_directive_asks_for(case: tuple[str, str, str], readings: Readings) -> None:
    if case not in readings.asked:
        pytest.skip(f"this kernel has no {case[0]}, or {case[1]}= needs a later one, or privileges")
    for option, value in readings.asked[case].items():
        assert readings.found[case][option] == value


STREAMS = ("tcp", "tcp6", "mptcp", "mptcp6")
INTERNET = (*STREAMS, "udp", "udp6", "udplite")
UNIX = ("unix", "unix datagram", "unix packets")
ALL = tuple(PORTS)
EXPECTED: dict[tuple[str, str], tuple[str, str, int | str, tuple[str, ...]]] = {
    ("BindIPv6Only", "both"): ("IPPROTO_IPV6", "IPV6_V6ONLY", 0, ("tcp6", "mptcp6", "udp6")),
    ("BindIPv6Only", "ipv6-only"): ("IPPROTO_IPV6", "IPV6_V6ONLY", 1, ("tcp6", "mptcp6", "udp6")),
    ("BindIPv6Only", "yes"): ("IPPROTO_IPV6", "IPV6_V6ONLY", 1, ("tcp6", "mptcp6", "udp6")),
    ("ReusePort", "yes"): ("SOL_SOCKET", "SO_REUSEPORT", 1, INTERNET),
    ("KeepAlive", "yes"): ("SOL_SOCKET", "SO_KEEPALIVE", 1, STREAMS),
    ("KeepAliveTimeSec", "60"): ("IPPROTO_TCP", "TCP_KEEPIDLE", 60, STREAMS),
    ("KeepAliveIntervalSec", "10s"): ("IPPROTO_TCP", "TCP_KEEPINTVL", 10, STREAMS),
    ("KeepAliveProbes", "3"): ("IPPROTO_TCP", "TCP_KEEPCNT", 3, STREAMS),
    ("NoDelay", "yes"): ("IPPROTO_TCP", "TCP_NODELAY", 1, STREAMS),
    ("ReceiveBuffer", "64K"): ("SOL_SOCKET", "SO_RCVBUF", 131072, ALL),
    ("SendBuffer", "64K"): ("SOL_SOCKET", "SO_SNDBUF", 131072, ALL),
    ("Transparent", "yes"): ("IPPROTO_IP", "IP_TRANSPARENT", 1, ("tcp", "mptcp", "udp", "udplite")),
    ("BindToDevice", "lo"): ("SOL_SOCKET", "SO_BINDTODEVICE", "lo", INTERNET),
    ("Broadcast", "yes"): ("SOL_SOCKET", "SO_BROADCAST", 1, ("udp", "udp6", "udplite")),
    ("Priority", "5"): ("SOL_SOCKET", "SO_PRIORITY", 5, ALL),
    ("Mark", "0x10"): ("SOL_SOCKET", "SO_MARK", 16, ALL),
    ("IPTOS", "low-delay"): ("IPPROTO_IP", "IP_TOS", 16, INTERNET),
    ("IPTTL", "5"): ("IPPROTO_IP", "IP_TTL", 5, ("tcp", "udp", "udplite")),
    ("DeferAcceptSec", "1"): ("IPPROTO_TCP", "TCP_DEFER_ACCEPT", 1, STREAMS),
    ("PassCredentials", "yes"): ("SOL_SOCKET", "SO_PASSCRED", 1, UNIX),
    ("PassPIDFD", "yes"): ("SOL_SOCKET", "SO_PASSPIDFD", 1, UNIX),
    ("PassSecurity", "yes"): ("SOL_SOCKET", "SO_PASSSEC", 1, UNIX),
    ("AcceptFileDescriptors", "no"): ("SOL_SOCKET", "SO_PASSRIGHTS", 0, UNIX),
    ("PassPacketInfo", "yes"): ("IPPROTO_IP", "IP_PKTINFO", 1, ("tcp", "udp", "udplite")),
    ("Timestamping", "us"): ("SOL_SOCKET", "SO_TIMESTAMP", 1, ALL),
    ("Timestamping", "ns"): ("SOL_SOCKET", "SO_TIMESTAMPNS", 1, ALL),
    ("TCPCongestion", "reno"): ("IPPROTO_TCP", "TCP_CONGESTION", "reno", STREAMS),
    ("TCPFastOpen", "16"): ("IPPROTO_TCP", "TCP_FASTOPEN", 16, STREAMS),
    ("MaxSegment", "1200"): ("IPPROTO_TCP", "TCP_MAXSEG", 1200, STREAMS),
    ("UserTimeoutSec", "500ms"): ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 500, ("tcp", "tcp6")),
    ("LingerSec", "5"): ("SOL_SOCKET", "SO_LINGER", 1, STREAMS),
}
FREE_BIND = {"tcp": ("IPPROTO_IP", "IP_FREEBIND"), "tcp6": ("IPPROTO_IPV6", "IPV6_FREEBIND")}


@pytest.mark.parametrize(("key", "value"), EXPECTED)
def test_the_option_is_the_one_that_the_manual_names_on_every_port_that_has_it(key: str, value: str, readings: Readings) -> None:
    level, name, expected, ports = EXPECTED[key, value]
    option = f"option:{number(level)}:{number(name)}"
    if not possible(key):
        pytest.skip(f"{key}= needs a later kernel, or privileges")
    found = {port: readings.found[port, key, value][option] for port in ports if (port, key, value) in readings.found}
    assert found == dict.fromkeys(found, expected)
    assert found


@pytest.mark.parametrize("port", FREE_BIND)
def test_free_bind_is_an_option_of_each_family(port: str, readings: Readings) -> None:
    level, name = FREE_BIND[port]
    assert readings.found[port, "FreeBind", "yes"][f"option:{number(level)}:{number(name)}"] == 1


def test_a_socket_without_any_directive_has_the_kernels_own_settings(readings: Readings) -> None:
    """What one directive sets, the sockets of the others do not have."""
    nodelay = f"option:{socket.IPPROTO_TCP}:{socket.TCP_NODELAY}"
    assert readings.found["tcp", "KeepAlive", "yes"][nodelay] == 0
    assert readings.found["tcp", "NoDelay", "yes"][f"option:{socket.SOL_SOCKET}:{socket.SO_KEEPALIVE}"] == 0


def test_all_sockets_have_reuseaddr(tmp_path: Path) -> None:
    """So that a restart is not refused because of connections in TIME_WAIT."""
    option = f"option:{socket.SOL_SOCKET}:{socket.SO_REUSEADDR}"
    port = free_port()
    files = {
        "a.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "a.service": f"[Service]\nExecStart={PROBE} answer {option}",
    }
    with started(write_units(tmp_path, files)[0]):
        assert ask(("127.0.0.1", port))["options"] == [{option: 1}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may exceed the limits of buffers")
def test_a_buffer_beyond_the_limit_of_the_system_is_had_with_privileges(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    option = f"option:{socket.SOL_SOCKET}:{socket.SO_RCVBUF}"
    files = {
        "a.socket": f"[Socket]\nListenStream={tmp_path}/a\nReceiveBuffer={limit + 4096}",
        "a.service": f"[Service]\nExecStart={PROBE} answer {option}",
    }
    with started(write_units(tmp_path, files)[0]):
        assert ask(f"{tmp_path}/a")["options"] == [{option: 2 * (limit + 4096)}]


def test_an_option_that_the_kernel_refuses_is_a_warning_and_the_socket_works(tmp_path: Path) -> None:
    port = free_port()
    files = {
        "a.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nTCPCongestion=no-such-algorithm",
        "a.service": f"[Service]\nExecStart={PROBE} answer",
    }
    with started(write_units(tmp_path, files)[0]) as supervisor:
        (line,) = supervisor.wait_log("TCP_CONGESTION=no-such-algorithm")
        assert line.startswith("a.socket: warning: ")
        assert "ENOENT" in line
        assert ask(("127.0.0.1", port))["got"] == "hello"


@pytest.mark.parametrize(("line", "refused_to_ipv4"), [("BindIPv6Only=both", False), ("BindIPv6Only=ipv6-only", True)])
def test_an_ipv6_wildcard_takes_ipv4_unless_told_otherwise(line: str, refused_to_ipv4: bool, tmp_path: Path) -> None:
    port = free_port()
    files = {"a.socket": f"[Socket]\nListenStream=[::]:{port}\n{line}", "a.service": f"[Service]\nExecStart={PROBE} answer"}
    with started(write_units(tmp_path, files)[0]):
        assert ask(("::1", port))["got"] == "hello"
        assert refuses(("127.0.0.1", port)) is refused_to_ipv4


def test_a_short_backlog_holds_as_many_connections_and_no_more(tmp_path: Path) -> None:
    """On a UNIX socket, where connect(2) says at once that the queue is full: it has one place more than asked for."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    files = {
        "a.socket": f"[Socket]\nListenStream={tmp_path}/a\nBacklog=3",
        "a.service": f"[Service]\nExecStart=/bin/sh -c 'read x < {gate}; exec {PROBE} answer'",
    }
    with started(write_units(tmp_path, files)[0]):
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        results = []
        for client in clients:
            client.setblocking(False)
            results.append(client.connect_ex(f"{tmp_path}/a"))
        assert [bool(result) for result in results] == [False] * 4 + [True]
        gate.write_text("open\n")
        for client in clients:
            client.close()


# --- nodes


def nodes(folder: Path, *lines: str) -> Path:
    kinds = {"ListenStream": "stream", "ListenDatagram": "datagram", "ListenSequentialPacket": "packets", "ListenFIFO": "fifo"}
    text = "\n".join([*(f"{key}={folder}/new/deep/{name}" for key, name in kinds.items()), *lines])
    return write_units(folder, {"n.socket": f"[Socket]\n{text}", "n.service": "[Service]\nExecStart=/bin/cat"})[0]


@pytest.mark.parametrize(
    ("line", "mode"), [("", 0o666), ("SocketMode=0600", 0o600), ("SocketMode=0751", 0o751), ("SocketMode=0", 0)]
)
def test_nodes_have_exactly_the_mode_of_the_unit_whatever_the_umask(line: str, mode: int, tmp_path: Path) -> None:
    if mode == 0 and os.geteuid() != 0:
        pytest.skip("only root opens a FIFO that nobody may open")
    before = os.umask(0o077)
    try:
        with started(nodes(tmp_path, line)):
            made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new/deep").iterdir()}
    finally:
        os.umask(before)
    assert made == dict.fromkeys(("stream", "datagram", "packets", "fifo"), mode)


@pytest.mark.parametrize(("line", "mode"), [("", 0o755), ("DirectoryMode=0700", 0o700), ("DirectoryMode=01777", 0o1777)])
def test_folders_that_are_made_have_exactly_the_mode_of_the_unit(line: str, mode: int, tmp_path: Path) -> None:
    before = os.umask(0o027)
    mode_before = stat.S_IMODE(tmp_path.stat().st_mode)
    try:
        with started(nodes(tmp_path, line)):
            made = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new", tmp_path / "new/deep")]
    finally:
        os.umask(before)
    assert made == [mode, mode]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode_before, "a folder that was there stays as it is"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a node to somebody else")
@pytest.mark.parametrize(
    ("lines", "user", "group"),
    [
        (["SocketUser=nobody"], "nobody", "nogroup"),
        (["SocketUser=65534"], "nobody", "nogroup"),
        (["SocketGroup=daemon"], "root", "daemon"),
        (["SocketUser=daemon", "SocketGroup=nogroup"], "daemon", "nogroup"),
    ],
)
def test_nodes_belong_to_whom_the_unit_says(lines: list[str], user: str, group: str, tmp_path: Path) -> None:
    with started(nodes(tmp_path, *lines)):
        owners = [(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "new/deep").iterdir()]
        parent = (tmp_path / "new/deep").stat()
    assert owners == [(pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)] * 4
    assert (parent.st_uid, parent.st_gid) == (0, 0)


def test_an_unknown_owner_is_found_when_loading_and_nothing_is_made(tmp_path: Path) -> None:
    assert "no-such-group" in refused(nodes(tmp_path, "SocketGroup=no-such-group"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("line", ["ReceiveBuffer=2G", "KeepAliveProbes=4294967295", "DeferAcceptSec=100y"])
def test_a_value_that_no_socket_option_can_take_is_a_warning(line: str, tmp_path: Path) -> None:
    files = {"a.socket": f"[Socket]\nListenStream=127.0.0.1:{free_port()}\n{line}", "a.service": "[Service]\nExecStart=/bin/cat"}
    with started(write_units(tmp_path, files)[0]) as supervisor:
        assert any("warning: " in line and "ERANGE" in line for line in supervisor.log)
