"""SIGHUP to sockact: ExecReload=, and Type=notify-reload; a reload that fails leaves the service as it is."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import Supervisor, alive, write_units
from tests.services import POST, acting, kept, said, sh, starts, supervised, text

UP = ("ExecStart=/bin/sleep 1000",)


def reload(supervisor: Supervisor) -> None:
    supervisor.process.send_signal(signal.SIGHUP)


def reloaded(supervisor: Supervisor, count: int = 1) -> None:
    supervisor.wait_log("one.service: reloaded", count)


# --- by commands


def test_the_reload_commands_run_one_after_the_other_and_know_the_main_process(tmp_path: Path) -> None:
    lines = (*UP, "ExecReload=/bin/echo first $MAINPID", "ExecReload=/bin/echo second ${MAINPID}")
    with kept(tmp_path, *lines) as supervisor:
        pid = supervisor.wait_log("started, pid ")[0].rpartition(" ")[2]
        supervisor.wait_log("is running")
        reload(supervisor)
        reloaded(supervisor)
        reload(supervisor)
        reloaded(supervisor, 2)
        assert said(supervisor) == [f"first {pid}", f"second {pid}"] * 2
        assert starts(supervisor) == 1


def test_a_reload_command_may_be_a_signal(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: say("heard")); tell("READY=1"); wait()'
    with kept(tmp_path, "Type=notify", f"ExecStart={acting(tmp_path, main)}", "ExecReload=/bin/kill -HUP $MAINPID") as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("heard")


@pytest.mark.parametrize("script", ["exit 3", "kill -KILL $$", "kill -TERM $$"])
def test_a_reload_that_fails_leaves_the_service_running_and_is_no_failure_of_it(script: str, tmp_path: Path) -> None:
    lines = (*UP, f"ExecReload={sh(script)}", "ExecReload=/bin/echo never", POST, "Restart=on-failure")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("the reload failed")
        assert supervisor.end() == 0
        assert said(supervisor) == ["post [success] [killed] [TERM]"]
        assert starts(supervisor) == 1


def test_a_reload_command_that_may_fail_is_followed_by_the_next(tmp_path: Path) -> None:
    with kept(tmp_path, *UP, "ExecReload=-/bin/false", "ExecReload=/bin/echo next") as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        reloaded(supervisor)
        assert said(supervisor) == ["next"]


def test_a_reload_that_takes_too_long_is_killed_and_the_service_runs_on(tmp_path: Path) -> None:
    hang = sh('trap "" TERM; echo hanging $$; while :; do sleep 0.05; done')
    with kept(tmp_path, *UP, f"ExecReload={hang}", "TimeoutStartSec=1s", POST) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        pid = int(next(line for line in supervisor.wait_log("hanging ", 2) if line.startswith("hanging")).split()[1])
        supervisor.wait_log("the reload failed")
        supervisor.wait_log("is running", 2)
        assert supervisor.end() == 0
        assert said(supervisor)[1:] == ["post [success] [killed] [TERM]"]
        assert not alive(pid)


def test_a_main_process_that_ends_during_the_reload_is_noticed_when_it_is_over(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    lines = (*UP, f"ExecReload={sh(f'kill -KILL $MAINPID; read x <{gate}; echo after')}", POST)
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("ended: killed by SIGKILL")
        gate.write_text("\n")
        assert supervisor.wait() == 137
        assert said(supervisor) == ["after", "post [signal] [killed] [KILL]"]


def test_a_service_that_is_stopped_during_its_reload_ends_in_order(tmp_path: Path) -> None:
    lines = (*UP, f"ExecReload={sh('echo reloads; exec sleep 1000')}", "ExecStop=/bin/echo stop", POST)
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("reloads")
        assert supervisor.end() == 0
        assert said(supervisor)[-2:] == ["stop", "post [success] [killed] [TERM]"]


def test_a_service_that_cannot_reload_is_left_alone(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: say("heard")); say("up"); wait()'
    with kept(tmp_path, f"ExecStart={acting(tmp_path, main)}") as supervisor:
        supervisor.wait_line("up")
        reload(supervisor)
        supervisor.wait_log("SIGHUP: reloading")
        assert supervisor.end() == 0
        assert "heard" not in supervisor.log


def test_a_service_that_remains_reloads_too(tmp_path: Path) -> None:
    """systemd: active (exited) is active."""
    lines = (
        "Type=oneshot",
        "RemainAfterExit=yes",
        "ExecStart=/bin/echo main",
        "ExecReload=/bin/echo reload",
        "ExecStop=/bin/echo stop",
    )
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        reload(supervisor)
        supervisor.wait_log("reload")
        reloaded(supervisor)
        assert supervisor.end() == 0
        assert said(supervisor) == ["main", "reload", "stop"]


def test_a_service_that_is_not_started_is_not_started_by_a_reload(tmp_path: Path) -> None:
    with kept(tmp_path, *UP, "ExecReload=/bin/echo reload", arguments=["-v"]) as supervisor:
        reload(supervisor)
        supervisor.wait_log("SIGHUP: reloading")
        assert supervisor.end() == 0
        assert said(supervisor) == []


# --- Type=notify-reload

RELOADS = """
    def reload():
        say("reloads")
        tell("RELOADING=1", monotonic())
        tell("READY=1")
    on("{signal}", reload)
    tell("READY=1")
    wait()
