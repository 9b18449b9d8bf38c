"""When a service counts as started: Type=notify with its socket, Type=exec, Type=oneshot.

While a service is being started its socket is not told that it runs, and nothing else is visible from outside; so these tests
read the log, as an administrator would.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.lab import PROBE, SERVICES, Supervisor, alive, answer, connect, free_port, started, write_units

NOTIFY = f"{sys.executable} -I -S {SERVICES}/notify.py"


def running(
    folder: Path, *lines: str, status: int = 0, arguments: Sequence[str] = ("--now", "-v")
) -> AbstractContextManager[Supervisor]:
    """A service with a FIFO, which keeps the supervisor running whatever becomes of the service."""
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": "[Service]\n" + "\n".join(lines)}
    return started(write_units(folder, files)[0], arguments=arguments, status=status)


def notify(*steps: str) -> str:
    return f"Type=notify\nExecStart={NOTIFY} " + " ".join(f"'{step}'" for step in steps)


def index(supervisor: Supervisor, text: str) -> int:
    return next(number for number, line in enumerate(supervisor.log) if text in line)


# --- Type=notify


def test_a_service_is_ready_when_it_says_so(tmp_path: Path) -> None:
    with running(tmp_path, notify("say:working", "READY=1", "wait"), "TimeoutStartSec=10") as supervisor:
        supervisor.wait_log("one.service: ready")
        assert index(supervisor, "working") < index(supervisor, "one.service: ready")


def test_what_a_service_says_of_its_status_is_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path, notify("STATUS=loading 1 of 2", "READY=1,STATUS=open for business", "wait")) as supervisor:
        supervisor.wait_log("one.service: status: loading 1 of 2")
        supervisor.wait_log("one.service: status: open for business")


def test_a_service_that_never_gets_ready_is_ended_after_its_time_to_start(tmp_path: Path) -> None:
    with running(tmp_path, notify("wait"), "TimeoutStartSec=100ms") as supervisor:
        supervisor.wait_log("one.service: warning: timeout")
        supervisor.wait_log("ended: killed by SIGTERM")


def test_a_service_that_never_gets_ready_and_does_not_end_is_killed(tmp_path: Path) -> None:
    """SIGWINCH asks nobody to end."""
    with running(tmp_path, notify("wait"), "TimeoutSec=100ms", "KillSignal=SIGWINCH") as supervisor:
        supervisor.wait_log("ended: killed by SIGKILL")


def test_a_service_without_a_socket_that_never_gets_ready_ends_the_supervisor_with_a_failure(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\n{notify('wait')}\nTimeoutStartSec=100ms"})
    with started(unit, status=128 + signal.SIGTERM) as supervisor:
        assert supervisor.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(("step", "status"), [("say:done", 1), ("STATUS=still not ready", 1)])
def test_a_service_that_ends_well_before_it_is_ready_has_failed(step: str, status: int, tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\n{notify(step)}"})
    with started(unit, status=status) as supervisor:
        assert supervisor.wait() == status


def test_a_service_that_says_ready_as_its_last_words_has_not_failed(tmp_path: Path) -> None:
    """The message and the end of the process arrive at once, and must be taken in this order."""
    for _ in range(10):
        (unit,) = write_units(tmp_path, {"one.service": f"[Service]\n{notify('READY=1')}"})
        with started(unit) as supervisor:
            assert supervisor.wait() == 0, supervisor.log


def test_only_the_main_process_is_heard(tmp_path: Path) -> None:
    steps = ("child:READY=1,STATUS=from the child", "say:child is done", "STATUS=from the main process", "wait")
    with running(tmp_path, notify(*steps), "TimeoutStartSec=infinity") as supervisor:
        supervisor.wait_log("one.service: status: from the main process")
        assert not any(text in line for line in supervisor.log for text in ("from the child", "one.service: ready"))


def test_a_stranger_is_not_heard(tmp_path: Path) -> None:
    script = f"{NOTIFY} STATUS=outside; exec {NOTIFY} STATUS=inside READY=1 wait"
    with running(tmp_path, "Type=notify", f"ExecStart=/bin/sh -c '{script}'") as supervisor:
        supervisor.wait_log("one.service: status: inside")
        assert not any("status: outside" in line for line in supervisor.log)


def test_a_service_that_announces_its_end_has_time_to_stop_and_no_more(tmp_path: Path) -> None:
    with running(tmp_path, notify("READY=1", "ignore", "STOPPING=1", "wait"), "TimeoutStopSec=100ms") as supervisor:
        supervisor.wait_log("ended: killed by SIGKILL")


def test_a_service_that_announces_its_end_is_started_again_by_the_next_client(tmp_path: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo\nTriggerLimitIntervalSec=0",
        "one.service": f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{notify('READY=1', 'STOPPING=1')}",
    }
    with started(write_units(tmp_path, files)[0], arguments=["--now"]) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        assert len(supervisor.wait_log("started, pid")) == 1
        (tmp_path / "fifo").write_text("nobody reads this, so that it starts the service again and again\n")
        supervisor.wait_log("started, pid", count=3)


def test_a_service_that_asks_for_a_barrier_passes_it(tmp_path: Path) -> None:
    with running(tmp_path, notify("READY=1", "barrier", "wait")) as supervisor:
        supervisor.wait_log("the barrier was passed")


def test_a_service_that_only_wants_to_tell_its_status_can_be_heard_too(tmp_path: Path) -> None:
    with running(tmp_path, "NotifyAccess=main", f"ExecStart={NOTIFY} 'STATUS=not asked for' wait") as supervisor:
        supervisor.wait_log("one.service: status: not asked for")


def test_a_service_of_another_type_has_no_notify_socket(tmp_path: Path) -> None:
    with running(tmp_path, f"ExecStart={PROBE} say activation") as supervisor:
        assert "NOTIFY_SOCKET" not in supervisor.reports()[0]["activation"]


@pytest.mark.parametrize("junk", ["", "READY", "=", "READY=2", "X=1,,=1", "STATUS=", "READY=0"])
def test_what_makes_no_sense_is_ignored(junk: str, tmp_path: Path) -> None:
    with running(tmp_path, notify(junk, "STATUS=sense", "wait"), "TimeoutStartSec=infinity") as supervisor:
        supervisor.wait_log("one.service: status: sense")
        assert not any(line.endswith("one.service: ready") for line in supervisor.log)


def test_python_systemd_is_heard(tmp_path: Path) -> None:
    if importlib.util.find_spec("systemd") is None:
        pytest.skip("python-systemd is not installed (pip install systemd-python)")
    code = 'from systemd import daemon; daemon.notify("READY=1\\\\nSTATUS=by python-systemd"); import signal; signal.pause()'
    with running(tmp_path, "Type=notify", f"ExecStart={sys.executable} -c '{code}'") as supervisor:
        supervisor.wait_log("one.service: status: by python-systemd")
        supervisor.wait_log("one.service: ready")


def test_a_client_that_comes_before_the_service_is_ready_is_served_by_it_when_it_is(tmp_path: Path) -> None:
    port, gate = free_port(), tmp_path / "gate"
    os.mkfifo(gate)
    files = {
        "one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}",
        "one.service": f"[Service]\n{notify(f'read:{gate}', 'READY=1', 'answer')}",
    }
    with started(write_units(tmp_path, files)[0]) as supervisor:
        clients = [connect(("127.0.0.1", port)) for _ in range(3)]
        for client in clients:
            client.sendall(b"hello\n")
        gate.write_text("open\n")
        assert len({answer(client)["pid"] for client in clients}) == 1
        assert len(supervisor.wait_log("started, pid")) == 1


# --- Type=exec


def test_a_service_of_type_exec_runs_when_its_program_does(tmp_path: Path) -> None:
    with running(tmp_path, "Type=exec", f"ExecStart={PROBE} say") as supervisor:
        pid = supervisor.reports()[0]["pid"]
        assert alive(pid)
    assert not alive(pid)


def test_a_service_of_type_exec_whose_program_cannot_be_executed_fails(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nType=exec\nExecStart={program}"})
    with started(unit, status=203) as supervisor:
        assert supervisor.wait() == 203


# --- Type=oneshot


def test_the_commands_of_a_oneshot_service_run_one_after_the_other(tmp_path: Path) -> None:
    words = [f"ExecStart=/bin/sh -c 'echo {word}; exit 0'" for word in ("first", "second", "third")]
    (unit,) = write_units(tmp_path, {"one.service": "[Service]\nType=oneshot\n" + "\n".join(words)})
    with started(unit) as supervisor:
        assert supervisor.wait() == 0
    assert [line for line in supervisor.log if line in ("first", "second", "third")] == ["first", "second", "third"]


def test_a_command_that_fails_is_the_last_one_unless_a_dash_forgives_it(tmp_path: Path) -> None:
    commands = (
        "ExecStart=-/bin/sh -c 'echo forgiven; exit 1'\nExecStart=/bin/sh -c 'echo fatal; exit 4'\nExecStart=/bin/echo never"
    )
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nType=oneshot\n{commands}"})
    with started(unit, status=4) as supervisor:
        assert supervisor.wait() == 4
    assert [line for line in supervisor.log if line in ("forgiven", "fatal", "never")] == ["forgiven", "fatal"]


def test_every_command_of_a_oneshot_service_gets_the_sockets(tmp_path: Path) -> None:
    with running(
        tmp_path, "Type=oneshot", *["ExecStart=/bin/sh -c 'echo fds $$LISTEN_FDS, $$$$ is $$LISTEN_PID'"] * 2
    ) as supervisor:
        for line in supervisor.wait_log("fds 1, ", count=2):
            _, _, pids = line.partition(", ")
            assert len(set(pids.split(" is "))) == 1


def test_the_time_to_start_limits_a_oneshot_service_when_it_is_given(tmp_path: Path) -> None:
    with running(tmp_path, "Type=oneshot", "TimeoutStartSec=100ms", f"ExecStart={PROBE} say") as supervisor:
        supervisor.wait_log("one.service: warning: timeout")
        supervisor.wait_log("ended: killed by SIGTERM")


def test_a_timeout_of_months_is_waited_for_in_parts(tmp_path: Path) -> None:
    """epoll_wait(2) takes 24 days at most."""
    files = {"one.service": "[Service]\nType=notify\nTimeoutStartSec=2month\nExecStart=/bin/sleep 1000"}
    with started(write_units(tmp_path, files)[0]) as supervisor:
        supervisor.wait_log("started, pid")
        assert supervisor.process.poll() is None
