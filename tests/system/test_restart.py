"""Restart=, and the limits that end a crash loop: of the service (StartLimit…=), of the socket (TriggerLimit…=)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import PROBE, Supervisor, answer, ask, connect, free_port, refuses, started, write_units

STARTED = "one.service: started"


def service(folder: Path, *lines: str, unit: str = "") -> Path:
    return write_units(folder, {"one.service": f"[Unit]\n{unit}\n[Service]\n" + "\n".join(lines)})[0]


def kept(folder: Path, *lines: str, unit: str = "") -> Path:
    """With a FIFO, which keeps the supervisor running when the service has ended."""
    service(folder, *lines, unit=unit)
    return write_units(folder, {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo"})[0]


def starts(supervisor: Supervisor) -> int:
    return sum(STARTED in line for line in supervisor.log)


# --- when it restarts

ENDS = {"well": "exit 0", "badly": "exit 3", "by SIGTERM": "kill -TERM $$$$", "by SIGKILL": "kill -KILL $$$$"}
RESTARTS = {
    "no": set[str](),
    "always": {"well", "badly", "by SIGTERM", "by SIGKILL"},
    "on-success": {"well", "by SIGTERM"},
    "on-failure": {"badly", "by SIGKILL"},
    "on-abnormal": {"by SIGKILL"},
    "on-abort": {"by SIGKILL"},
}


@pytest.mark.parametrize("policy", RESTARTS)
@pytest.mark.parametrize("end", ENDS)
def test_the_service_restarts_after_the_ends_that_its_policy_names(policy: str, end: str, tmp_path: Path) -> None:
    """The second start stays; without one, the end of the service is the end of the supervisor."""
    mark = tmp_path / "mark"
    script = f"test -e {mark} && exec sleep 1000; touch {mark}; {ENDS[end]}"
    unit = service(tmp_path, f"Restart={policy}", "RestartSec=10ms", f"ExecStart=/bin/sh -c '{script}'")
    status = {"badly": 3, "by SIGKILL": 137}.get(end, 0)
    if end in RESTARTS[policy]:
        with started(unit) as supervisor:
            supervisor.wait_log(STARTED, count=2)
    else:
        with started(unit, status=status) as supervisor:
            assert supervisor.wait() == status
            assert starts(supervisor) == 1


def test_a_restart_waits_for_its_time(tmp_path: Path) -> None:
    """As long as the test takes to see that nothing is started, and to stop: no clock is needed for an hour."""
    with started(kept(tmp_path, "Restart=always", "RestartSec=1h", "ExecStart=/bin/true"), arguments=["--now"]) as supervisor:
        supervisor.wait_log("restarting in 3600 s")
        (tmp_path / "fifo").write_text("traffic does not shorten the wait\n")
        supervisor.wait_log("ended")
    assert starts(supervisor) == 1


def test_a_timeout_is_a_failure_to_restart_after(tmp_path: Path) -> None:
    lines = ["Type=notify", f"ExecStart={PROBE} say", "TimeoutStartSec=50ms", "Restart=on-failure", "RestartSec=0"]
    with started(kept(tmp_path, *lines), arguments=["--now"]) as supervisor:
        supervisor.wait_log(STARTED, count=2)


def test_a_service_that_is_stopped_by_the_supervisor_does_not_restart(tmp_path: Path) -> None:
    with started(service(tmp_path, "Restart=always", "RestartSec=0", "ExecStart=/bin/sleep 1000")) as supervisor:
        supervisor.wait_log(STARTED)
        assert supervisor.end() == 0
    assert starts(supervisor) == 1


def test_a_restarted_service_has_its_sockets_again(tmp_path: Path) -> None:
    port = free_port()
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "one.service": f"[Service]\nRestart=on-failure\nRestartSec=0\nExecStart={PROBE} answer",
    }
    with started(write_units(tmp_path, files)[0]) as supervisor:
        first = ask(("127.0.0.1", port))["pid"]
        os.kill(first, signal.SIGKILL)
        # The restart needs no client.
        supervisor.wait_log(STARTED, count=2)
        assert ask(("127.0.0.1", port))["pid"] != first


# --- the start limit


def test_five_starts_in_ten_seconds_are_the_default_limit_and_the_status_is_that_of_the_service(tmp_path: Path) -> None:
    with started(service(tmp_path, "Restart=always", "RestartSec=0", "ExecStart=/bin/sh -c 'exit 42'"), status=42) as supervisor:
        assert supervisor.wait() == 42
    assert starts(supervisor) == 5
    assert any("StartLimitBurst" in line for line in supervisor.log)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 42", 42), ("kill -SEGV $$$$", 139), ("kill -KILL $$$$", 137), ("exit 0", 1)]
)
def test_a_service_that_never_serves_its_client_fails_the_socket_and_ends_the_supervisor(
    script: str, status: int, tmp_path: Path
) -> None:
    port = free_port()
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "one.service": f"[Service]\nExecStart=/bin/sh -c '{script}'",
    }
    with started(write_units(tmp_path, files)[0], status=status) as supervisor:
        with connect(("127.0.0.1", port)) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        assert supervisor.wait() == status
    assert starts(supervisor) == 5
    assert refuses(("127.0.0.1", port))


def test_the_start_limit_can_be_set(tmp_path: Path) -> None:
    unit = service(tmp_path, "Restart=always", "RestartSec=0", "ExecStart=/bin/false", unit="StartLimitBurst=2")
    with started(unit, status=1) as supervisor:
        assert supervisor.wait() == 1
    assert starts(supervisor) == 2


def test_the_start_limit_can_be_switched_off(tmp_path: Path) -> None:
    unit = service(tmp_path, "Restart=always", "RestartSec=0", "ExecStart=/bin/false", unit="StartLimitIntervalSec=0")
    with started(unit) as supervisor:
        supervisor.wait_log(STARTED, count=12)


def test_a_socket_whose_service_failed_for_good_leaves_the_others_alone(tmp_path: Path) -> None:
    bad, good = free_port(), free_port()
    files = {
        "bad.socket": f"[Socket]\nListenStream=127.0.0.1:{bad}",
        "bad.service": "[Service]\nExecStart=/bin/false",
        "good.socket": f"[Socket]\nListenStream=127.0.0.1:{good}",
        "good.service": f"[Service]\nExecStart={PROBE} answer",
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2]) as supervisor:
        with connect(("127.0.0.1", bad)) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        supervisor.wait_log("bad.socket: error: failed")
        assert ask(("127.0.0.1", good))["got"] == "hello"
        assert refuses(("127.0.0.1", bad))


def test_a_failed_socket_leaves_its_node_unless_it_is_to_be_removed(tmp_path: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenStream={tmp_path}/left\nListenStream={tmp_path}/also",
        "one.service": "[Service]\nExecStart=/bin/false",
        "two.socket": f"[Socket]\nListenStream={tmp_path}/removed\nRemoveOnStop=yes",
        "two.service": "[Service]\nExecStart=/bin/false",
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2], status=1) as supervisor:
        for name in ("left", "removed"):
            with connect(f"{tmp_path}/{name}") as client, pytest.raises(ConnectionResetError):
                client.recv(1)
        assert supervisor.wait() == 1
    assert {path.name for path in tmp_path.iterdir() if path.is_socket()} == {"left", "also"}


# --- the trigger limit


def test_more_activations_than_the_trigger_limit_allows_fail_the_socket(tmp_path: Path) -> None:
    port = free_port()
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=1min",
        "one.service": "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/true",
    }
    with started(write_units(tmp_path, files)[0], status=1) as supervisor:
        with connect(("127.0.0.1", port)) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        supervisor.wait_log("TriggerLimitBurst= allows (20 in 60 s)")
        assert supervisor.wait() == 1
    assert starts(supervisor) == 20


def test_the_trigger_limit_can_be_set(tmp_path: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo\nTriggerLimitBurst=3\nTriggerLimitIntervalSec=1h",
        "one.service": "[Service]\nExecStart=/bin/true",
    }
    with started(write_units(tmp_path, files)[0], status=1) as supervisor:
        (tmp_path / "fifo").write_text("never read\n")
        assert supervisor.wait() == 1
    assert starts(supervisor) == 3


def test_a_socket_that_failed_waits_for_the_service_that_another_one_still_feeds(tmp_path: Path) -> None:
    """Two sockets, one service: a socket over its limit is closed, the service and the other socket go on."""
    one, two = free_port(), free_port()
    once = "TriggerLimitBurst=1\nTriggerLimitIntervalSec=1h"
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{one}\nService=pool.service\n{once}",
        "two.socket": f"[Socket]\nListenStream=127.0.0.1:{two}\nService=pool.service",
        "pool.service": f"[Service]\nExecStart={PROBE} answer=1 activation",
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[1]) as supervisor:
        assert ask(("127.0.0.1", one))["activation"]["LISTEN_FDS"] == "2"
        supervisor.wait_log("ended: exit status 0")
        with connect(("127.0.0.1", one)):
            supervisor.wait_log("one.socket: error: failed")
        assert ask(("127.0.0.1", two))["activation"]["LISTEN_FDS"] == "1", "what is closed is not handed over"


def test_no_client_is_lost_when_each_start_serves_one_and_ends(tmp_path: Path) -> None:
    """More than either limit would allow, so both are switched off."""
    port = free_port()
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=0",
        "one.service": f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={PROBE} answer=1",
    }
    with started(write_units(tmp_path, files)[0]):
        clients = [connect(("127.0.0.1", port)) for _ in range(25)]
        for client in clients:
            client.sendall(b"hello\n")
        assert len({answer(client)["pid"] for client in clients}) == 25
