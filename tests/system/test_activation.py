"""Accept=no: one service for all clients, started by the first of them, with all the sockets there are for it."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from tests.lab import PROBE, SERVICES, Address, answer, ask, children, connect, eventually, free_port, started, write_units

ANSWER = f"[Service]\nExecStart={PROBE} answer"
NAMES = "activation sockets descriptors"

ROOT = Path(__file__).parents[2]
"""Where a service finds the package sockact, whose consumer.py it may use."""


@pytest.fixture
def port() -> int:
    return free_port()


# --- when it starts


def test_the_service_does_not_run_before_there_is_a_client(tmp_path: Path, port: int) -> None:
    units = write_units(tmp_path, {"web.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "web.service": ANSWER})
    with started(units[0]) as supervisor:
        assert not children(supervisor.pid)
        found = ask(("127.0.0.1", port))
        assert children(supervisor.pid) == {found["pid"]}
        assert ask(("127.0.0.1", port))["pid"] == found["pid"], "one process serves all clients"
    assert sum("started" in line for line in supervisor.log) == 1


def test_with_now_the_service_runs_before_there_is_a_client_and_has_its_sockets(tmp_path: Path, port: int) -> None:
    units = write_units(
        tmp_path,
        {"web.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "web.service": f"[Service]\nExecStart={PROBE} say sockets"},
    )
    with started(units[0], arguments=["--now"]) as supervisor:
        (report,) = supervisor.reports()
        assert [one["address"] for one in report["sockets"]] == [["127.0.0.1", port]]
        assert children(supervisor.pid) == {report["pid"]}


def test_after_now_the_first_client_is_served_by_the_service_that_already_runs(tmp_path: Path, port: int) -> None:
    units = write_units(tmp_path, {"web.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "web.service": ANSWER})
    with started(units[0], arguments=["--now"]) as supervisor:
        (running,) = children(supervisor.pid)
        assert ask(("127.0.0.1", port))["pid"] == running


def test_clients_that_queued_while_the_service_ran_are_served_by_its_next_starts(tmp_path: Path, port: int) -> None:
    """Four starts stay below the start limit of five in ten seconds."""
    units = write_units(
        tmp_path,
        {"web.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "web.service": f"[Service]\nExecStart={PROBE} answer=1"},
    )
    with started(units[0]) as supervisor:
        clients = [connect(("127.0.0.1", port)) for _ in range(4)]
        for client in clients:
            client.sendall(b"hello\n")
        pids = {answer(client)["pid"] for client in clients}
        assert len(pids) == 4
        supervisor.wait_log("ended: exit status 0", count=4)
        eventually(lambda: not children(supervisor.pid), "all four services are gone")


# --- what it gets


MIXED = """[Socket]
ListenDatagram=127.0.0.1:{udp}
ListenFIFO={folder}/fifo
ListenStream=127.0.0.1:{tcp}
ListenSequentialPacket={folder}/packets
ListenStream=@{folder}/abstract
ListenDatagram={folder}/datagrams
ListenStream=[::1]:{tcp6}
ListenStream={folder}/stream
"""


def test_all_descriptors_come_in_the_order_of_the_lines_whatever_their_kind(tmp_path: Path) -> None:
    udp, tcp, tcp6 = free_port(kind=socket.SOCK_DGRAM), free_port(), free_port(socket.AF_INET6)
    text = MIXED.format(folder=tmp_path, udp=udp, tcp=tcp, tcp6=tcp6)
    units = write_units(tmp_path, {"all.socket": text, "all.service": f"[Service]\nExecStart={PROBE} say {NAMES}"})
    with started(units[0], arguments=["--now"]) as supervisor:
        (report,) = supervisor.reports()
    assert report["activation"] == {
        "LISTEN_PID": str(report["pid"]),
        "LISTEN_FDS": "8",
        "LISTEN_FDNAMES": ":".join(["all.socket"] * 8),
    }
    assert sorted(report["descriptors"], key=int) == [str(fd) for fd in range(11)]
    found = [(one["type"], one["address"]) if "type" in one else one for one in report["sockets"]]
    assert found == [
        ("SOCK_DGRAM", ["127.0.0.1", udp]),
        {"fifo": True},
        ("SOCK_STREAM", ["127.0.0.1", tcp]),
        ("SOCK_SEQPACKET", f"{tmp_path}/packets"),
        ("SOCK_STREAM", f"@{tmp_path}/abstract"),
        ("SOCK_DGRAM", f"{tmp_path}/datagrams"),
        ("SOCK_STREAM", ["::1", tcp6, 0, 0]),
        ("SOCK_STREAM", f"{tmp_path}/stream"),
    ]
    assert [one["listens"] for one in report["sockets"] if "type" in one] == [False, True, True, True, False, True, True]


def test_the_descriptors_have_the_name_that_the_socket_unit_gives_them(tmp_path: Path) -> None:
    text = f"[Socket]\nListenStream={tmp_path}/one\nFileDescriptorName=control panel\nListenStream={tmp_path}/two"
    units = write_units(tmp_path, {"a.socket": text, "a.service": f"[Service]\nExecStart={PROBE} say activation"})
    with started(units[0], arguments=["--now"]) as supervisor:
        (report,) = supervisor.reports()
    assert report["activation"]["LISTEN_FDNAMES"] == "control panel:control panel"


def several(folder: Path) -> dict[str, str]:
    """Three socket units for one service; a third one only because the service asks for it."""
    return {
        "second.socket": f"[Socket]\nListenStream={folder}/2a\nListenStream={folder}/2b\nService=pool.service",
        "first.socket": f"[Socket]\nListenStream={folder}/1\nService=pool.service\nFileDescriptorName=one",
        "pool.service": f"[Service]\nExecStart={PROBE} answer sockets activation\nSockets=third.socket",
        "third.socket": f"[Socket]\nListenStream={folder}/3\nService=pool.service",
    }


@pytest.mark.parametrize(
    ("order", "paths", "names"),
    [
        (["first", "second"], ["1", "2a", "2b", "3"], "one:second.socket:second.socket:third.socket"),
        (["second", "first"], ["2a", "2b", "1", "3"], "second.socket:second.socket:one:third.socket"),
        (["third", "second", "first"], ["3", "2a", "2b", "1"], "third.socket:second.socket:second.socket:one"),
    ],
)
def test_several_sockets_feed_one_service_in_the_order_of_the_command_line(
    tmp_path: Path, order: list[str], paths: list[str], names: str
) -> None:
    write_units(tmp_path, several(tmp_path))
    with started(*(tmp_path / f"{name}.socket" for name in order)):
        found = ask(str(tmp_path / "2b"))
    assert [one["address"] for one in found["sockets"]] == [f"{tmp_path}/{name}" for name in paths]
    assert found["activation"]["LISTEN_FDNAMES"] == names
    assert found["fd"] == 3 + paths.index("2b"), "the client came by this socket"


def test_sockets_of_a_service_brings_the_descriptors_of_a_unit_that_starts_another_service(tmp_path: Path) -> None:
    files = {
        "main.socket": f"[Socket]\nListenStream={tmp_path}/main",
        "main.service": f"[Service]\nExecStart={PROBE} answer sockets\nSockets=extra.socket",
        "extra.socket": f"[Socket]\nListenStream={tmp_path}/extra",
        "extra.service": f"[Service]\nExecStart={PROBE} answer sockets",
    }
    write_units(tmp_path, files)
    with started(tmp_path / "main.socket"):
        found = ask(f"{tmp_path}/main")
    assert [one["address"] for one in found["sockets"]] == [f"{tmp_path}/main", f"{tmp_path}/extra"]


# --- every kind of socket activates


KINDS = {
    "tcp": ("ListenStream=127.0.0.1:{port}", "127.0.0.1", socket.SOCK_STREAM),
    "tcp over IPv6": ("ListenStream=[::1]:{port}", "::1", socket.SOCK_STREAM),
    "tcp on a port alone, by IPv4": ("ListenStream={port}", "127.0.0.1", socket.SOCK_STREAM),
    "tcp on a port alone, by IPv6": ("ListenStream={port}", "::1", socket.SOCK_STREAM),
    "udp": ("ListenDatagram=127.0.0.1:{port}", "127.0.0.1", socket.SOCK_DGRAM),
    "udp over IPv6": ("ListenDatagram=[::1]:{port}", "::1", socket.SOCK_DGRAM),
    "unix stream": ("ListenStream={folder}/node", "{folder}/node", socket.SOCK_STREAM),
    "unix datagram": ("ListenDatagram={folder}/node", "{folder}/node", socket.SOCK_DGRAM),
    "unix packets": ("ListenSequentialPacket={folder}/node", "{folder}/node", socket.SOCK_SEQPACKET),
    "abstract stream": ("ListenStream=@{folder}", "@{folder}", socket.SOCK_STREAM),
    "abstract datagram": ("ListenDatagram=@{folder}", "@{folder}", socket.SOCK_DGRAM),
    "abstract packets": ("ListenSequentialPacket=@{folder}", "@{folder}", socket.SOCK_SEQPACKET),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_message_activates_the_service_and_is_answered(kind: str, tmp_path: Path) -> None:
    line, place, number = KINDS[kind]
    port = 0
    address: Address = place.format(folder=tmp_path)
    if "{folder}" not in place:
        port = free_port(socket.AF_INET6 if ":" in place else socket.AF_INET, number)
        address = (place, port)
    units = write_units(
        tmp_path, {"one.socket": "[Socket]\n" + line.format(port=port, folder=tmp_path), "one.service": f"{ANSWER} sockets"}
    )
    with started(units[0]) as supervisor:
        assert not children(supervisor.pid)
        found = ask(address, number, "good morning")
        assert (found["got"], found["fd"]) == ("good morning", 3)
        assert [one["type"] for one in found["sockets"]] == [socket.SocketKind(number).name]
        assert ask(address, number, "again")["pid"] == found["pid"]


def test_what_is_written_into_a_fifo_activates_the_service_and_waits_for_it_there(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    files = {
        "f.socket": f"[Socket]\nListenFIFO={fifo}\nTriggerLimitIntervalSec=0",
        "f.service": f"[Service]\nExecStart={PROBE} answer=1",
    }
    with started(write_units(tmp_path, files)[0]) as supervisor:
        assert not children(supervisor.pid)
        fifo.write_text("first words\n")
        assert supervisor.reports(1)[0]["got"] == "first words"
        supervisor.wait_log("ended: exit status 0")
        fifo.write_text("second words\n")
        one, two = supervisor.reports(2)
        assert (two["got"], two["fd"]) == ("second words", 3)
        assert one["pid"] != two["pid"]


# --- as libraries see it


CONSUMED = """[Socket]
ListenStream=127.0.0.1:{port}
ListenDatagram={folder}/datagrams
ListenFIFO={folder}/fifo
FileDescriptorName=three
"""


def consumed(folder: Path, command: str) -> list[dict[str, object]]:
    port = free_port()
    text = CONSUMED.format(port=port, folder=folder)
    units = write_units(folder, {"three.socket": text, "three.service": f"[Service]\nExecStart={command}"})
    with started(units[0], arguments=["--now"]) as supervisor:
        (report,) = supervisor.reports()
        found: list[dict[str, object]] = report["received"]
        return found


def test_python_systemd_finds_the_descriptors_their_names_and_their_kinds(tmp_path: Path) -> None:
    if importlib.util.find_spec("systemd") is None:
        pytest.skip("python-systemd is not installed (pip install systemd-python)")
    tcp, datagrams, fifo = consumed(tmp_path, f"{sys.executable} {SERVICES}/by_systemd.py")
    assert [(one["fd"], one["name"]) for one in (tcp, datagrams, fifo)] == [(3, "three"), (4, "three"), (5, "three")]
    assert [one["inet stream listening"] for one in (tcp, datagrams, fifo)] == [True, False, False]
    assert [one["unix datagram"] for one in (tcp, datagrams, fifo)] == [False, True, False]
    assert [one["fifo"] for one in (tcp, datagrams, fifo)] == [False, False, True]


def test_listen_fds_of_sockact_finds_the_same(tmp_path: Path) -> None:
    tcp, datagrams, fifo = consumed(tmp_path, f"/usr/bin/env PYTHONPATH={ROOT} {sys.executable} {SERVICES}/by_sockact.py")
    assert [(one["fd"], one["name"]) for one in (tcp, datagrams, fifo)] == [(3, "three"), (4, "three"), (5, "three")]
    assert tcp["socket"] == ["AF_INET", "SOCK_STREAM", socket.IPPROTO_TCP]
    assert datagrams["socket"] == ["AF_UNIX", "SOCK_DGRAM", 0]
    assert fifo["socket"] is None


def test_a_child_of_the_service_finds_nothing_for_itself(tmp_path: Path) -> None:
    """LISTEN_PID is the pid of the main process, so the shell between them makes all the difference."""
    command = f"/bin/sh -c 'PYTHONPATH={ROOT} {sys.executable} {SERVICES}/by_sockact.py; exit 0'"
    assert consumed(tmp_path, command) == []
