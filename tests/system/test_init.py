"""As PID 1 of a container: signals that have no default there are handled, orphans are reaped, the exit status passes through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab import PATIENCE, PROBE, Supervisor, alive, ask, children, command, descendants, eventually, free_port, write_units

NAMESPACE = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"]


def impossible() -> str:
    """Why no namespace of processes can be made here."""
    if os.geteuid() != 0:
        return "only root can make a namespace of processes"
    try:
        done = subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        return "unshare(1) is missing (apt-get install util-linux)"
    return done.stderr if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(impossible()), reason=impossible() or "it is possible")


class Init:
    """A supervisor that is PID 1 in its namespace, seen from outside."""

    def __init__(self, outer: Supervisor) -> None:
        self.outer = outer
        (self.pid,) = children(outer.pid)

    def end(self, number: int) -> int:
        """What the namespace ends with, once its PID 1 got this signal."""
        os.kill(self.pid, number)
        return self.outer.wait()


@contextmanager
def as_init(*units: Path, arguments: Sequence[str] = (), prefix: Sequence[str] = ()) -> Iterator[Init]:
    """A supervisor that is PID 1; `prefix` is run in its namespace and becomes it."""
    outer = Supervisor([*NAMESPACE, *prefix, *command(*units, arguments=arguments)])
    try:
        outer.wait_log("ready: ")
        yield Init(outer)
    finally:
        # The end of PID 1 is the end of everything in its namespace.
        for pid in children(outer.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        outer.wait()


def zombies(pid: int) -> set[int]:
    return {child for child in descendants(pid) if Path(f"/proc/{child}").exists() and not alive(child)}


@pytest.fixture
def port() -> int:
    return free_port()


def serving(folder: Path, port: int, command: str = f"{PROBE} answer session") -> Path:
    files = {"one.socket": f"[Socket]\nListenStream=127.0.0.1:{port}", "one.service": f"[Service]\nExecStart={command}"}
    return write_units(folder, files)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_pid_1_stops_when_it_is_asked_to(number: signal.Signals, tmp_path: Path, port: int) -> None:
    with as_init(serving(tmp_path, port)) as init:
        found = ask(("127.0.0.1", port))
        assert found["session"]["parent"] == 1
        assert init.end(number) == 0
        assert any("ended: killed by SIGTERM" in line for line in init.outer.log), "the service was asked before it was over"


def test_a_second_request_hurries_pid_1(tmp_path: Path) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    (tmp_path / "deaf").write_text(script)
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nTimeoutStopSec=infinity\nExecStart=/bin/sh {tmp_path}/deaf"})
    with as_init(unit) as init:
        init.outer.wait_log("deaf")
        os.kill(init.pid, signal.SIGTERM)
        init.outer.wait_log("SIGTERM: stopping")
        assert init.end(signal.SIGTERM) == 0


def test_signals_that_nobody_handles_do_no_harm(tmp_path: Path, port: int) -> None:
    with as_init(serving(tmp_path, port)) as init:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGWINCH):
            os.kill(init.pid, number)
        assert ask(("127.0.0.1", port))["got"] == "hello"
        assert init.end(signal.SIGTERM) == 0


def test_orphans_are_reaped(tmp_path: Path) -> None:
    """Each round leaves a process that has left its group too, and that ends some time after its parent."""
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sh -c 'sleep 0.1' &); done; echo all are born; exec sleep 1000"
    (tmp_path / "parent").write_text(script)
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nExecStart=/bin/sh {tmp_path}/parent"})
    with as_init(unit) as init:
        init.outer.wait_log("all are born")
        (main,) = (int(line.rpartition(" ")[2]) for line in init.outer.wait_log("started, pid"))
        assert main > 1
        eventually(lambda: len(descendants(init.pid)) == 1, "only the main process is left")
        assert not zombies(init.pid)
        assert init.end(signal.SIGTERM) == 0


def test_the_exit_status_of_the_service_passes_through(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": "[Service]\nExecStart=/bin/sh -c 'exit 42'"})
    done = subprocess.run([*NAMESPACE, *command(unit)], check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 42, done.stderr


def test_the_signal_of_the_service_passes_through(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.service": "[Service]\nExecStart=/bin/sh -c 'kill -SEGV $$$$'"})
    done = subprocess.run([*NAMESPACE, *command(unit)], check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 128 + signal.SIGSEGV, done.stderr


def test_a_failure_to_start_passes_through(tmp_path: Path) -> None:
    (unit,) = write_units(tmp_path, {"one.socket": "[Socket]\nListenStream=nowhere"})
    done = subprocess.run([*NAMESPACE, *command(unit)], check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_the_listen_pid_is_that_of_the_namespace(tmp_path: Path, port: int) -> None:
    with as_init(serving(tmp_path, port, f"{PROBE} answer activation")) as init:
        found = ask(("127.0.0.1", port))
        assert found["activation"]["LISTEN_PID"] == str(found["pid"])
        assert init.end(signal.SIGTERM) == 0


def test_a_notification_names_its_sender_across_the_namespace(tmp_path: Path) -> None:
    script = f"{sys.executable} -I -S {Path(__file__).parent}/services/notify.py READY=1 wait"
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nType=notify\nExecStart={script}"})
    with as_init(unit) as init:
        init.outer.wait_log("one.service: ready")
        assert init.end(signal.SIGTERM) == 0
