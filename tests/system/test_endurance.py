"""What must hold in the long run: nobody is refused while services die, and nothing piles up in the supervisor."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from sockact.runtime.spawn import EXECUTOR_VARIABLE
from tests.lab import PATIENCE, SERVICES, Supervisor, children, eventually, free_port, started, write_units

ECHO = f"{sys.executable} -I -S {SERVICES}/pid.py"
UNLIMITED = "[Unit]\nStartLimitIntervalSec=0\n[Service]\n"
CLIENTS = 4


@pytest.fixture
def port() -> int:
    return free_port()


# --- no client is refused


class Load:
    """Clients that call all the time, each until it is answered, and note what happened to them."""

    def __init__(self, call: Callable[[], int]) -> None:
        self.call = call
        self.counts = Counter[str]()
        self.over = threading.Event()
        self.news = threading.Condition()
        self.pid = 0
        """The service that answered last."""

    def run(self) -> None:
        while not self.over.is_set():
            self.one_client()

    def one_client(self) -> None:
        """A client that is cut off by the death of the service calls again; one that is refused must not exist."""
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline:
            try:
                pid = self.call()
            except (ConnectionRefusedError, FileNotFoundError, TimeoutError) as error:
                self.counts[type(error).__name__] += 1
                return
            except (ConnectionResetError, BrokenPipeError, EOFError):
                self.counts["cut off"] += 1
                continue
            self.counts["answered"] += 1
            with self.news:
                self.pid = pid
                self.news.notify_all()
            return
        self.counts["never answered"] += 1

    def wait_for_another(self, pid: int) -> int:
        """Wait until another service than this one answers."""
        with self.news:
            assert self.news.wait_for(lambda: self.pid != pid, PATIENCE), f"nobody but {pid} answers: {self.counts}"
            return self.pid


@contextmanager
def calling(call: Callable[[], int]) -> Iterator[Load]:
    load = Load(call)
    threads = [threading.Thread(target=load.run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(2 * PATIENCE)


def question(family: int, address: object) -> Callable[[], int]:
    """A call: connect, say something, and be told a pid."""

    def call() -> int:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(address)  # type: ignore[arg-type]
            client.sendall(b"hello\n")
            data = client.makefile().readline()
            if not data:
                raise EOFError
            return int(data)

    return call


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Trial:
    """A way of dying and of coming back; each executor of child plans has one."""

    family: socket.AddressFamily
    restart: str
    executor: str
    kills: int


TRIALS = {
    "started by its clients": Trial(socket.AF_INET, "Restart=no", "vfork", 200),
    "restarted by itself": Trial(socket.AF_UNIX, "Restart=always\nRestartSec=0", "fork", 100),
}


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_nobody_is_refused_while_the_service_is_killed_again_and_again(trial: Trial, tmp_path: Path, port: int) -> None:
    """Every other time the next service is killed, too, right after it was started, at any step of its start."""
    path = f"{tmp_path}/node"
    place = f"127.0.0.1:{port}" if trial.family == socket.AF_INET else path
    files = {
        "one.socket": f"[Socket]\nListenStream={place}\nTriggerLimitIntervalSec=0",
        "one.service": f"{UNLIMITED}{trial.restart}\nExecStart={ECHO}",
    }
    call = question(trial.family, ("127.0.0.1", port) if trial.family == socket.AF_INET else path)
    dice = random.Random(4711)
    environment = {EXECUTOR_VARIABLE: trial.executor}
    with started(write_units(tmp_path, files)[0], environment=environment) as supervisor, calling(call) as load:
        pid = load.wait_for_another(0)
        for count in range(trial.kills):
            kill(pid)
            if count % 2:
                kill(newest(supervisor, count, dice))
            pid = load.wait_for_another(pid)
    assert load.counts.keys() <= {"answered", "cut off"}, load.counts
    assert load.counts["answered"] > trial.kills
    assert sum("killed by SIGKILL" in line for line in supervisor.log) >= trial.kills


def newest(supervisor: Supervisor, count: int, dice: random.Random) -> int:
    """The pid of a service that was started after the kill before."""
    lines = supervisor.wait_log("started, pid", count=count + 2)
    threading.Event().wait(dice.random() / 50)
    return int(lines[-1].rpartition(" ")[2])


# --- nothing piles up


class Audit:
    """What a supervisor has at a moment of rest."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.descriptors = sorted((int(link.name), os.readlink(link)) for link in Path(f"/proc/{supervisor.pid}/fd").iterdir())
        self.children = children(supervisor.pid)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audit) and (self.descriptors, self.children) == (other.descriptors, other.children)

    def __repr__(self) -> str:
        return f"{self.descriptors} {self.children}"

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("executor", ["vfork", "fork"])
def test_after_two_thousand_connections_and_fifty_restarts_the_supervisor_has_what_it_had(
    executor: str, tmp_path: Path, port: int
) -> None:
    """1,000 connections with an instance each, some refused by a limit, and 1,000 to services that are killed fifty times."""
    other = free_port()
    files = {
        "each.socket": f"[Socket]\nAccept=yes\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=0\nMaxConnections=6",
        "each@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/echo 1",
        "all.socket": f"[Socket]\nListenStream=127.0.0.1:{other}\nTriggerLimitIntervalSec=0",
        "all.service": f"{UNLIMITED}Type=notify\nNotifyAccess=main\nExecStart={ECHO}",
    }
    each, _, all_, _ = write_units(tmp_path, files)
    with started(each, all_, arguments=["--now"], environment={EXECUTOR_VARIABLE: executor}) as supervisor:
        burst(question(socket.AF_INET, ("127.0.0.1", port)), 20)
        kill_and_call(supervisor, question(socket.AF_INET, ("127.0.0.1", other)), 1, 1)
        stopped(supervisor)
        before = Audit(supervisor)
        answered = burst(question(socket.AF_INET, ("127.0.0.1", port)), 1000)
        kill_and_call(supervisor, question(socket.AF_INET, ("127.0.0.1", other)), 50, 20)
        stopped(supervisor)
        with suppress(AssertionError):
            eventually(lambda: Audit(supervisor) == before, "below is said what is different")
        assert Audit(supervisor) == before
    assert answered > 500


def burst(call: Callable[[], int], count: int) -> int:
    """Calls from eight clients at once; how many were answered, for some are refused by MaxConnections=."""

    def outcome(_: int) -> bool:
        try:
            return bool(call())
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return False

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(outcome, range(count)))


def kill_and_call(supervisor: Supervisor, call: Callable[[], int], kills: int, calls: int) -> None:
    for _ in range(kills):
        pids = {call() for _ in range(calls)}
        assert len(pids) == 1
        stop(supervisor, pids.pop())


def stop(supervisor: Supervisor, pid: int) -> None:
    kill(pid)
    eventually(lambda: pid not in children(supervisor.pid), "the service is reaped")


def stopped(supervisor: Supervisor) -> None:
    eventually(lambda: not children(supervisor.pid), "no process is left")
