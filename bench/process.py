"""Processes under measurement: started, watched through /proc, always ended.

Whatever is read here is read from outside, so that every peer is watched in the same way and none is slowed down by it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import IO

PATIENCE = 10.0
"""Seconds after which a peer that does nothing counts as failed."""

QUIET_LOOKS = 5
"""So many looks in a row, `LOOK_EVERY` apart, must find every process asleep before a supervisor counts as idle."""

LOOK_EVERY = 0.004
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""PYTHONDONTWRITEBYTECODE= above all: an installed package has its bytecode, and it is the start of that which is measured."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class SampleFailedError(Exception):
    """A peer did not do what is measured; the run goes on without it."""


class Running:
    """A started peer and what it has said on standard error."""

    def __init__(self, command: Sequence[str], complaints: IO[bytes]) -> None:
        self._complaints = complaints
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def failed(self, what: str) -> SampleFailedError:
        """An error that carries the peer's own last words."""
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").strip().splitlines()
        return SampleFailedError(f"{what}; its last words: {words[-1]}" if words else what)

    def wait_until(self, done: Callable[[], bool], what: str, pause: float) -> None:
        """Look again and again, `pause` seconds apart, until it is done, the peer has ended or patience has."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self.process.poll() is not None:
                raise self.failed(f"ended with status {self.process.returncode} before it was {what}")
            if time.monotonic() > deadline:
                raise self.failed(f"was not {what} within {PATIENCE:.0f} s")
            time.sleep(pause)

    def wait_idle(self, port: int) -> None:
        """Wait until it listens and has gone to sleep: its start, or its last activation, is over."""
        self.wait_until(lambda: listening(port), "listening", LOOK_EVERY)
        self.wait_until(self._asleep, "asleep", LOOK_EVERY)

    def _asleep(self) -> bool:
        for _ in range(QUIET_LOOKS):
            if any(_stat(pid)[0] != "S" for pid in tree(self.pid)):
                return False
            time.sleep(LOOK_EVERY)
        return True


@contextmanager
def running(command: Sequence[str]) -> Iterator[Running]:
    """Start a peer; end it and all its descendants afterwards."""
    with tempfile.TemporaryFile() as complaints:
        peer = Running(command, complaints)
        try:
            yield peer
        finally:
            _end(peer.process)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for orphan in family[1:]:
        with suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and all its descendants, itself first."""
    found = [pid]
    with suppress(FileNotFoundError, ProcessLookupError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [pid for child in children.read_text().split() for pid in tree(int(child))]
    return found


def free_port() -> int:
    """A free loopback port below the ephemeral range.

    Inside that range a client that tries to connect again and again sooner or later gets the very port as its own source
    port and connects to itself.
    """
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest_ephemeral // 2, lowest_ephemeral)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listening(port: int) -> bool:
    """Whether the port listens, without a connect(2): that would already be an activation."""
    with open("/proc/net/tcp") as table:
        next(table)
        # The kernel lists listeners first, so the thousands of closed connections behind them are never formatted.
        listeners = takewhile(lambda row: row[3] == "0A", map(str.split, table))
        return any(row[1].endswith(f":{port:04X}") for row in listeners)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; a process that is gone is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X"]


def _status(pid: int, *names: str) -> int:
    """The sum of numbers from /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in names)


def resident_mib(pid: int) -> float:
    """Resident memory of the whole tree. Shared pages count in each process, as `ps` would show them."""
    return sum(_status(member, "VmRSS") for member in tree(pid)) / 1024


def switches(pid: int) -> int:
    """How often the tree has been switched to and away: one that sleeps all the time keeps this number."""
    return sum(_status(member, "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches") for member in tree(pid))


def cpu_ms(pid: int) -> float:
    """User and system time of the tree in milliseconds, as fine as the kernel's ticks are."""
    user, system = 11, 12
    times = (_stat(member) for member in tree(pid))
    return sum(int(fields[user]) + int(fields[system]) for fields in times) * 1000 / TICKS_PER_SECOND
