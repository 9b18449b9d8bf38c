"""--strict, --exit and --forward of `sockact start`, and what it says of units that are left out."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab import PATIENCE, command, connect, free_port, refused, started, write_units

WAITS = "[Service]\nExecStart=/bin/sleep 1000\n"


def shell(script: str, *lines: str) -> str:
    return "\n".join(["[Service]", f"ExecStart=/bin/sh -c '{script}'", *lines, ""])


def counting(name: str) -> str:
    """A service that says which signals it got, and is ready when it listens for them."""
    script = "".join(f'trap "echo {name} got {signal}" {signal}; ' for signal in ("USR1", "USR2", "HUP", "INT", "WINCH"))
    return shell(f"{script}echo {name} listens; while :; do sleep 0.01; done")


def told(*arguments: str, units: tuple[Path, ...]) -> tuple[int, str]:
    """How `sockact start` ends by itself, and what it said."""
    words = command(*units, arguments=arguments)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# --strict


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[Unit]\nCollectMode=inactive\n", "note[SA008]"),
        ("[Unit]\nWants=none.service\n", "note[SA009]"),
        ("[Unit]\nColectMode=inactive\n", "warning[SA007]"),
    ],
)
def test_strict_does_not_start_with_anything_to_tell(lines: str, said: str, tmp_path: Path) -> None:
    node = tmp_path / "a.sock"
    unit, _ = write_units(tmp_path, {"a.socket": f"{lines}[Socket]\nListenStream={node}\n", "a.service": WAITS})
    assert said in refused(unit, arguments=["--strict"])
    assert not node.exists()
    with started(unit):
        assert node.exists()


def test_strict_is_content_with_units_without_findings(tmp_path: Path) -> None:
    unit, _ = write_units(tmp_path, {"a.socket": f"[Socket]\nListenStream={tmp_path}/a.sock\n", "a.service": WAITS})
    with started(unit, arguments=["--strict"]):
        pass


def test_what_is_left_out_is_said_at_the_start(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"a.service": f"[Unit]\nWants=none.service x.mount\n{WAITS}"})
    with started(unit) as supervisor:
        (line,) = supervisor.wait_log("left out")
    assert line.endswith("a.service: not given to sockact, and left out: none.service, x.mount")


# --exit


@pytest.mark.parametrize("status", [0, 3])
def test_with_first_it_ends_with_the_first_service(status: int, tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": WAITS, "b.service": shell(f"exit {status}"), "c.service": WAITS})
    assert told("--exit=first", units=tuple(units))[0] == status


def test_with_the_name_of_a_service_it_ends_with_that_one(tmp_path: Path) -> None:
    last = shell(f"until test -e {tmp_path}/done; do sleep 0.01; done; exit 7")
    (a, b, c) = write_units(
        tmp_path,
        {"a.service": shell("exit 3", f"ExecStopPost=/bin/touch {tmp_path}/done"), "b.service": last, "c.service": WAITS},
    )
    status, said = told("--exit=b.service", units=(a, b, c))
    assert status == 7
    assert "b.service: --exit=b.service: ending with status 7" in said


def test_one_that_is_restarted_has_not_ended(tmp_path: Path) -> None:
    script = f"echo x >>{tmp_path}/runs; test $(wc -l <{tmp_path}/runs) -lt 3 && exit 1; exit 0"
    (unit,) = write_units(tmp_path, {"a.service": shell(script, "Restart=on-failure", "RestartSec=0")})
    assert told("--exit=a.service", units=(unit,))[0] == 0
    assert (tmp_path / "runs").read_text() == "x\n" * 3


def test_one_that_a_condition_skips_has_not_ended(tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": f"[Unit]\nConditionPathExists=/no/such\n{WAITS}", "b.service": shell("exit 4")})
    status, said = told("--exit=first", units=tuple(units))
    assert status == 4
    assert "a.service: not started: ConditionPathExists=/no/such does not hold" in said


def test_an_instance_may_be_the_first(tmp_path: Path) -> None:
    port = free_port()
    unit, _ = write_units(
        tmp_path,
        {"a.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n", "a@.service": shell("exit 5")},
    )
    with started(unit, arguments=["--exit=first"], status=5) as supervisor:
        connect(("127.0.0.1", port)).close()
        assert supervisor.process.wait(PATIENCE) == 5


def test_by_default_it_ends_when_all_have(tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": shell("exit 0"), "b.service": shell("sleep 0.2; exit 6")})
    status, said = told(units=tuple(units))
    assert status == 6
    assert said.index("ended: exit status 0") < said.index("ended: exit status 6")
    assert told("--exit=all", units=tuple(units))[0] == 6


def test_what_a_unit_says_goes_before(tmp_path: Path) -> None:
    text = f"[Unit]\nFailureAction=exit\nFailureActionExitStatus=9\n{shell('exit 3')}"
    units = write_units(tmp_path, {"a.service": text, "b.service": WAITS})
    assert told("--exit=first", units=tuple(units))[0] == 9
    assert told(units=tuple(units))[0] == 9


@pytest.mark.parametrize("option", ["--exit=b.service", "--exit=a.socket", "--forward=b.service:USR1"])
def test_a_service_that_is_not_there_is_wrong_usage(option: str, tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"a.service": WAITS})
    status, said = told(option, units=(unit,))
    assert status == 2
    assert f"no service is named {option.partition('=')[2].partition(':')[0]} here" in said


# --forward


def test_a_signal_is_forwarded_to_all_and_does_nothing_else(tmp_path: Path) -> None:
    units = write_units(tmp_path, {"a.service": counting("a"), "b.service": counting("b")})
    with started(*units, arguments=["--forward=USR1", "--forward=WINCH=USR2", "--forward=a.service:HUP"]) as supervisor:
        supervisor.wait_log("listens", 2)
        for number, words in ((signal.SIGUSR1, "got USR1"), (signal.SIGWINCH, "got USR2")):
            supervisor.process.send_signal(number)
            assert {line.rpartition(words)[0].split()[-1] for line in supervisor.wait_log(words, 2)} == {"a", "b"}
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_log("a got HUP")
        assert not [line for line in supervisor.log if "b got HUP" in line or "reloading" in line]


def test_a_signal_that_stops_all_may_be_forwarded_instead(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"a.service": counting("a")})
    with started(unit, arguments=["--forward=INT"]) as supervisor:
        supervisor.wait_log("listens")
        supervisor.process.send_signal(signal.SIGINT)
        supervisor.wait_log("got INT")
        assert supervisor.process.poll() is None


def test_all_are_forwarded_that_are_of_no_use(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"a.service": counting("a")})
    with started(unit, arguments=["--forward=all"]) as supervisor:
        supervisor.wait_log("listens")
        for number, words in ((signal.SIGUSR2, "got USR2"), (signal.SIGWINCH, "got WINCH")):
            supervisor.process.send_signal(number)
            supervisor.wait_log(words)
