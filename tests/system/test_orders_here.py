"""What `sockact start` is told to do besides running units, with real services: exit statuses, signals, actions."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab import PATIENCE, command, connect, eventually, started, write_units
from tests.services import acting, sh, supervised

WAITS = "[Service]\nExecStart=/bin/sleep 1000\n"
FAULTS = {signal.Signals[f"SIG{name}"].value for name in ("ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS")}
REFUSED = {int(signal.SIGKILL), int(signal.SIGSTOP), int(signal.SIGCHLD), int(signal.SIGTERM)} | FAULTS
SIGNALS = [*range(1, 32), *range(34, 65)]
FORWARDED = [number for number in SIGNALS if number not in REFUSED]
KEPT = {int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGQUIT), int(signal.SIGHUP)}


def ending(script: str, *lines: str, unit: str = "") -> str:
    return "\n".join([f"[Unit]\n{unit}\n[Service]", f"ExecStart={sh(script)}", *lines, ""])


def outcome(folder: Path, files: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """How `sockact start` ends by itself, and what it said."""
    with supervised(*write_units(folder, files), arguments=arguments) as supervisor:
        status = supervisor.wait()
    said = "\n".join(supervisor.log)
    assert "Traceback" not in said
    assert "internal error" not in said
    return status, said


# --- exit statuses

STATUSES = [0, 1, 2, 42, 126, 127, 128, 143, 200, 254, 255]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("option", ["--exit=all", "--exit=first", "--exit=a.service"])
def test_the_exit_status_of_the_service_is_that_of_sockact(option: str, status: int, tmp_path: Path) -> None:
    files = {"a.service": ending(f"exit {status}")}
    if option != "--exit=all":
        files["b.service"] = WAITS
    assert outcome(tmp_path, files, option)[0] == status


@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 13, 15, 31, 34, 64])
def test_a_death_by_signal_is_128_and_its_number(number: int, tmp_path: Path) -> None:
    status, said = outcome(
        tmp_path, {"a.service": ending(f"kill -{number} $$", "LimitCORE=0", "IgnoreSIGPIPE=no")}, "--exit=first"
    )
    assert status == 128 + number, said


def test_every_exit_status_comes_through_in_one_chain(tmp_path: Path) -> None:
    """A service that a failure starts again 256 times ends with each status once; the last one is the exit status."""
    count = f"n=$(cat {tmp_path}/n); echo $((n + 1)) >{tmp_path}/n; exit $n"
    (tmp_path / "n").write_text("0")
    text = ending(count, "Restart=always\nRestartSec=0\nRestartPreventExitStatus=255", unit="StartLimitIntervalSec=0")
    status, log = outcome(tmp_path, {"a.service": text})
    assert status == 255
    ends = [int(line.rpartition(" ")[2]) for line in log.splitlines() if ": exit status " in line]
    assert ends == list(range(256))


def test_what_counts_as_success_is_none_for_all_and_passes_for_first(tmp_path: Path) -> None:
    files = {"a.service": ending("exit 42", "SuccessExitStatus=42")}
    assert outcome(tmp_path, files)[0] == 0
    assert outcome(tmp_path, {**files, "b.service": WAITS}, "--exit=first")[0] == 42


@pytest.mark.parametrize("option", ["--exit=all", "--exit=first", "--exit=a.service"])
def test_a_request_to_stop_ends_well_whatever_ends_it(option: str, tmp_path: Path) -> None:
    script = 'trap "exit 9" TERM; echo listens; while :; do sleep 0.01; done'
    with started(*write_units(tmp_path, {"a.service": ending(script)}), arguments=[option]) as supervisor:
        supervisor.wait_log("listens")
        assert supervisor.end() == 0


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("ExecStartPre=/bin/sh -c 'exit 7'\nExecStart=/bin/sleep 1000", 7),
        ("ExecStartPre=/bin/rm {folder}/program\nExecStart={folder}/program", 203),
        ("ExecStartPre=/bin/rmdir {folder}/folder\nExecStart=/bin/sleep 1000\nWorkingDirectory={folder}/folder", 200),
        ("Type=forking\nExecStart=/bin/sh -c 'exit 8'", 8),
        ("Type=notify\nExecStart=/bin/true", 1),
        ("Type=notify\nTimeoutStartSec=50ms\nExecStart=/bin/sleep 1000", 143),
        ("Type=oneshot\nExecStart=/bin/true\nExecStart=/bin/sh -c 'exit 6'", 6),
        ("Type=exec\nExecCondition=/bin/sh -c 'exit 255'\nExecStart=/bin/sleep 1000", 255),
    ],
)
def test_a_service_that_does_not_come_up_has_ended_too(lines: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "program").symlink_to("/bin/true")
    (tmp_path / "folder").mkdir()
    files = {"a.service": f"[Service]\n{lines.format(folder=tmp_path)}\n", "b.service": WAITS}
    assert outcome(tmp_path, files, "--exit=a.service")[0] == status


def test_one_that_is_not_started_for_whom_it_needs_has_ended_too(tmp_path: Path) -> None:
    files = {
        "a.service": ending("exit 5", "Type=oneshot"),
        "b.service": f"[Unit]\nRequires=a.service\nAfter=a.service\n{WAITS}",
        "c.service": WAITS,
    }
    status, log = outcome(tmp_path, files, "--exit=b.service")
    assert "b.service: error: not started" in log
    assert status == 1


# --- forwarding


RECORDER = """
    import signal
    for number in signal.valid_signals() - {{9, 15, 17, 19}}:
        signal.signal(number, lambda number, frame: say('{name} got', number))
    say('{name} listens')
    wait()
