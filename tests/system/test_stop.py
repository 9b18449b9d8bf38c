"""How it ends: which signal, whom it reaches, how long it waits, what is left in the file system."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab import (
    PATIENCE,
    PROBE,
    SERVICES,
    Supervisor,
    alive,
    ask,
    command,
    connect,
    descendants,
    eventually,
    free_port,
    refuses,
    started,
    write_units,
)


@contextmanager
def family(folder: Path, roles: str, *lines: str) -> Iterator[tuple[Supervisor, int, int]]:
    """A service of two processes; yields their pids, and leaves none of them."""
    text = "\n".join([f"[Service]\nExecStart={SERVICES}/family.sh {roles}", *lines])
    born = set[int]()
    try:
        with started(write_units(folder, {"one.service": text})[0]) as supervisor:
            try:
                main, child = (int(supervisor.wait_log(f"{who} ")[0].split()[1]) for who in ("main", "child"))
                born |= {main, child}
                yield supervisor, main, child
            finally:
                # Before the supervisor leaves those alone that KillMode= has it leave alone.
                born |= descendants(supervisor.pid)
    finally:
        for pid in born:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def ended(supervisor: Supervisor, how: str) -> bool:
    return any(line.startswith("one.service: ") and line.endswith(f"ended: {how}") for line in supervisor.log)


# --- the request


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_request_to_stop_ends_service_and_sockets_and_is_no_failure(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    units = write_units(
        tmp_path,
        {"one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "one.service": f"[Service]\nExecStart={PROBE} answer"},
    )
    with started(units[0]) as supervisor:
        pid = ask(("127.0.0.1", port))["pid"]
        assert supervisor.end(number) == 0
        assert not alive(pid)
        assert ended(supervisor, "killed by SIGTERM"), "services are asked by their own signal, whatever asked us"
    assert refuses(("127.0.0.1", port))


def test_a_supervisor_without_any_service_at_work_stops_too(tmp_path: Path) -> None:
    units = write_units(
        tmp_path, {"a.socket": f"[Socket]\nListenStream={tmp_path}/a", "a.service": "[Service]\nExecStart=/bin/cat"}
    )
    with started(units[0]) as supervisor:
        assert supervisor.end() == 0


def test_ctrl_c_in_a_terminal_reaches_the_supervisor_alone_which_stops_its_services_in_its_own_way(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nExecStart={SERVICES}/family.sh tells dies"})
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as screen, started_on(theirs, *command(unit)) as supervisor:
        shown = read_until(screen.fileno(), b"main ")
        os.write(screen.fileno(), b"\x03")
        shown += read_to_end(screen.fileno())
        assert supervisor.wait(PATIENCE) == 0
    assert b"SIGINT: stopping" in shown
    assert b"main heard SIGTERM" in shown


@contextmanager
def started_on(terminal: int, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has this as its controlling terminal."""
    with subprocess.Popen(["/usr/bin/setsid", "--ctty", *words], stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        try:
            yield process
        finally:
            left = descendants(process.pid)
            process.kill()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def read_until(fd: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        part = os.read(fd, 4096)
        assert part
        data += part
    return data


def read_to_end(fd: int) -> bytes:
    """A terminal ends with EIO when nobody has its other side any more."""
    data = b""
    with suppress(OSError):
        while part := os.read(fd, 4096):
            data += part
    return data


# --- whom it reaches


def test_by_default_all_processes_of_the_service_are_asked(tmp_path: Path) -> None:
    with family(tmp_path, "tells tells") as (supervisor, main, child):
        assert supervisor.end() == 0
        assert not alive(main)
        assert not alive(child)
        assert "main heard SIGTERM" in supervisor.log
        assert "child heard SIGTERM" in supervisor.log


def test_by_default_a_child_that_ignores_the_request_is_killed_after_the_time_to_stop(tmp_path: Path) -> None:
    with family(tmp_path, "dies ignores", "TimeoutStopSec=200ms") as (supervisor, main, child):
        assert supervisor.end() == 0
        assert not alive(main)
        assert not alive(child)


def test_by_default_what_a_service_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    """Without any request to stop: the main process ends, and the rest follows."""
    with family(tmp_path, "dies tells") as (supervisor, main, child):
        os.kill(main, signal.SIGTERM)
        supervisor.wait_log("child heard SIGTERM")
        assert supervisor.wait() == 0
        assert not alive(child)


def test_mixed_asks_the_main_process_and_kills_the_others_when_it_has_ended(tmp_path: Path) -> None:
    with family(tmp_path, "tells tells", "KillMode=mixed") as (supervisor, main, child):
        assert supervisor.end() == 0
        assert not alive(main)
        assert not alive(child)
        assert "main heard SIGTERM" in supervisor.log
        assert "child heard SIGTERM" not in supervisor.log


def test_mixed_kills_all_when_the_main_process_does_not_end_in_time(tmp_path: Path) -> None:
    with family(tmp_path, "ignores ignores", "KillMode=mixed", "TimeoutStopSec=200ms") as (supervisor, main, child):
        assert supervisor.end() == 0
        assert not alive(main)
        assert not alive(child)
        assert ended(supervisor, "killed by SIGKILL")


def test_process_ends_the_main_process_and_leaves_the_others_alone(tmp_path: Path) -> None:
    with family(tmp_path, "tells tells", "KillMode=process") as (supervisor, main, child):
        # The child has the log open, whose end the supervisor's reader would wait for.
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.process.wait(PATIENCE) == 0
        assert not alive(main)
        assert alive(child)
        os.kill(child, signal.SIGKILL)


def test_none_leaves_all_processes_alone(tmp_path: Path) -> None:
    with family(tmp_path, "tells tells", "KillMode=none") as (supervisor, main, child):
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.process.wait(PATIENCE) == 0
        assert alive(main)
        assert alive(child)
        os.kill(main, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)


# --- how, and how long


@pytest.mark.parametrize(
    ("line", "name"), [("KillSignal=SIGINT", "SIGINT"), ("KillSignal=USR1", "SIGUSR1"), ("KillSignal=9", "SIGKILL")]
)
def test_the_signal_that_asks_can_be_chosen(line: str, name: str, tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nExecStart=/bin/sleep 1000\n{line}"})
    with started(unit) as supervisor:
        supervisor.wait_log("started")
        assert supervisor.end() == 0
        assert ended(supervisor, f"killed by {name}")


def test_a_service_that_ignores_the_request_is_killed_after_its_time_to_stop(tmp_path: Path) -> None:
    with family(tmp_path, "ignores dies", "TimeoutStopSec=200ms") as (supervisor, main, _):
        assert supervisor.end() == 0
        assert not alive(main)
        assert ended(supervisor, "killed by SIGKILL")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_request_hurries(number: signal.Signals, tmp_path: Path) -> None:
    with family(tmp_path, "ignores ignores", "TimeoutStopSec=infinity") as (supervisor, main, child):
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("SIGTERM: stopping")
        assert alive(main)
        assert supervisor.end(number) == 0
        assert not alive(main)
        assert not alive(child)
        assert ended(supervisor, "killed by SIGKILL")


def test_a_second_request_hurries_also_what_the_main_process_left_behind(tmp_path: Path) -> None:
    with family(tmp_path, "dies ignores", "TimeoutStopSec=infinity") as (supervisor, _, child):
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("one.service: ended")
        assert alive(child)
        assert supervisor.end() == 0
        assert not alive(child)


def test_a_service_that_is_suspended_can_be_stopped(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nExecStart={PROBE} say"})
    with started(unit) as supervisor:
        pid = supervisor.reports()[0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert supervisor.end() == 0
        assert ended(supervisor, "killed by SIGTERM")


def test_all_connections_of_accept_yes_are_stopped(tmp_path: Path) -> None:
    units = write_units(
        tmp_path,
        {
            "a.socket": f"[Socket]\nAccept=yes\nListenStream={tmp_path}/a",
            "a@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/cat",
        },
    )
    with started(units[0]) as supervisor:
        clients = [connect(f"{tmp_path}/a") for _ in range(5)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        pids = descendants(supervisor.pid)
        assert len(pids) == 5
        assert supervisor.end() == 0
        assert not any(map(alive, pids))
        for client in clients:
            assert client.recv(1) == b""
            client.close()


def test_a_service_that_is_being_restarted_does_not_delay_the_end(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1h"})
    with started(unit) as supervisor:
        supervisor.wait_log("restarting in")
        assert supervisor.end() == 0


def test_clients_can_still_connect_while_the_service_takes_its_time_to_stop(tmp_path: Path) -> None:
    """The sockets are closed when their services have ended, so that nobody is refused by a service that still runs."""
    script = f"trap 'read x < {tmp_path}/gate; exit 0' TERM\necho trapped\nwhile :; do sleep 0.05; done\n"
    (tmp_path / "slow").write_text(script)
    os.mkfifo(tmp_path / "gate")
    units = write_units(
        tmp_path,
        {"a.socket": f"[Socket]\nListenStream={tmp_path}/a", "a.service": f"[Service]\nExecStart=/bin/sh {tmp_path}/slow"},
    )
    with started(units[0], arguments=["--now"]) as supervisor:
        supervisor.wait_log("trapped")
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_log("SIGTERM: stopping")
        connect(f"{tmp_path}/a").close()
        (tmp_path / "gate").write_text("\n")
        assert supervisor.wait() == 0


# --- what is left


KINDS = {"ListenStream": "stream", "ListenDatagram": "datagram", "ListenSequentialPacket": "packets", "ListenFIFO": "fifo"}


def nodes(folder: Path) -> str:
    return "[Socket]\n" + "\n".join(f"{key}={folder}/{name}" for key, name in KINDS.items())


@pytest.mark.parametrize(("line", "left"), [("RemoveOnStop=yes", set()), ("", set(KINDS.values()))])
def test_nodes_are_removed_if_the_unit_says_so_and_left_otherwise(line: str, left: set[str], tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.socket": f"{nodes(tmp_path)}\n{line}", "a.service": "[Service]\nExecStart=/bin/cat"})
    with started(units[0]):
        assert {path.name for path in tmp_path.iterdir() if not path.is_file()} == set(KINDS.values())
    assert {path.name for path in tmp_path.iterdir() if not path.is_file()} == left


def test_nodes_that_were_left_do_not_stand_in_the_way_of_the_next_start(tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.socket": nodes(tmp_path), "a.service": "[Service]\nExecStart=/bin/cat"})
    for _ in range(2):
        with started(units[0]):
            connect(f"{tmp_path}/stream").close()


def test_a_node_that_somebody_else_removed_is_no_trouble(tmp_path: Path) -> None:
    text = f"[Socket]\nListenStream={tmp_path}/node\nRemoveOnStop=yes"
    units = write_units(tmp_path, {"a.socket": text, "a.service": "[Service]\nExecStart=/bin/cat"})
    with started(units[0]):
        (tmp_path / "node").unlink()


def test_a_node_that_a_killed_supervisor_has_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    text = f"[Socket]\nListenStream={tmp_path}/node\nRemoveOnStop=yes"
    units = write_units(tmp_path, {"a.socket": text, "a.service": f"[Service]\nExecStart={PROBE} answer"})
    with subprocess.Popen(command(units[0]), stderr=subprocess.DEVNULL) as first:
        try:
            eventually((tmp_path / "node").exists, "the socket is there")
        finally:
            first.kill()
    assert (tmp_path / "node").exists()
    with started(units[0]):
        assert ask(f"{tmp_path}/node")["got"] == "hello"