"""


@pytest.mark.parametrize(("name", "line"), [("HUP", ""), ("USR1", "ReloadSignal=SIGUSR1"), ("USR2", "ReloadSignal=USR2")])
def test_a_service_of_type_notify_reload_gets_a_signal_and_says_when_it_has_reloaded(
    name: str, line: str, tmp_path: Path
) -> None:
    main = acting(tmp_path, RELOADS.format(signal=name))
    with kept(tmp_path, "Type=notify-reload", f"ExecStart={main}", line) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        reloaded(supervisor)
        reload(supervisor)
        reloaded(supervisor, 2)
        assert said(supervisor) == ["reloads"] * 2
        assert starts(supervisor) == 1


def test_the_commands_of_such_a_service_run_before_its_signal(tmp_path: Path) -> None:
    main = acting(tmp_path, RELOADS.format(signal="HUP"))
    with kept(tmp_path, "Type=notify-reload", f"ExecStart={main}", "ExecReload=/bin/echo first") as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        reloaded(supervisor)
        assert said(supervisor) == ["first", "reloads"]


def test_reloading_and_ready_may_be_said_in_one_message(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: tell("RELOADING=1", "READY=1", monotonic())); tell("READY=1"); wait()'
    lines = ("Type=notify-reload", f"ExecStart={acting(tmp_path, main)}")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        reloaded(supervisor)


def test_a_service_that_does_not_answer_the_reload_signal_runs_on(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: say("heard")); tell("READY=1"); wait()'
    lines = ("Type=notify-reload", f"ExecStart={acting(tmp_path, main)}", "TimeoutStartSec=1s", POST)
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("heard")
        supervisor.wait_log("the reload failed")
        assert supervisor.end() == 0
        assert said(supervisor) == ["heard", "post [success] [killed] [TERM]"]


@pytest.mark.parametrize(
    "answer",
    ['tell("READY=1")', 'tell("RELOADING=1"), tell("READY=1")', 'tell("RELOADING=1", "MONOTONIC_USEC=1"), tell("READY=1")'],
)
def test_an_answer_that_may_be_of_an_earlier_reload_does_not_count(answer: str, tmp_path: Path) -> None:
    """RELOADING=1 with the time, so that what was under way before the signal cannot be taken for the answer."""
    main = f'on("HUP", lambda: ({answer}, say("heard"))); tell("READY=1"); wait()'
    lines = ("Type=notify-reload", f"ExecStart={acting(tmp_path, main)}", "TimeoutStartSec=1s")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("heard")
        supervisor.wait_log("the reload failed")
        assert not any("one.service: reloaded" in line for line in supervisor.log)


def test_a_reload_that_the_service_began_by_itself_is_awaited(tmp_path: Path) -> None:
    main = 'on("USR1", lambda: (tell("RELOADING=1"), tell("READY=1"))); tell("READY=1"); say("pid", os.getpid()); wait()'
    with kept(tmp_path, "Type=notify", f"ExecStart={acting(tmp_path, main)}") as supervisor:
        supervisor.wait_log("is running")
        os.kill(int(supervisor.wait_log("pid ")[-1].split()[-1]), signal.SIGUSR1)
        reloaded(supervisor)
        supervisor.wait_log("is running", 2)


def test_a_service_that_ends_instead_of_reloading_has_ended(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: os._exit(5)); tell("READY=1"); wait()'
    (unit,) = write_units(tmp_path, {"one.service": text("Type=notify-reload", f"ExecStart={acting(tmp_path, main)}", POST)})
    with supervised(unit) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        assert supervisor.wait() == 5
        assert said(supervisor) == ["post [exit-code] [exited] [5]"]


def test_a_service_that_is_stopped_while_it_reloads_ends_in_order(tmp_path: Path) -> None:
    main = 'on("HUP", lambda: tell("RELOADING=1", monotonic())); tell("READY=1"); wait()'
    lines = ("Type=notify-reload", f"ExecStart={acting(tmp_path, main)}", "ExecStop=/bin/echo stop", POST)
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        reload(supervisor)
        supervisor.wait_log("one.service: reloading")
        assert supervisor.end() == 0
        assert said(supervisor) == ["stop", "post [success] [killed] [TERM]"]


def test_a_service_may_begin_to_reload_with_its_first_words(tmp_path: Path) -> None:
    """RELOADING=1 while a command after the start still runs; READY=1 when that one has ended."""
    post = acting(tmp_path, '(folder / "post").write_text(str(os.getpid())); Path(sys.argv[2]).read_text()', "post")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    main = """
        tell("READY=1"); tell("RELOADING=1", monotonic()); barrier()
        say("said")
        while not (folder / "post").exists() or not (pid := (folder / "post").read_text()) or Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
        tell("READY=1")
        wait()
    """
    lines = ("Type=notify", f"ExecStart={acting(tmp_path, main)}", f"ExecStartPost={post} {gate}")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("said")
        gate.write_text("\n")
        reloaded(supervisor)
        supervisor.wait_log("is running")
