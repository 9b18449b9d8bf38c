"""What is compared: each measure is a function from the laboratory to blocks of samples.

The contestants of a measure take turns, A B A B …, each sample with a freshly started peer: what disturbs the machine for a
while then disturbs all of them alike. Samples are numbers without judgement; nothing here asserts on time.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.peers import Command, Ground, Peer
from bench.process import Running, SampleFailedError, cpu_ms, free_port, resident_mib, running, switches

INTERPRETER = "python -I -c pass"
REFERENCE = "systemd-socket-activate"


@dataclass(frozen=True)
class Effort:
    """How much is measured: the whole run in less than three minutes, or a quick look."""

    rounds: int
    """Samples of each contestant where a sample takes milliseconds."""

    load_rounds: int
    """Samples of each contestant where a sample takes a second."""

    connections: int
    """Connections in one sample of a rate."""

    idle_seconds: float


FULL = Effort(rounds=51, load_rounds=7, connections=1000, idle_seconds=5.0)
QUICK = Effort(rounds=11, load_rounds=3, connections=300, idle_seconds=2.0)


@dataclass(frozen=True)
class Lab:
    """What every measure needs: the peers that are installed, the two C programs, how much effort to take."""

    peers: tuple[Peer, ...]
    service: Path
    load: Path
    effort: Effort

    @contextmanager
    def started(self, command: Command) -> Iterator[tuple[Running, int]]:
        """A fresh peer on a fresh port, with a folder of its own for the files it wants."""
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            with running(command(Ground(Path(folder), self.service, port))) as peer:
                yield peer, port

    @contextmanager
    def idle(self, command: Command) -> Iterator[tuple[Running, int]]:
        """The same, once it listens and sleeps."""
        with self.started(command) as (peer, port):
            peer.wait_idle(port)
            yield peer, port

    def converse(self, peer: Running, port: int, connections: int, clients: int) -> float:
        """The seconds that the C client needs for its connections."""
        command = [str(self.load), str(port), str(connections), str(clients)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise peer.failed(f"the client failed: {done.stderr.strip()}")
        return float(done.stdout)


@dataclass(frozen=True)
class Block:
    """The samples of one quantity, by contestant, and what to hold them against."""

    title: str
    unit: str
    reference: str
    goal: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, sampler: Callable[[], float]) -> None:
        """Take one sample. A contestant that failed once is not asked again: its failure is its result."""
        if name in self.failures:
            return
        try:
            sample = sampler()
        except SampleFailedError as failure:
            self.failures[name] = str(failure)
        else:
            self.samples.setdefault(name, []).append(sample)

    def alternate(self, contestants: Mapping[str, Callable[[], float]], rounds: int) -> Block:
        """Let the contestants take turns."""
        for _ in range(rounds):
            for name, sampler in contestants.items():
                self.add(name, sampler)
        return self


def start(lab: Lab) -> Iterator[Block]:
    """From fork and exec of the command until a connect(2) to its port succeeds, in milliseconds.

    The client tries every 0.1 ms or so, which leaves the processor to the peer and is fine enough for tens of milliseconds.
    Beside them the bare interpreter, from fork and exec until it has ended: nothing written in Python can be faster.
    """
    block = Block("start → listening", "ms", INTERPRETER, f"≤ 4 times {INTERPRETER}")
    contestants = {INTERPRETER: lifetime_of_interpreter}
    contestants |= {peer.name: partial(until_connected, lab, peer.for_all) for peer in lab.peers if peer.for_all}
    yield block.alternate(contestants, lab.effort.rounds)


def lifetime_of_interpreter() -> float:
    began = time.perf_counter()
    with running([sys.executable, "-I", "-c", "pass"]) as interpreter:
        interpreter.process.wait()  # no timeout: Popen would sleep between looks, up to 50 ms
        return (time.perf_counter() - began) * 1000


def until_connected(lab: Lab, command: Command) -> float:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        words = command(Ground(Path(folder), lab.service, port))
        began = time.perf_counter()
        with running(words) as peer, socket.socket() as client:
            peer.wait_until(lambda: client.connect_ex(("127.0.0.1", port)) == 0, "listening", pause=50e-6)
            return (time.perf_counter() - began) * 1000


def first(lab: Lab) -> Iterator[Block]:
    """Accept=no: from connect(2) until a line has come back from a service that was not running before, in milliseconds.

    systemd-socket-activate becomes its service, so each sample of each contestant takes a new supervisor, idle and asleep.
    The last contestant is sockact alone: its second activation, after the first service has ended.
    """
    block = Block("first activation, Accept=no", "ms", REFERENCE, f"≤ 2 times {REFERENCE}")
    contestants = {peer.name: partial(activation, lab, peer.for_all, 1) for peer in lab.peers if peer.for_all}
    sockact = next((peer for peer in lab.peers if peer.name == "sockact"), None)
    if sockact and sockact.for_all:
        contestants["sockact, second activation"] = partial(activation, lab, sockact.for_all, 2)
    yield block.alternate(contestants, lab.effort.rounds)


def activation(lab: Lab, command: Command, number: int) -> float:
    """The time of the `number`-th activation of one supervisor."""
    with lab.idle(command) as (peer, port):
        for _ in range(number - 1):
            lab.converse(peer, port, connections=1, clients=1)
            peer.wait_idle(port)
        return lab.converse(peer, port, connections=1, clients=1) * 1000


def accept(lab: Lab) -> Iterator[Block]:
    """Accept=yes: connections per second, each served by a process of its own, one at a time and eight at once."""
    for clients in (1, 8):
        block = Block(f"Accept=yes, {clients} at once", "conn/s", REFERENCE, "")
        contestants = {peer.name: partial(rate, lab, peer.for_each, clients) for peer in lab.peers}
        yield block.alternate(contestants, lab.effort.load_rounds)


def rate(lab: Lab, command: Command, clients: int) -> float:
    with lab.idle(command) as (peer, port):
        return lab.effort.connections / lab.converse(peer, port, lab.effort.connections, clients)


def memory(lab: Lab) -> Iterator[Block]:
    """Resident memory of a supervisor and its processes while nothing happens, before and after it has served."""
    for title, connections in (("memory when idle", 0), ("memory after connections", lab.effort.connections)):
        block = Block(title, "MiB", REFERENCE, "≤ 18 MiB")
        contestants = {peer.name: partial(resident_after, lab, peer.for_each, connections) for peer in lab.peers}
        yield block.alternate(contestants, lab.effort.load_rounds)


def resident_after(lab: Lab, command: Command, connections: int) -> float:
    with lab.idle(command) as (peer, port):
        if connections:
            lab.converse(peer, port, connections, clients=8)
            peer.wait_idle(port)
        return resident_mib(peer.pid)


def idle(lab: Lab) -> Iterator[Block]:
    """Wake-ups and processor time of a supervisor that has nothing to do, all of them during the same seconds.

    Wake-ups are the voluntary and involuntary context switches of /proc/PID/status. Each has served a connection before,
    because a timer or a child left behind is what would wake it.
    """
    seconds = lab.effort.idle_seconds
    wakeups = Block(f"wake-ups in {seconds:.0f} s idle", "", REFERENCE, "0")
    cpu = Block(f"CPU time in {seconds:.0f} s idle", "ms", REFERENCE, "0")
    with ExitStack() as stack:
        watched: dict[str, Running] = {}
        for peer in lab.peers:
            try:
                watched[peer.name] = stack.enter_context(served(lab, peer.for_each))
            except SampleFailedError as failure:
                wakeups.failures[peer.name] = str(failure)
        before = {name: (switches(each.pid), cpu_ms(each.pid)) for name, each in watched.items()}
        time.sleep(seconds)
        for name, (switches_before, cpu_before) in before.items():
            wakeups.samples[name] = [switches(watched[name].pid) - switches_before]
            cpu.samples[name] = [cpu_ms(watched[name].pid) - cpu_before]
    yield from (wakeups, cpu)


@contextmanager
def served(lab: Lab, command: Command) -> Iterator[Running]:
    """A peer that has served one connection and sleeps again."""
    with lab.idle(command) as (peer, port):
        lab.converse(peer, port, connections=1, clients=1)
        peer.wait_idle(port)
        yield peer


MEASURES: Mapping[str, Callable[[Lab], Iterator[Block]]] = {
    measure.__name__: measure for measure in (start, first, accept, memory, idle)
}
