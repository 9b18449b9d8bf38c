"""What takes too long, by TimeoutStartFailureMode= and TimeoutStopFailureMode=; and what is random about times."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab import alive, descendants, started, write_units
from tests.services import POST, end, kept, outcome, said, sh, supervised, text

SOON = ("TimeoutStartSec=100ms", "TimeoutStopSec=100ms", "TimeoutAbortSec=1h", "LimitCORE=0")
DEAF = "ExecStart=" + sh('trap "" TERM; echo up; exec sleep 1000')
WAITS = "ExecStart=/bin/sleep 1000"
SIGNALS = {"terminate": "TERM", "abort": "ABRT", "kill": "KILL"}


@pytest.mark.parametrize("mode", SIGNALS)
@pytest.mark.parametrize("late", [("Type=notify",), ("ExecStartPost=/bin/sleep 1000",)])
def test_a_start_that_takes_too_long_is_ended_by_the_signal_of_its_mode(late: tuple[str, ...], mode: str, tmp_path: Path) -> None:
    words = outcome(tmp_path, WAITS, *late, *SOON, f"TimeoutStartFailureMode={mode}", POST)[1]
    assert words == [f"post [timeout] [killed] [{SIGNALS[mode]}]"]


@pytest.mark.parametrize("mode", SIGNALS)
def test_a_command_before_the_start_that_takes_too_long_too(mode: str, tmp_path: Path) -> None:
    lines = ("ExecStartPre=/bin/sleep 1000", WAITS, *SOON, f"TimeoutStartFailureMode={mode}")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        supervisor.wait_log(f"/bin/sleep 1000: killed by SIG{SIGNALS[mode]}")
        assert supervisor.wait() == 128 + signal.Signals[f"SIG{SIGNALS[mode]}"]


@pytest.mark.parametrize("mode", SIGNALS)
def test_a_stop_command_that_takes_too_long_is_followed_by_the_signal_of_the_mode(mode: str, tmp_path: Path) -> None:
    lines = ("Type=exec", WAITS, "ExecStop=/bin/sleep 1000", *SOON, f"TimeoutStopFailureMode={mode}", POST)
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        supervisor.end()
        assert said(supervisor) == [f"post [timeout] [killed] [{SIGNALS[mode]}]"]


@pytest.mark.parametrize(("mode", "name"), [("terminate", "KILL"), ("abort", "ABRT"), ("kill", "KILL")])
def test_who_does_not_go_when_asked_is_aborted_before_he_is_killed(mode: str, name: str, tmp_path: Path) -> None:
    with kept(tmp_path, DEAF, *SOON, f"TimeoutStopFailureMode={mode}", POST) as supervisor:
        supervisor.wait_line("up")
        supervisor.end()
        assert said(supervisor)[1:] == [f"post [timeout] [killed] [{name}]"]


def test_who_does_not_even_abort_is_killed(tmp_path: Path) -> None:
    deaf = "ExecStart=" + sh('trap "" TERM ABRT; echo up; exec sleep 1000')
    with kept(tmp_path, deaf, *SOON, "TimeoutAbortSec=50ms", "TimeoutStopFailureMode=abort", POST) as supervisor:
        supervisor.wait_line("up")
        supervisor.end()
        assert said(supervisor)[1:] == ["post [timeout] [killed] [KILL]"]
        assert [line.split()[-1] for line in supervisor.log if "timeout in" in line] == ["stop-sigterm", "stop-watchdog"]


@pytest.mark.parametrize("mode", SIGNALS)
def test_a_command_after_the_end_that_takes_too_long_is_ended_by_the_signal_of_the_mode(mode: str, tmp_path: Path) -> None:
    lines = ("ExecStart=/bin/true", "ExecStopPost=/bin/sleep 1000", *SOON, f"TimeoutStopFailureMode={mode}")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log(f"/bin/sleep 1000: killed by SIG{SIGNALS[mode]}")


def test_nobody_is_killed_who_is_to_be_spared(tmp_path: Path) -> None:
    lines = (WAITS, "ExecStop=/bin/sleep 1000", *SOON, "TimeoutStopFailureMode=kill", "SendSIGKILL=no", "KillMode=process", POST)
    with kept(tmp_path, *lines, "Type=exec") as supervisor:
        pid = int(supervisor.wait_log("started, pid ")[0].rpartition(" ")[2])
        left = descendants(supervisor.pid)
        try:
            supervisor.process.send_signal(signal.SIGTERM)
            supervisor.wait_log("post [timeout] [] []")
            left |= descendants(supervisor.pid)
            assert alive(pid)
        finally:
            end(*left)


@pytest.mark.parametrize("state", ["stop-post", "final-sigterm"])
def test_who_is_spared_is_not_started_again_beside_what_is_left_of_him(state: str, tmp_path: Path) -> None:
    mode = {"stop-post": "kill", "final-sigterm": "terminate"}[state]
    deaf = "ExecStopPost=" + sh('trap "" TERM; echo left $$; exec sleep 1000')
    lines = ("ExecStart=/bin/true", deaf, *SOON, f"TimeoutStopFailureMode={mode}", "SendSIGKILL=no", "Restart=always")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with started(unit, status=1) as supervisor:
        left = {int(supervisor.wait_log("left ")[0].split()[1])}
        supervisor.wait_log(f"timeout in state {state}")
        end(*left)
        supervisor.wait()
        assert not any("restarting" in line for line in supervisor.log)


# --- what is random


def test_a_random_time_is_added_before_a_restart(tmp_path: Path) -> None:
    lines = ("ExecStart=/bin/false", "Restart=always", "RestartSec=100000", "RestartRandomizedDelaySec=900000")
    found = []
    for name in ("one", "two", "three"):
        folder = tmp_path / name
        folder.mkdir()
        with kept(folder, *lines) as supervisor:
            line = supervisor.wait_log("restarting in ")[0]
            found.append(float(line.split()[-2]))
    assert all(100000 <= seconds <= 1000000 for seconds in found)
    assert len(set(found)) > 1


def test_a_random_time_is_added_to_the_time_to_run(tmp_path: Path) -> None:
    """The random time is shorter than the test in one of a million cases."""
    files = {
        "one.service": text(WAITS, "RuntimeMaxSec=10ms", "RuntimeRandomizedExtraSec=10000h"),
        "two.service": text(WAITS, "RuntimeMaxSec=50ms"),
    }
    with started(*write_units(tmp_path, files)) as supervisor:
        supervisor.wait_log("two.service: warning: timeout in state running")
        assert not any("one.service: warning: timeout" in line for line in supervisor.log)


# --- restarts that are looked at, and restarts that are forgotten


def test_restarts_to_be_looked_at_have_a_variable_that_says_so(tmp_path: Path) -> None:
    script = 'echo "main [$DEBUG_INVOCATION]"; exit 3'
    lines = (
        f"ExecStart={sh(script)}",
        f"ExecStopPost={sh('echo post [$DEBUG_INVOCATION]')}",
        "Restart=on-failure",
        "RestartSec=0",
    )
    again = ("RestartMode=debug", "RestartPreventExitStatus=4")
    words = outcome(tmp_path, *lines, *again, unit="StartLimitBurst=2\nStartLimitIntervalSec=1h")[1]
    assert words == ["main []", "post []", "main [1]", "post [1]"]


@pytest.mark.parametrize(("line", "value"), [("", ""), ("DebugInvocation=yes", "1"), ("DebugInvocation=no", "")])
def test_a_unit_may_say_so_itself(line: str, value: str, tmp_path: Path) -> None:
    assert outcome(tmp_path, f"ExecStart={sh('echo [$DEBUG_INVOCATION]')}", unit=line)[1] == [f"[{value}]"]


def test_what_the_supervisor_was_told_is_not_meant_for_its_services(tmp_path: Path) -> None:
    script = "echo [$DEBUG_INVOCATION] [$PIDFILE] [$MANAGERPID] [$MAINPIDFDID]"
    told = dict.fromkeys(("DEBUG_INVOCATION", "PIDFILE", "MANAGERPID", "MAINPIDFDID"), "7")
    (unit,) = write_units(tmp_path, {"one.service": text(f"ExecStart={sh(script)}")})
    with started(unit, environment=told) as supervisor:
        supervisor.wait()
        assert said(supervisor) == ["[] [] [] []"]


def test_all_commands_but_the_main_one_may_keep_the_privileges(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("needs root")
    who = "echo {} $(id -u)"
    lines = [f"{kind}={sh(who.format(kind))}" for kind in ("ExecStartPre", "ExecStart", "ExecStopPost")]
    for line, others in (("PermissionsStartOnly=yes", 0), ("PermissionsStartOnly=no", 65534)):
        words = outcome(tmp_path, *lines, "User=65534", line)[1]
        assert words == [f"ExecStartPre {others}", "ExecStart 65534", f"ExecStopPost {others}"]


def test_commands_after_the_reload_run_when_it_has_succeeded(tmp_path: Path) -> None:
    lines = (
        "Type=exec",
        WAITS,
        "ExecReload=/bin/echo reload",
        "ExecReloadPost=/bin/echo first",
        "ExecReloadPost=/bin/echo second",
    )
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("is running")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("one.service: reloaded")
        assert said(supervisor) == ["reload", "first", "second"]


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (("ExecReload=/bin/false", "ExecReloadPost=/bin/echo post"), []),
        (("ExecReload=/bin/echo reload", "ExecReloadPost=/bin/false", "ExecReloadPost=/bin/echo post"), ["reload"]),
        (("ExecReload=/bin/echo reload", "ExecReloadPost=/bin/sleep 1000", "TimeoutStartSec=200ms"), ["reload"]),
    ],
)
def test_a_reload_that_fails_before_or_after_is_no_failure_of_the_service(
    commands: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    with kept(tmp_path, WAITS, *commands) as supervisor:
        supervisor.wait_log("is running")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("the reload failed or took too long")
        supervisor.wait_log("is running", 2)
        assert said(supervisor) == words