"""


def recorder(folder: Path, name: str) -> str:
    """A service that says which signals it gets, by number."""
    return f"[Service]\nExecStart={acting(folder, RECORDER.format(name=name), name)}\n"


def test_every_signal_that_may_be_forwarded_is(tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": recorder(tmp_path, "a")})
    with started(*units, arguments=[f"--forward={number}" for number in FORWARDED]) as supervisor:
        supervisor.wait_log("a listens")
        for count, number in enumerate(FORWARDED, 1):
            os.kill(supervisor.pid, number)
            assert supervisor.wait_log("a got", count)[-1] == f"a got {number}"
        assert not any("stopping" in line or "reloading" in line for line in supervisor.log)


def test_all_forwards_every_signal_but_those_that_sockact_needs(tmp_path: Path) -> None:
    """Nor what the kernel sends for what sockact itself does at its log: SIGPIPE, SIGTTIN, SIGTTOU."""
    ours = {int(signal.SIGPIPE), int(signal.SIGTTIN), int(signal.SIGTTOU)}
    wanted = [number for number in FORWARDED if number not in KEPT | ours]
    units = write_units(tmp_path, {"a.service": recorder(tmp_path, "a")})
    with started(*units, arguments=["--forward=all"]) as supervisor:
        supervisor.wait_log("a listens")
        for count, number in enumerate(wanted, 1):
            os.kill(supervisor.pid, number)
            assert supervisor.wait_log("a got", count)[-1] == f"a got {number}"
        os.kill(supervisor.pid, signal.SIGHUP)
        supervisor.wait_log("SIGHUP: reloading")


def test_the_end_of_the_log_is_no_signal_for_the_services(tmp_path: Path) -> None:
    """Writing to a pipe that nobody reads is SIGPIPE for sockact; with --forward=all it would be one for the services, too."""
    (tmp_path / "live").write_text("trap 'echo pipe >pipe' PIPE; echo x >up; while :; do sleep 0.01; done\n")
    text = (
        f"[Service]\nWorkingDirectory={tmp_path}\nExecReload=/bin/sh -c 'echo x >>reloaded'\nExecStart=/bin/sh {tmp_path}/live\n"
    )
    (unit,) = write_units(tmp_path, {"a.service": f"{text}StandardError=null\nStandardOutput=null\nIgnoreSIGPIPE=no\n"})
    reader, writer = os.pipe()
    # Under nohup(1), SIGHUP is not for sockact.
    words = ["/usr/bin/env", "--default-signal=HUP", *command(unit, arguments=["--forward=all", "-v"])]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer) as process:
        try:
            os.close(writer)
            wait_for(tmp_path / "up")
            os.close(reader)
            process.send_signal(signal.SIGHUP)
            wait_for(tmp_path / "reloaded")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert not (tmp_path / "pipe").exists()


def wait_for(path: Path) -> None:
    eventually(path.exists, f"{path.name} is there")


@pytest.mark.parametrize(("asked", "sent"), [("USR1=USR2", "12"), ("RTMIN+3=HUP", "1"), ("HUP=RTMAX", "64"), ("INT=QUIT", "3")])
def test_a_signal_is_forwarded_as_another(asked: str, sent: str, tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": recorder(tmp_path, "a")})
    name = asked.partition("=")[0]
    number = 37 if name == "RTMIN+3" else int(signal.Signals[f"SIG{name}"])
    with started(*units, arguments=[f"--forward={asked}"]) as supervisor:
        supervisor.wait_log("a listens")
        os.kill(supervisor.pid, number)
        assert supervisor.wait_log("a got") == [f"a got {sent}"]


def test_one_signal_may_become_several_for_several(tmp_path: Path) -> None:
    units = write_units(tmp_path, {f"{name}.service": recorder(tmp_path, name) for name in "abc"})
    with started(*units, arguments=["--forward=a.service:USR1", "--forward=b.service:USR1=WINCH"]) as supervisor:
        supervisor.wait_log("listens", 3)
        os.kill(supervisor.pid, signal.SIGUSR1)
        supervisor.wait_log("got", 2)
        os.kill(supervisor.pid, signal.SIGHUP)
        supervisor.wait_log("SIGHUP: reloading")
        assert sorted(line for line in supervisor.log if " got " in line) == ["a got 10", "b got 28"]


def test_a_signal_before_the_service_runs_is_no_harm_and_one_after_its_restart_reaches_it(tmp_path: Path) -> None:
    files = {"a.socket": f"[Socket]\nListenStream={tmp_path}/node\n", "a.service": f"{recorder(tmp_path, 'a')}Restart=always\n"}
    a, _ = write_units(tmp_path, files)
    with started(a, arguments=["--forward=USR1", "--forward=USR2=KILL"]) as supervisor:
        os.kill(supervisor.pid, signal.SIGUSR1)
        with connect(f"{tmp_path}/node"):
            supervisor.wait_log("a listens")
            os.kill(supervisor.pid, signal.SIGUSR2)
            supervisor.wait_log("a listens", 2)
            os.kill(supervisor.pid, signal.SIGUSR1)
            assert supervisor.wait_log("a got") == ["a got 10"]


@pytest.mark.parametrize(
    "text", [*map(str, sorted(REFUSED)), "0", "32", "33", "65", "USR1=32", "NONE", "SIGUSR3", "USR1=", "=USR1", "", ":"]
)
def test_what_cannot_be_forwarded_is_wrong_usage(text: str, tmp_path: Path) -> None:
    status, said = outcome(tmp_path, {"a.service": WAITS}, f"--forward={text}")
    assert status == 2
    assert f"--forward={text}" in said
    assert "started" not in said


# --- actions


@pytest.mark.parametrize("action", ["exit", "exit-force"])
@pytest.mark.parametrize(("status", "key"), [(3, "Failure"), (0, "Success")])
@pytest.mark.parametrize("given", ["", "77"])
def test_the_end_of_a_service_is_that_of_all(action: str, status: int, key: str, given: str, tmp_path: Path) -> None:
    other = "Success" if key == "Failure" else "Failure"
    lines = f"{key}Action={action}\n{key}ActionExitStatus={given}\n{other}Action=none\n{other}ActionExitStatus=99"
    files = {"a.service": ending(f"exit {status}", unit=lines), "b.service": WAITS}
    found, said = outcome(tmp_path, files)
    wanted = int(given) if given else status
    assert found == wanted
    assert f"a.service: its end is {action} for all: ending with status {wanted}" in said
    assert ("b.service: warning: ended: killed by SIGKILL" in said) == (action == "exit-force")


@pytest.mark.parametrize(("status", "key"), [(0, "Failure"), (3, "Success")])
def test_an_action_for_the_other_end_is_none(status: int, key: str, tmp_path: Path) -> None:
    files = {"a.service": ending(f"exit {status}", unit=f"{key}Action=exit\n{key}ActionExitStatus=77")}
    found, said = outcome(tmp_path, files)
    assert found == status
    assert "for all" not in said


@pytest.mark.parametrize("action", ["exit", "exit-force"])
@pytest.mark.parametrize(("given", "wanted"), [("", 5), ("FailureActionExitStatus=66", 66)])
def test_the_start_limit_may_end_all(action: str, given: str, wanted: int, tmp_path: Path) -> None:
    unit = f"StartLimitBurst=2\nStartLimitIntervalSec=1h\nStartLimitAction={action}\n{given}"
    files = {"a.service": ending("exit 5", "Restart=always\nRestartSec=10ms", unit=unit), "b.service": WAITS}
    found, said = outcome(tmp_path, files)
    assert found == wanted
    assert said.count("a.service: started, pid") == 2
    assert f"its end is {action} for all" in said


@pytest.mark.parametrize(("mode", "status"), [("direct", 4), ("normal", 5), ("debug", 5)])
def test_one_that_is_restarted_takes_no_action_yet_if_nobody_is_told(mode: str, status: int, tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; exit 5"
    again = f"Restart=on-failure\nRestartSec=0\nRestartMode={mode}"
    text = ending(script, again, unit="FailureAction=exit-force\nSuccessAction=exit\nSuccessActionExitStatus=4")
    assert outcome(tmp_path, {"a.service": text, "b.service": WAITS})[0] == status


def test_the_first_end_that_counts_is_not_one_before_a_restart(tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/second && exit 6; touch {tmp_path}/second; exit 5"
    files = {"a.service": ending(script, "Restart=on-failure\nRestartPreventExitStatus=6\nRestartSec=0"), "b.service": WAITS}
    assert outcome(tmp_path, files, "--exit=first")[0] == 6


@pytest.mark.parametrize("lines", ["", "ExecStop=/bin/true", "ExecStartPre=/bin/true"])
def test_a_service_may_have_nothing_to_do_but_to_end_all(lines: str, tmp_path: Path) -> None:
    unit = f"[Unit]\nAfter=b.service\nSuccessAction=exit\nSuccessActionExitStatus=9\n[Service]\n{lines}\n"
    status, said = outcome(tmp_path, {"a.service": unit, "b.service": WAITS})
    assert status == 9
    assert "b.service: started" in said


@pytest.mark.parametrize("lines", ["ConditionPathExists=/no/such\n[Service]\n", "\n[Service]\nExecCondition=/bin/false\n"])
def test_a_service_that_is_skipped_ends_nothing(lines: str, tmp_path: Path) -> None:
    unit = f"[Unit]\nSuccessAction=exit\nSuccessActionExitStatus=9\n{lines}"
    assert outcome(tmp_path, {"a.service": unit})[0] == 0


def test_a_failure_without_a_status_is_still_one(tmp_path: Path) -> None:
    """It ended with 0 before it was ready."""
    text = "[Unit]\nFailureAction=exit\n[Service]\nType=notify\nExecStart=/bin/true\n"
    assert outcome(tmp_path, {"a.service": text, "b.service": WAITS})[0] == 1


def test_exit_force_waits_for_nobody(tmp_path: Path) -> None:
    deaf = sh("trap : TERM; echo deaf; while :; do sleep 0.02; done")
    files = {
        "b.service": f"[Service]\nType=notify\nNotifyAccess=all\nTimeoutStopSec=infinity\nExecStart={deaf}\n",
        "a.service": ending("sleep 0.2; exit 3", unit="FailureAction=exit-force"),
    }
    assert outcome(tmp_path, files)[0] == 3


def test_who_still_waits_when_all_end_by_force_is_never_started(tmp_path: Path) -> None:
    files = {
        "b.service": f"[Unit]\nAfter=a.service\n{WAITS}",
        "a.service": ending("exit 3", "Type=oneshot", unit="FailureAction=exit-force"),
    }
    status, said = outcome(tmp_path, files)
    assert status == 3
    assert "b.service: started" not in said


def test_the_failure_of_a_socket_may_end_all(tmp_path: Path) -> None:
    lines = "FailureAction=exit\nFailureActionExitStatus=45"
    files = {
        "a.socket": f"[Unit]\n{lines}\n[Socket]\nListenStream={tmp_path}/node\nTriggerLimitBurst=1\n",
        "a.service": ending("exit 0"),
        "b.service": WAITS,
    }
    a, _, b = write_units(tmp_path, files)
    with started(a, b, status=45) as supervisor:
        with connect(f"{tmp_path}/node"):
            supervisor.wait_log("a.socket: its end is exit for all")
        assert supervisor.wait() == 45


def test_a_socket_that_cannot_be_opened_may_tell_the_exit_status(tmp_path: Path) -> None:
    lines = "FailureAction=exit\nFailureActionExitStatus=45"
    files = {"a.service": WAITS, "a.socket": f"[Unit]\n{lines}\n[Socket]\nListenStream=/proc/no/such\n"}
    assert outcome(tmp_path, files)[0] == 45
