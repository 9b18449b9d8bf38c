"""What the tests of services stand on: one service, small programs to run, what they said."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from textwrap import dedent

from tests.lab import SERVICES, Supervisor, command, descendants, started, write_units

ACTING = f"{sys.executable} -I -S {SERVICES}/acting.py"
OWN = ("one.", "two.", "one@", "sockact: ")
"""How the lines begin that the supervisor says itself."""


def sh(script: str) -> str:
    """A command of a unit file that runs a shell script."""
    assert "'" not in script
    return "/bin/sh -c '" + script.replace("$", "$$").replace("%", "%%") + "'"


POST = "ExecStopPost=" + sh("echo post [$SERVICE_RESULT] [$EXIT_CODE] [$EXIT_STATUS]")
"""Says how the service has ended."""


def acting(folder: Path, text: str, name: str = "act") -> str:
    """A command of a unit file that runs this program; see services/acting.py for its words."""
    path = folder / f"{name}.py"
    path.write_text(dedent(text))
    return f"{ACTING} {path}"


def kept(
    folder: Path, *lines: str, unit: str = "", arguments: Sequence[str] = ("--now", "-v")
) -> AbstractContextManager[Supervisor]:
    """one.service, started, and a FIFO, which keeps the supervisor running whatever becomes of the service."""
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": text(*lines, unit=unit)}
    return started(write_units(folder, files)[0], arguments=arguments)


def text(*lines: str, unit: str = "") -> str:
    return f"[Unit]\n{unit}\n[Service]\n" + "\n".join(lines) + "\n"


def outcome(folder: Path, *lines: str, unit: str = "") -> tuple[int, list[str]]:
    """Run one.service alone, to its end: the exit status, and what its processes said."""
    (path,) = write_units(folder, {"one.service": text(*lines, unit=unit)})
    with supervised(path) as supervisor:
        return supervisor.wait(), said(supervisor)


@contextmanager
def supervised(*units: Path, arguments: Sequence[str] = ("--now", "-v")) -> Iterator[Supervisor]:
    """`sockact start`, ended by whom it pleases; nothing it started is left."""
    supervisor = Supervisor(command(*units, arguments=arguments))
    try:
        yield supervisor
    finally:
        born = descendants(supervisor.pid)
        supervisor.destroy()
        end(*born)


def said(supervisor: Supervisor) -> list[str]:
    """What its services said."""
    return [line for line in supervisor.log if not line.startswith(OWN)]


def end(*pids: int) -> None:
    """Whatever became of them."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def starts(supervisor: Supervisor) -> int:
    return sum("one.service: started" in line for line in supervisor.log)
