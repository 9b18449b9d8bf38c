"""What the system tests stand on: unit files on disk, a real `sockact start`, free ports.

Nothing here knows how sockact works inside; a test sees what a user sees: the log, the exit status, the sockets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

PATIENCE = 30.0
"""Seconds before a test gives up; generous, because machines are slow and shared."""

SERVICES = Path(__file__).parent / "system" / "services"
PROBE = f"{sys.executable} -I -S {SERVICES}/probe.py"
"""The service that tells what it was given and answers its clients; see there."""

Address = str | tuple[str, int]
"""A path, an abstract name after an `@`, or a host and a port."""


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
        # A test run under nohup(1) has SIGHUP ignored, which is inherited; what is tested starts as from a shell.
        self.process = subprocess.Popen(
            ["/usr/bin/env", "--default-signal=HUP", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # What a service prints is looked for in the log, also where the machine has a journal.
            env={**os.environ, "SOCKACT_JOURNAL": "no", **(environment or {})},
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

    def wait_log(self, text: str, count: int = 1, timeout: float = PATIENCE) -> list[str]:
        """Wait until `count` log lines contain `text`, and return them; fail with the whole log if the process ends first."""
        deadline = monotonic() + timeout
        with self._news:
            while len(found := [line for line in self.log if text in line]) < count:
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if ended or (not self._news.wait(min(0.2, max(0.0, deadline - monotonic()))) and monotonic() > deadline):
                    raise AssertionError(f"no {text!r} in the log:\n" + "\n".join(self.log))
            return found

    def wait_line(self, line: str) -> None:
        """Wait until a service has said just this."""
        eventually(lambda: line in self.log, f"it has said {line}")

    def reports(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until services have said `count` things in JSON on their standard output, which ends up in the log."""
        return [json.loads(line) for line in self.wait_log('{"', count)]

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
            left = descendants(self.pid)
            self.process.kill()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.wait()


@contextmanager
def started(
    *units: Path | str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
    status: int = 0,
) -> Iterator[Supervisor]:
    """`sockact start UNIT…`, ready; ended with SIGTERM afterwards unless it has ended by itself, with this exit status.

    `prefix` is a command that runs the command after it, such as env(1) or `in_shell(…)`.
    """
    supervisor = Supervisor([*prefix, *command(*units, arguments=arguments)], environment, cwd)
    try:
        supervisor.wait_log("ready: ")
        yield supervisor
        assert supervisor.end() == status, "\n".join(supervisor.log)
    finally:
        supervisor.destroy()


def command(*units: Path | str, arguments: Sequence[str] = ()) -> list[str]:
    return [sys.executable, "-m", "sockact", "start", *arguments, *map(str, units)]


def in_shell(script: str) -> list[str]:
    """A prefix that has a shell set something up, such as signals or descriptors, and then become what comes after it."""
    return ["/bin/sh", "-c", f'{script}\nexec "$@"', "sh"]


def refused(*units: Path | str, arguments: Sequence[str] = (), prefix: Sequence[str] = ()) -> str:
    """What `sockact start UNIT…` says on standard error when it cannot start, which must give exit status 1."""
    words = [*prefix, *command(*units, arguments=arguments)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces."""
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline, f"in vain: {what}"
        sleep(0.02)


def children(pid: int) -> set[int]:
    """The processes whose parent it is, zombies included."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return {int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()}
    return set()


def descendants(pid: int) -> set[int]:
    found = children(pid)
    return found.union(*map(descendants, found))


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# --- clients of the probe


def connect(address: Address, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """A connected socket. A UNIX datagram client gets a name of its own, so that it can be answered."""
    if isinstance(address, str):
        client = socket.socket(socket.AF_UNIX, kind)
        if kind == socket.SOCK_DGRAM:
            client.bind("")
        place: str | tuple[str, int] = "\0" + address[1:] if address.startswith("@") else address
    else:
        client = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind, protocol)
        place = address
    client.settimeout(PATIENCE)
    try:
        client.connect(place)
    except BaseException:
        client.close()
        raise
    return client


def refuses(address: Address) -> bool:
    """Whether nobody listens there."""
    try:
        connect(address).close()
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
        return True  # a reset: it was closed while we called
    return False


def answer(client: socket.socket) -> dict[str, Any]:
    """Read the probe's answer, which ends with the line, and close."""
    with client:
        data = b""
        while not data.endswith(b"\n"):
            part = client.recv(65536)
            assert part, f"the connection ended after {data!r}"
            data += part
        found: dict[str, Any] = json.loads(data)
        return found


def ask(address: Address, kind: int = socket.SOCK_STREAM, text: str = "hello", protocol: int = 0) -> dict[str, Any]:
    """One question, one answer."""
    client = connect(address, kind, protocol)
    client.sendall(text.encode() + b"\n")
    return answer(client)
