"""What it costs to load many units: `sockact verify --offline` over thousands of them, as one process from fork to exit.

The units are such as a host with many small services has: a socket and its service of about ten keys each, drop-ins for a
tenth of them, an instance of a template in place of one service in twenty. Each number of units is a folder of its own, so that
time and memory by unit say whether both grow as the units do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.measure import Block, Lab
from bench.peers import located
from bench.process import ENVIRONMENT, SampleFailedError

SIZES = (1250, 2500, 5000, 10000)
"""Units that are loaded: half of them sockets, half of them services."""

GOAL_SECONDS, GOAL_MIB = 10.0, 200.0
PATIENCE = 120.0

SOCKET = """\
[Unit]
Description=Socket of application {number}
Documentation=https://example.org/applications/{number}

[Socket]
ListenStream=127.{high}.{low}.1:{port}
ListenStream=/run/applications/{number}.sock
SocketMode=0660
Backlog=512
NoDelay=yes
KeepAlive=yes
KeepAliveTimeSec=10min
FileDescriptorName=application-{number}
{service}
[Install]
WantedBy=sockets.target
"""
INSTANCE = "Service=worker@{number}.service\n"
SERVICE = """\
[Unit]
Description=Application {number}
After=network.target

[Service]
Type=notify
ExecStart=/usr/bin/env application --number {number} --config "/etc/applications/{number}.conf"
Environment=NUMBER={number} "GREETING=hello from %n"
EnvironmentFile=-/etc/default/application-{number}
WorkingDirectory=/srv
Restart=on-failure
RestartSec=2s
TimeoutStopSec=1min 30s
NonBlocking=yes
ProtectSystem=strict
"""
SOCKET_DROP_IN = "[Socket]\nBacklog=4096\nReceiveBuffer=256K\n"
SERVICE_DROP_IN = "[Service]\nEnvironment=LEVEL=debug\nTimeoutStartSec=5min\nKillSignal=SIGINT\n"


def write_units(folder: Path, units: int) -> list[str]:
    """Write so many units, half of them sockets; the paths of the sockets, which bring their services."""
    sockets = []
    for number in range(units // 2):
        name, instance = f"application-{number}", number % 20 == 7
        places = {"number": number, "high": number >> 8 & 255, "low": number & 255, "port": 8000 + number % 3}
        service = INSTANCE.format(number=number) if instance else ""
        sockets.append(str(folder / f"{name}.socket"))
        _write(folder / f"{name}.socket", SOCKET.format(service=service, **places))
        if not instance:
            _write(folder / f"{name}.service", SERVICE.format(number=number))
        if number % 10 == 3:
            _write(folder / f"{name}.socket.d" / "50-backlog.conf", SOCKET_DROP_IN)
            _write(folder / f"{name}.service.d" / "50-debug.conf", SERVICE_DROP_IN)
    _write(folder / "worker@.service", SERVICE.format(number="%i"))
    return sockets


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


class Cost(NamedTuple):
    """Of one process: seconds from fork to exit, seconds of processor time, and the most memory that was resident, in MiB."""

    seconds: float
    cpu: float
    mib: float


def loading(lab: Lab) -> Iterator[Block]:
    """Thousands of units, loaded from disk and verified offline by one process.

    By unit it is the processor's time that is told, which other processes disturb the least: if it is the same for any number
    of units, the work grows as they do. The goals are for the most units, and their rows show which part of a goal is used up.
    """
    costs: dict[int, list[Cost]] = {size: [] for size in SIZES}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        sockets = {size: write_units(Path(stack.enter_context(tempfile.TemporaryDirectory())), size) for size in SIZES}
        for _ in range(lab.effort.load_rounds // 2):
            for size in SIZES:
                try:
                    costs[size].append(verify(sockets[size]))
                except SampleFailedError as failure:
                    failures[f"{size} units"] = str(failure)
    told = {f"{size} units": found for size, found in costs.items() if found}
    first, most = (f"{size} units" for size in (SIZES[0], SIZES[-1]))
    cpu = {name: [cost.cpu / int(name.split()[0]) * 1e6 for cost in found] for name, found in told.items()}
    yield Block("verify: CPU time by unit", "µs", first, "", cpu, failures)
    for title, unit, goal, samples in (
        (f"verify {most}", "s", GOAL_SECONDS, [cost.seconds for cost in told.get(most, ())]),
        (f"verify {most}: peak memory", "MiB", GOAL_MIB, [cost.mib for cost in told.get(most, ())]),
    ):
        if samples:
            yield Block(title, unit, "the goal", f"< {goal:.0f} {unit}", {"the goal": [goal], "sockact": samples})


def verify(sockets: list[str]) -> Cost:
    """`sockact verify --offline` of these units and their companions, which has nothing to complain about but in notes."""
    with tempfile.TemporaryFile() as complaints:
        began = time.perf_counter()
        process = subprocess.Popen(
            [located("sockact"), "verify", "--offline", *sockets],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env=ENVIRONMENT,
        )
        patience = threading.Timer(PATIENCE, os.kill, (process.pid, signal.SIGKILL))
        patience.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)  # of this one process, where getrusage(2) tells of the largest of all
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            patience.cancel()
            if process.returncode is None:
                process.kill()
                process.wait()
        taken = time.perf_counter() - began
        if process.returncode:
            complaints.seek(0)
            words = [line for line in complaints.read().decode(errors="replace").splitlines() if " note[" not in line]
            raise SampleFailedError(f"ended with status {process.returncode}; it said: {words[0] if words else 'nothing'}")
    return Cost(taken, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":  # a folder of units to look at, or to run a profiler on: python -m bench.loading FOLDER UNITS
    print(*write_units(Path(sys.argv[1]), int(sys.argv[2])))
