"""What the system tests stand on: unit files on disk, a real `sockact start`, free ports.

Nothing here knows how sockact works inside; a test sees what a user sees: the log, the exit status, the sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

PATIENCE = 30.0
"""Seconds before a test gives up; generous, because machines are slow and shared."""


def write_units(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write unit files and return their paths in the order given."""
    paths = [folder / name for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    return paths


def free_port(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> int:
    """A loopback port nobody uses at this moment."""
    with socket.socket(family, kind) as probe:
        probe.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Supervisor:
    """A `sockact start` process whose log is read while it runs."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            text=True,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_log(self, text: str, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until `count` log lines contain `text`; fail with the whole log if the process ends first."""
        deadline = monotonic() + timeout
        with self._news:
            while sum(text in line for line in self.log) < count:
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if ended or (not self._news.wait(min(0.2, max(0.0, deadline - monotonic()))) and monotonic() > deadline):
                    raise AssertionError(f"no {text!r} in the log:\n" + "\n".join(self.log))

    def end(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = PATIENCE) -> int:
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        if self.process.stderr:
            self.process.stderr.close()
        return status

    def destroy(self) -> None:
        """Whatever happened, leave nothing running: ask first, for a killed supervisor cannot stop its services."""
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()


@contextmanager
def started(
    *units: Path | str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Supervisor]:
    """`sockact start UNIT…`, ready; ended with SIGTERM afterwards, which must give exit status 0."""
    supervisor = Supervisor([sys.executable, "-m", "sockact", "start", *arguments, *map(str, units)], environment, cwd)
    try:
        supervisor.wait_log("ready")
        yield supervisor
        assert supervisor.end() == 0, "\n".join(supervisor.log)
    finally:
        supervisor.destroy()
