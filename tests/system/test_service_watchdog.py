"""WatchdogSec=: a service that says WATCHDOG=1 lives, one that does not is ended; time limits; EXTEND_TIMEOUT_USEC=."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import write_units
from tests.services import POST, acting, kept, outcome, said, sh, starts, supervised, text

PINGS = """
    tell("READY=1")
    for number in range(20):
        time.sleep(0.1)
        tell("WATCHDOG=1")
    say("alive")
    wait()
"""
ABORTED = ("post [watchdog] [killed] [ABRT]", "post [watchdog] [dumped] [ABRT]")


def service(folder: Path, body: str, *lines: str) -> tuple[str, ...]:
    return ("Type=notify", f"ExecStart={acting(folder, body)}", "LimitCORE=0", *lines, POST)


def test_a_service_that_says_that_it_is_alive_lives(tmp_path: Path) -> None:
    """For longer than the interval."""
    with kept(tmp_path, *service(tmp_path, PINGS, "WatchdogSec=1500ms")) as supervisor:
        supervisor.wait_log("alive")
        assert supervisor.end() == 0
        assert said(supervisor)[-1] == "post [success] [killed] [TERM]"


def test_a_service_that_falls_silent_is_aborted(tmp_path: Path) -> None:
    status, words = outcome(tmp_path, *service(tmp_path, 'tell("READY=1"); wait()', "WatchdogSec=200ms"))
    assert status == 134
    assert words[-1] in ABORTED


def test_the_watchdog_waits_for_the_start(tmp_path: Path) -> None:
    """Before READY=1 nobody has to say anything; from then on the time counts."""
    body = 'time.sleep(0.6); tell("READY=1"); say("ready"); wait()'
    status, words = outcome(tmp_path, *service(tmp_path, body, "WatchdogSec=200ms"))
    assert status == 134
    assert words[0] == "ready"
    assert words[-1] in ABORTED


@pytest.mark.parametrize("kind", ["simple", "exec"])
def test_a_service_of_another_type_is_watched_as_well(kind: str, tmp_path: Path) -> None:
    status, words = outcome(tmp_path, f"Type={kind}", "ExecStart=/bin/sleep 1000", "WatchdogSec=200ms", "LimitCORE=0", POST)
    assert status == 134
    assert words[-1] in ABORTED


def test_the_environment_tells_the_interval_and_whom_it_is_for(tmp_path: Path) -> None:
    show = sh("echo $WATCHDOG_USEC; test $WATCHDOG_PID = $$ && echo me")
    assert outcome(tmp_path, "Type=oneshot", f"ExecStart={show}", "WatchdogSec=1234ms") == (0, ["1234000", "me"])


def test_a_service_without_a_watchdog_has_no_such_variable(tmp_path: Path) -> None:
    assert outcome(tmp_path, "Type=oneshot", f"ExecStart={sh('echo [$WATCHDOG_USEC$WATCHDOG_PID]')}") == (0, ["[]"])


def test_commands_are_not_watched(tmp_path: Path) -> None:
    show = f"ExecStartPre={sh('echo [$WATCHDOG_USEC$WATCHDOG_PID]; sleep 0.5')}"
    assert outcome(tmp_path, show, "Type=oneshot", "ExecStart=/bin/true", "WatchdogSec=100ms") == (0, ["[]"])


@pytest.mark.parametrize(("line", "name"), [("WatchdogSignal=SIGTERM", "TERM"), ("WatchdogSignal=KILL", "KILL")])
def test_the_signal_can_be_chosen(line: str, name: str, tmp_path: Path) -> None:
    _, words = outcome(tmp_path, *service(tmp_path, 'tell("READY=1"); wait()', "WatchdogSec=200ms", line))
    assert words == [f"post [watchdog] [killed] [{name}]"]


def test_who_does_not_even_hear_the_watchdog_signal_is_killed_after_the_time_to_abort(tmp_path: Path) -> None:
    body = 'ignore("ABRT", "TERM"); tell("READY=1"); wait()'
    lines = ("WatchdogSec=200ms", "TimeoutAbortSec=100ms", "TimeoutStopSec=1h")
    status, words = outcome(tmp_path, *service(tmp_path, body, *lines))
    assert (status, words) == (137, ["post [watchdog] [killed] [KILL]"])


def test_a_service_can_call_the_watchdog_itself(tmp_path: Path) -> None:
    body = 'tell("READY=1"); tell("WATCHDOG=trigger"); wait()'
    status, words = outcome(tmp_path, *service(tmp_path, body))
    assert status == 134
    assert words[-1] in ABORTED


def test_a_service_can_call_the_watchdog_while_it_starts(tmp_path: Path) -> None:
    status, words = outcome(tmp_path, *service(tmp_path, 'tell("WATCHDOG=trigger"); wait()'))
    assert status == 134
    assert words[-1] in ABORTED


def test_a_service_can_shorten_its_interval(tmp_path: Path) -> None:
    body = 'tell("READY=1"); tell("WATCHDOG_USEC=200000"); wait()'
    _, words = outcome(tmp_path, *service(tmp_path, body, "WatchdogSec=1h"))
    assert words[-1] in ABORTED


@pytest.mark.parametrize(
    ("message", "seconds", "line"),
    [  # also in the message that says it has started
        ("WATCHDOG_USEC=3600000000", 1, "WatchdogSec=500ms"),
        ("WATCHDOG_USEC=0", 1, "WatchdogSec=500ms"),
        ("EXTEND_TIMEOUT_USEC=60000000", 2, "WatchdogSec=1500ms"),
        ("EXTEND_TIMEOUT_USEC=60000000", 2, "RuntimeMaxSec=1500ms"),
    ],
)
def test_a_service_can_ask_for_more_time_to_live(message: str, seconds: int, line: str, tmp_path: Path) -> None:
    body = f'tell("READY=1", "{message}"); time.sleep({seconds}); say("alive"); wait()'
    with kept(tmp_path, *service(tmp_path, body, line)) as supervisor:
        supervisor.wait_log("alive")


def test_the_interval_of_the_unit_holds_again_after_a_restart(tmp_path: Path) -> None:
    body = """
        tell("READY=1", *(["WATCHDOG_USEC=3600000000"] if first_time() else []))
        if (folder / "second").exists():
            wait()
        (folder / "second").touch()
        sys.exit(1)
    """
    lines = service(tmp_path, body, "WatchdogSec=300ms", "Restart=on-failure", "RestartSec=0")
    with kept(tmp_path, *lines) as supervisor:
        supervisor.wait_log("post [watchdog]")
        assert starts(supervisor) == 2


@pytest.mark.parametrize(("policy", "again"), [("on-watchdog", True), ("on-abnormal", True), ("on-abort", False), ("no", False)])
def test_a_restart_after_the_watchdog_depends_on_the_policy(policy: str, again: bool, tmp_path: Path) -> None:
    body = 'say("started"); tell("READY=1"); first_time() or tell("WATCHDOG_USEC=0"); wait()'
    lines = service(tmp_path, body, "WatchdogSec=300ms", f"Restart={policy}", "RestartSec=0")
    (unit,) = write_units(tmp_path, {"one.service": text(*lines)})
    with supervised(unit) as supervisor:
        if again:
            supervisor.wait_log("started, pid", 2)
        else:
            assert supervisor.wait() == 134
            assert starts(supervisor) == 1


def test_a_service_that_is_being_stopped_is_not_watched(tmp_path: Path) -> None:
    body = 'on("TERM", lambda: (time.sleep(0.8), say("done"), os._exit(0))); tell("READY=1"); say("up"); wait()'
    with kept(tmp_path, *service(tmp_path, body, "WatchdogSec=400ms")) as supervisor:
        supervisor.wait_line("up")
        assert supervisor.end() == 0
        assert said(supervisor) == ["up", "done", "post [success] [exited] [0]"]


def test_a_service_is_watched_while_it_reloads(tmp_path: Path) -> None:
    body = 'tell("READY=1"); tell("RELOADING=1"); wait()'
    _, words = outcome(tmp_path, *service(tmp_path, body, "WatchdogSec=300ms"))
    assert words[-1] in ABORTED


# --- other limits of time


def test_a_service_that_runs_for_too_long_is_stopped_as_a_failure(tmp_path: Path) -> None:
    lines = ("ExecStart=/bin/sleep 1000", "RuntimeMaxSec=200ms", "ExecStop=/bin/echo stop", POST)
    status, words = outcome(tmp_path, *lines)
    assert (status != 0, words) == (True, ["stop", "post [timeout] [killed] [TERM]"])


def test_the_time_to_run_is_not_reset_by_a_reload(tmp_path: Path) -> None:
    body = 'tell("READY=1")\nwhile True:\n    time.sleep(0.05); tell("RELOADING=1"); tell("READY=1")'
    status, words = outcome(tmp_path, *service(tmp_path, body, "RuntimeMaxSec=1s"))
    assert (status != 0, words) == (True, ["post [timeout] [killed] [TERM]"])


@pytest.mark.parametrize(("asked", "seconds", "limit"), [(60_000_000, 2, "1500ms"), (1, 0.5, "60s"), (1, 0.5, "infinity")])
def test_more_time_to_start_can_be_asked_for_and_asking_takes_none_away(
    asked: int, seconds: float, limit: str, tmp_path: Path
) -> None:
    body = f'tell("EXTEND_TIMEOUT_USEC={asked}"); time.sleep({seconds}); tell("READY=1"); wait()'
    with kept(tmp_path, *service(tmp_path, body, f"TimeoutStartSec={limit}")) as supervisor:
        supervisor.wait_log("is running")


def test_who_asked_for_more_time_and_does_not_use_it_is_ended_all_the_same(tmp_path: Path) -> None:
    body = 'tell("EXTEND_TIMEOUT_USEC=300000"); wait()'
    _, words = outcome(tmp_path, *service(tmp_path, body, "TimeoutStartSec=250ms"))
    assert words == ["post [timeout] [killed] [TERM]"]


@pytest.mark.parametrize("announced", ["", "STOPPING=1"])
def test_more_time_to_stop_can_be_asked_for(announced: str, tmp_path: Path) -> None:
    body = f"""
        def stop():
            tell("EXTEND_TIMEOUT_USEC=60000000", "{announced}")
            time.sleep(2)
            say("done")
            os._exit(0)
        on("TERM", stop); tell("READY=1"); say("up"); wait()
    """
    with kept(tmp_path, *service(tmp_path, body, "TimeoutStopSec=1500ms")) as supervisor:
        supervisor.wait_line("up")
        assert supervisor.end() == 0
        assert said(supervisor) == ["up", "done", "post [success] [exited] [0]"]


def test_who_stops_by_himself_may_ask_for_more_time_in_the_same_breath(tmp_path: Path) -> None:
    body = 'tell("READY=1"); tell("STOPPING=1", "EXTEND_TIMEOUT_USEC=60000000"); time.sleep(2); say("done")'
    status, words = outcome(tmp_path, *service(tmp_path, body, "TimeoutStopSec=1500ms"))
    assert (status, words) == (0, ["done", "post [success] [exited] [0]"])


@pytest.mark.parametrize("number", ["", "x", "-1", "1e6", "99999999999999999999999", "18446744073709551615"])
def test_numbers_that_make_no_sense_are_harmless(number: str, tmp_path: Path) -> None:
    body = f"""
        for name in ("EXTEND_TIMEOUT_USEC", "WATCHDOG_USEC", "MAINPID", "ERRNO", "MONOTONIC_USEC"):
            tell(f"{{name}}={number}")
        tell("READY=1"); barrier(); say("still here"); wait()
    """
    with kept(tmp_path, *service(tmp_path, body, "WatchdogSec=1h", "TimeoutStartSec=1min")) as supervisor:
        supervisor.wait_log("still here")
        supervisor.wait_log("is running")
        assert not any("internal error" in line for line in supervisor.log)
