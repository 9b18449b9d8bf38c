"""The log: one line an event, in one write, so that lines of services that share it are never torn; and nowhere but there."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import PATIENCE, PROBE, ask, command, eventually, in_shell, write_units


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_every_event_is_one_line_in_one_write(unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that keeps the boundaries of messages makes a message of every write(2)."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    files = {
        "one.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo",
        "one.service": "[Service]\nType=oneshot\nStandardOutput=null\nExecStart=/bin/true\nExecStart=/bin/false",
    }
    unit = write_units(tmp_path, files)[0]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    process = subprocess.Popen(command(unit, arguments=["--now", "-v"]), stderr=theirs.fileno())
    with ours, theirs, ended(process):
        messages = [ours.recv(65536).decode()]
        while not messages[-1].endswith("ended: exit status 1\n"):
            messages.append(ours.recv(65536).decode())
            assert messages[-1], messages
    assert [message for message in messages if message.count("\n") != 1 or not message.endswith("\n")] == []


def test_without_standard_error_nothing_is_said_anywhere_else(tmp_path: Path) -> None:
    (tmp_path / "signpost").touch()
    (unit,) = write_units(tmp_path, {"one.service": f"[Service]\nExecStart=/bin/sh -c 'rm {tmp_path}/signpost; sleep 1000'"})
    output = tmp_path / "output"
    process = subprocess.Popen([*in_shell(f"exec 2>&- >{output}"), *command(unit)])
    with ended(process):
        eventually(lambda: not (tmp_path / "signpost").exists(), "the service runs")
    assert output.read_text() == ""


def test_a_log_that_nobody_reads_any_more_does_not_stop_the_supervisor(tmp_path: Path) -> None:
    """Writing then fails with EPIPE, and SIGPIPE must not be what ends it."""
    files = {"one.socket": f"[Socket]\nListenStream={tmp_path}/node", "one.service": f"[Service]\nExecStart={PROBE} answer"}
    process = subprocess.Popen(command(write_units(tmp_path, files)[0]), stderr=subprocess.PIPE)
    assert process.stderr is not None
    with ended(process):
        while b"ready: " not in process.stderr.readline():
            assert process.poll() is None
        process.stderr.close()
        assert ask(f"{tmp_path}/node")["got"] == "hello"
