"""Restart= after each kind of end (systemd.service(5), table 1), its lists of statuses, its delays; instances for connections."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import PATIENCE, alive, connect, eventually, started, write_units
from tests.services import POST, acting, kept, outcome, said, sh, starts, supervised, text

POLICIES = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort")
ENDS: dict[str, tuple[list[str], set[str]]] = {
    "clean exit": (["ExecStart=/bin/sh -c 'exit 0'"], {"always", "on-success"}),
    "clean signal": ([f"ExecStart={sh('kill -TERM $$')}"], {"always", "on-success"}),
    "a status that is a success": ([f"ExecStart={sh('exit 3')}", "SuccessExitStatus=3"], {"always", "on-success"}),
    "a forgiven status": ([f"ExecStart=-{sh('exit 3')}"], {"always", "on-success"}),
    "unclean exit": ([f"ExecStart={sh('exit 3')}"], {"always", "on-failure"}),
    "unclean signal": ([f"ExecStart={sh('kill -KILL $$')}"], {"always", "on-failure", "on-abnormal", "on-abort"}),
    "core dump": ([f"ExecStart={sh('kill -ABRT $$')}"], {"always", "on-failure", "on-abnormal", "on-abort"}),
    "timeout at the start": (
        ["Type=notify", "ExecStart=/bin/sleep 1000", "TimeoutStartSec=100ms"],
        {"always", "on-failure", "on-abnormal"},
    ),
    "timeout of the run": (["ExecStart=/bin/sleep 1000", "RuntimeMaxSec=100ms"], {"always", "on-failure", "on-abnormal"}),
    "protocol": (["Type=notify", "ExecStart=/bin/true"], {"always", "on-failure", "on-abnormal"}),
    "watchdog": (
        ["ExecStart=/bin/sleep 1000", "WatchdogSec=100ms", "LimitCORE=0"],
        {"always", "on-failure", "on-abnormal", "on-watchdog"},
    ),
    "a command before the start": (["ExecStartPre=/bin/false", "ExecStart=/bin/true"], {"always", "on-failure"}),
    "a command after the start": (["ExecStart=/bin/sleep 1000", "ExecStartPost=/bin/false"], {"always", "on-failure"}),
    "a command after the end": (["ExecStart=/bin/true", "ExecStopPost=/bin/false"], {"always", "on-failure"}),
    "a condition that does not hold": ([f"ExecCondition={sh('exit 1')}", "ExecStart=/bin/true"], set()),
    "a condition that fails": ([f"ExecCondition={sh('exit 255')}", "ExecStart=/bin/true"], {"always", "on-failure"}),
    "a program that is none": (["ExecStart={folder}/none"], {"always", "on-failure"}),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("end", ENDS)
def test_a_service_is_restarted_after_the_ends_that_its_policy_names(end: str, policy: str, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("no program")
    (tmp_path / "none").chmod(0o755)
    lines, policies = ENDS[end]
    lines = [line.format(folder=tmp_path) if "{folder}" in line else line for line in lines]
    (unit,) = write_units(tmp_path, {"one.service": text(*lines, f"Restart={policy}", "RestartSec=1h")})
    with supervised(unit) as supervisor:
        if policy in policies:
            supervisor.wait_log("restarting in 3600 s")
        else:
            supervisor.wait()
            assert not any("restarting" in line for line in supervisor.log)


ONESHOT = {policy: policy in ("on-failure",) for policy in ("no", "on-failure", "on-abnormal", "on-abort", "on-watchdog")}


@pytest.mark.parametrize("policy", ONESHOT)
def test_a_oneshot_service_can_be_restarted_after_a_failure(policy: str, tmp_path: Path) -> None:
    lines = ("Type=oneshot", f"ExecStart={sh('exit 3')}", f"Restart={policy}", "RestartSec=1h")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        if ONESHOT[policy]:
            supervisor.wait_log("restarting in 3600 s")
        else:
            assert supervisor.wait() == 3


@pytest.mark.parametrize(("force", "script", "again"), [(0, "exit 0", False), (3, "exit 3", True)])
def test_a_oneshot_service_that_has_done_its_work_is_not_forced_to_do_it_again(
    force: int, script: str, again: bool, tmp_path: Path
) -> None:
    lines = ("Type=oneshot", f"ExecStart={sh(script)}", f"RestartForceExitStatus={force}", "RestartSec=1h")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        if again:
            supervisor.wait_log("restarting in 3600 s")
        else:
            assert supervisor.wait() == 0


def test_a_oneshot_service_begins_with_its_first_command_again(tmp_path: Path) -> None:
    fails_once = sh(f"test -e {tmp_path}/done || {{ touch {tmp_path}/done; exit 1; }}")
    lines = ("Type=oneshot", "ExecStart=/bin/echo one", f"ExecStart={fails_once}", "ExecStart=/bin/echo three")
    status, words = outcome(tmp_path, *lines, "Restart=on-failure", "RestartSec=0")
    assert (status, words) == (0, ["one", "one", "three"])


# --- lists of statuses

LISTS = [
    ("Restart=always", "RestartPreventExitStatus=3", "exit 3", False),
    ("Restart=always", "RestartPreventExitStatus=3 4", "exit 4", False),
    ("Restart=always", "RestartPreventExitStatus=3", "exit 4", True),
    ("Restart=always", "RestartPreventExitStatus=0", "exit 0", False),
    ("Restart=always", "RestartPreventExitStatus=SIGKILL", "kill -KILL $$", False),
    ("Restart=always", "RestartPreventExitStatus=9", "kill -KILL $$", True),
    ("Restart=always", "RestartPreventExitStatus=TEMPFAIL", "exit 75", False),
    ("Restart=always", "RestartPreventExitStatus=DATAERR 75 SIGKILL", "exit 65", False),
    ("Restart=always", "RestartPreventExitStatus=3\nRestartPreventExitStatus=4", "exit 3", False),
    ("Restart=always", "RestartPreventExitStatus=3\nRestartPreventExitStatus=", "exit 3", True),
    ("Restart=no", "RestartForceExitStatus=3", "exit 3", True),
    ("Restart=no", "RestartForceExitStatus=0", "exit 0", True),
    ("Restart=no", "RestartForceExitStatus=SIGTERM", "kill -TERM $$", True),
    ("Restart=no", "RestartForceExitStatus=3", "exit 4", False),
    ("Restart=on-failure", "RestartForceExitStatus=3\nRestartPreventExitStatus=3", "exit 3", False),
    ("Restart=on-failure", "SuccessExitStatus=3", "exit 3", False),
    ("Restart=on-success", "SuccessExitStatus=3 SIGKILL", "kill -KILL $$", True),
    ("Restart=on-success", "SuccessExitStatus=SIGKILL TEMPFAIL", "exit 75", True),
    ("Restart=on-failure", "SuccessExitStatus=9", "kill -KILL $$", True),
]


@pytest.mark.parametrize(("policy", "line", "script", "again"), LISTS)
def test_lists_of_statuses_change_what_the_policy_says(policy: str, line: str, script: str, again: bool, tmp_path: Path) -> None:
    lines = (f"ExecStart={sh(script)}", policy, line, "RestartSec=1h")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        if again:
            supervisor.wait_log("restarting in 3600 s")
        else:
            supervisor.wait()
            assert not any("restarting" in line for line in supervisor.log)


@pytest.mark.parametrize(("line", "again"), [("RestartPreventExitStatus=0", True), ("RestartForceExitStatus=0", False)])
def test_a_list_says_nothing_of_a_main_process_that_never_was(line: str, again: bool, tmp_path: Path) -> None:
    policy = "always" if again else "no"
    lines = ("ExecStartPre=/bin/false", "ExecStart=/bin/true", f"Restart={policy}", line, "RestartSec=1h")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        if again:
            supervisor.wait_log("restarting in 3600 s")
        else:
            assert supervisor.wait() == 1


@pytest.mark.parametrize(("line", "status"), [("SuccessExitStatus=3", 0), ("SuccessExitStatus=3 TEMPFAIL SIGUSR1", 0), ("", 3)])
def test_a_status_that_is_a_success_is_no_failure_of_the_supervisor_either(line: str, status: int, tmp_path: Path) -> None:
    assert outcome(tmp_path, f"ExecStart={sh('exit 3')}", line) == (status, [])


# --- delays


def delays(folder: Path, *lines: str, count: int) -> list[str]:
    (unit,) = write_units(
        folder, {"one.service": text("ExecStart=/bin/false", "Restart=always", *lines, unit="StartLimitIntervalSec=0")}
    )
    with supervised(unit) as supervisor:
        return [line.rpartition("restarting in ")[2] for line in supervisor.wait_log("restarting in ", count)[:count]]


def test_the_delay_is_a_tenth_of_a_second_by_default(tmp_path: Path) -> None:
    assert delays(tmp_path, count=2) == ["0.1 s"] * 2


def test_the_delay_grows_in_steps_to_the_longest(tmp_path: Path) -> None:
    lines = ("RestartSec=10ms", "RestartSteps=2", "RestartMaxDelaySec=40ms")
    assert delays(tmp_path, *lines, count=5) == ["0.01 s", "0.02 s", "0.04 s", "0.04 s", "0.04 s"]


@pytest.mark.parametrize(
    "lines",
    [("RestartSteps=2",), ("RestartMaxDelaySec=1h",), ("RestartSteps=0", "RestartMaxDelaySec=1h")],
)
def test_the_delay_does_not_grow_without_both_steps_and_a_longest_one(lines: tuple[str, ...], tmp_path: Path) -> None:
    assert delays(tmp_path, "RestartSec=10ms", *lines, count=3) == ["0.01 s"] * 3


def test_who_is_stopped_while_it_waits_for_its_restart_is_not_started_again(tmp_path: Path) -> None:
    with kept(tmp_path, "ExecStart=/bin/true", "Restart=always", "RestartSec=1h", POST) as supervisor:
        supervisor.wait_log("restarting in")
        assert supervisor.end() == 0
        assert starts(supervisor) == 1


def test_a_restart_runs_all_commands_again(tmp_path: Path) -> None:
    lines = [
        f"{kind}=/bin/echo {word}" for kind, word in (("ExecCondition", "cond"), ("ExecStartPre", "pre"), ("ExecStop", "stop"))
    ]
    main = acting(tmp_path, 'tell("READY=1"); barrier()')
    status, words = outcome(
        tmp_path, *lines, "Type=notify", f"ExecStart={main}", "Restart=always", "RestartSec=0", unit="StartLimitBurst=2"
    )
    assert (status, words) == (1, ["cond", "pre", "stop"] * 2)


def test_processes_of_the_run_before_are_gone_when_the_next_one_begins(tmp_path: Path) -> None:
    script = sh(f"test -e {tmp_path}/mark && exec sleep 1000; touch {tmp_path}/mark; sleep 1000 & echo left $!; exit 1")
    with kept(tmp_path, f"ExecStart={script}", "Restart=on-failure", "RestartSec=0") as supervisor:
        supervisor.wait_log("started, pid", 2)
        left = int(next(line for line in supervisor.log if line.startswith("left ")).split()[1])
        assert not alive(left)


@pytest.mark.parametrize(("script", "status"), [("exit 5", 5), ("exit 0", 1)])
def test_too_many_starts_are_the_last_result(script: str, status: int, tmp_path: Path) -> None:
    lines = (f"ExecStart={sh(script)}", "Restart=always", "RestartSec=0")
    assert outcome(tmp_path, *lines, unit="StartLimitBurst=3\nStartLimitIntervalSec=1h")[0] == status


# --- instances for connections


def instances(folder: Path, *lines: str, socket: str = "") -> Path:
    files = {
        "one.socket": f"[Socket]\nAccept=yes\nListenStream={folder}/socket\n{socket}",
        "one@.service": text(*lines),
    }
    return write_units(folder, files)[0]


def test_a_connection_stays_through_the_restarts_of_its_instance(tmp_path: Path) -> None:
    """systemd keeps it until the instance is finally dead."""
    script = sh(f"read x; echo $x; test -e {tmp_path}/mark && exit 0; touch {tmp_path}/mark; exit 1")
    lines = ("StandardInput=socket", f"ExecStart={script}", "Restart=on-failure", "RestartSec=0")
    with started(instances(tmp_path, *lines)), connect(f"{tmp_path}/socket") as client:
        stream = client.makefile()
        client.sendall(b"first\n")
        assert stream.readline() == "first\n"
        client.sendall(b"second\n")
        assert stream.readline() == "second\n"
        assert stream.read() == ""


def test_a_connection_is_closed_when_its_instance_has_failed_for_good(tmp_path: Path) -> None:
    lines = ("StandardInput=socket", f"ExecStart={sh('echo tried; exit 1')}", "Restart=on-failure", "RestartSec=0")
    with started(instances(tmp_path, *lines)) as supervisor, connect(f"{tmp_path}/socket") as client:
        assert client.makefile().read() == "tried\n" * 5
        supervisor.wait_log("StartLimitBurst=")
        with connect(f"{tmp_path}/socket") as another:
            assert another.makefile().read() == "tried\n" * 5


def test_a_request_to_stop_closes_the_connection_of_an_instance_that_waits_for_its_restart(tmp_path: Path) -> None:
    lines = ("StandardInput=socket", "ExecStart=/bin/false", "Restart=on-failure", "RestartSec=1h")
    with started(instances(tmp_path, *lines)) as supervisor, connect(f"{tmp_path}/socket") as client:
        supervisor.wait_log("restarting in 3600 s")
        assert supervisor.end() == 0
        assert client.recv(1) == b""


def test_an_instance_reloads_as_other_services_do(tmp_path: Path) -> None:
    lines = ("StandardInput=socket", "StandardOutput=journal", "ExecStart=/bin/cat", "ExecReload=/bin/echo reload $MAINPID")
    with started(instances(tmp_path, *lines)) as supervisor, connect(f"{tmp_path}/socket"):
        pid = supervisor.wait_log("started, pid ")[0].split("pid ")[1].split(",")[0]
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log(f"reload {pid}")
        supervisor.wait_log("reloaded")


def test_the_commands_of_an_instance_run_and_know_its_client(tmp_path: Path) -> None:
    lines = (
        *("StandardInput=socket", "StandardOutput=socket", "ExecStart=/bin/echo main"),
        *("ExecStartPre=/bin/echo pre", "ExecStartPost=/bin/true", "ExecStopPost=/bin/echo post ${SERVICE_RESULT}"),
    )
    with started(instances(tmp_path, *lines)), connect(f"{tmp_path}/socket") as client:
        assert client.makefile().read() == "pre\nmain\npost success\n"


@pytest.mark.parametrize("condition", [sh("exit 1"), sh("exit 255")])
def test_a_client_whose_condition_does_not_hold_gets_an_end_of_file(condition: str, tmp_path: Path) -> None:
    lines = ("StandardInput=socket", f"ExecCondition={condition}", "ExecStart=/bin/echo never")
    with started(instances(tmp_path, *lines)), connect(f"{tmp_path}/socket") as client:
        assert client.recv(100) == b""


@pytest.mark.parametrize("line", ["ExecStartPre=/bin/false", "Type=notify\nTimeoutStartSec=100ms"])
def test_a_client_whose_instance_does_not_start_gets_an_end_of_file(line: str, tmp_path: Path) -> None:
    lines = ("StandardInput=socket", "ExecStart=/bin/sleep 1000", line)
    with started(instances(tmp_path, *lines)), connect(f"{tmp_path}/socket") as client:
        assert client.recv(100) == b""


def test_instances_that_are_over_are_forgotten_and_leave_no_descriptor(tmp_path: Path) -> None:
    lines = ("StandardInput=socket", "ExecCondition=/bin/true", "ExecStart=/bin/false", "ExecStopPost=/bin/true")
    with started(instances(tmp_path, *lines, socket="MaxConnections=2")) as supervisor:
        fds = f"/proc/{supervisor.pid}/fd"
        before = 0
        for _ in range(6):
            with connect(f"{tmp_path}/socket") as client:
                client.settimeout(PATIENCE)
                assert client.recv(1) == b""
            before = before or len(os.listdir(fds))
        eventually(lambda: len(os.listdir(fds)) <= before, "nothing is left open")


def test_an_instance_may_be_ready_late_and_remain(tmp_path: Path) -> None:
    body = 'tell("READY=1"); os.write(0, b"ready\\n"); os.read(0, 1); os.write(0, b"bye\\n")'
    lines = ("Type=notify", "StandardInput=socket", "StandardOutput=journal", f"ExecStart={acting(tmp_path, body)}")
    with started(instances(tmp_path, *lines)) as supervisor, connect(f"{tmp_path}/socket") as client:
        stream = client.makefile()
        assert stream.readline() == "ready\n"
        client.sendall(b"x")
        assert stream.read() == "bye\n"
        assert said(supervisor) == []
