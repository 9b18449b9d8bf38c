"""The streams of the command line: colour on terminals, readers that go away, full disks, closed streams, odd encodings."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab import PATIENCE, write_units
from tests.test_cli import COMMANDS, prepared

SOCKACT = [sys.executable, "-m", "sockact"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepared(tmp_path, monkeypatch)


def run(*arguments: str, environment: Mapping[str, str] | None = None, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own; standard output and standard error are captured unless given."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    environment = {**os.environ, **(environment or {})}
    return subprocess.run([*SOCKACT, *arguments], env=environment, check=False, timeout=PATIENCE, **streams)


# --- colour


def on_terminal(*arguments: str, stream: str = "stderr", environment: Mapping[str, str] | None = None) -> str:
    """What a command prints on one stream that is a terminal, the other one not being one."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*SOCKACT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs if stream == "stdout" else subprocess.DEVNULL,
            stderr=theirs if stream == "stderr" else subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm", **(environment or {})},
        )
        os.close(theirs)
        said = b""
        while part := _read(ours):
            said += part
        process.wait(PATIENCE)
    finally:
        os.close(ours)
    return said.decode().replace("\r\n", "\n")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO is how a terminal says that nobody has its other end open
        return b""


COLOUR = re.compile("\x1b\\[[0-9;]*m")


@pytest.mark.parametrize("command", COMMANDS)
def test_diagnostics_are_coloured_on_a_terminal_and_say_the_same_there(command: str) -> None:
    said = on_terminal(command, "broken.socket")
    assert COLOUR.search(said)
    assert COLOUR.sub("", said) == run(command, "broken.socket").stderr.decode()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"NO_COLOR": "0"}, {"TERM": "dumb"}], ids=str)
def test_there_is_no_colour_where_it_is_not_wanted(command: str, environment: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal(command, "broken.socket", environment=environment)


@pytest.mark.parametrize("line", ["verify broken.socket", "show good.socket", "show --json good.socket", "verify good.socket"])
def test_there_is_no_colour_outside_of_a_terminal_and_none_on_standard_output(line: str) -> None:
    done = run(*line.split())
    assert b"\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in on_terminal(*line.split(), stream="stdout")


@pytest.mark.parametrize("command", COMMANDS)
def test_control_characters_of_a_unit_do_not_reach_the_terminal(command: str, folder: Path) -> None:
    """A unit file may come from anywhere; its escape sequences are shown, not obeyed."""
    write_units(folder, {"odd.service": "[Service]\nExecStart=/bin/cat\nType=\x1b[2J\nUser=\x1b[31m\nK\x1b]0;t\x07=1\n"})
    assert not {"\x1b", "\x07"} & set(run(command, "odd.service").stderr.decode())


# --- pipes, full disks and closed streams


READERS = [
    ("--help",),
    ("--version",),
    ("verify", "good.socket"),
    ("verify", "--format=json", "good.socket"),
    ("show", "good.socket"),
    ("show", "--json", "--plan", "good.socket"),
]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_reader_that_went_away_is_no_reason_to_complain(arguments: tuple[str, ...]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = run(*arguments, stdout=theirs)
    finally:
        os.close(theirs)
    assert done.stderr == b""
    assert done.returncode in (1, 141), "an error status: not everything was said"


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_message_and_exit_status_1(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*arguments, stdout=full)
    assert b"Traceback" not in done.stderr
    assert b"No space left on device" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("line", "status"),
    [("verify good.socket", 0), ("show good.socket", 0), ("verify broken.socket", 1), ("start broken.socket", 1)],
)
def test_closed_standard_streams_change_no_exit_status(closed: str, line: str, status: int) -> None:
    script = f'exec "$@" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *SOCKACT, *line.split()], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr


# --- text that the terminal's encoding has no letters for


ENCODINGS = ["utf-8:strict", "ascii:strict", "latin-1:strict"]
STRANGE = '[Unit]\nDescription=Grüße ☃\n[Service]\nExecStart=/bin/echo \\xff\nEnvironment="A=\\xff"\nEnvironment="A=\\xff"\n'


def in_letters(said: bytes, encoding: str) -> str:
    """click writes UTF-8 where it is told to write ASCII, which is as good."""
    return said.decode(encoding.partition(":")[0].replace("ascii", "utf-8"))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line", ["show strange.service", "show --json strange.service", "verify --format=json strange.service"])
def test_whatever_the_encoding_of_standard_output_everything_can_be_said(encoding: str, line: str, folder: Path) -> None:
    write_units(folder, {"strange.service": STRANGE})
    done = run(*line.split(), environment={"PYTHONIOENCODING": encoding})
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    if "json" in line:
        json.loads(in_letters(done.stdout, encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_name_that_is_no_utf_8_can_be_shown(encoding: str, folder: Path) -> None:
    strange = os.fsencode(folder) + b"/\xff"
    os.mkdir(strange)
    with open(strange + b"/web.socket", "w") as file:
        file.write("[Socket]\nListenStream=@x\n")
    for arguments in (["show"], ["show", "--json"]):
        done = run(*arguments, os.fsdecode(strange + b"/web.socket"), environment={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, b"")
        if "--json" in arguments:
            assert json.loads(in_letters(done.stdout, encoding))["unit"] == "web.socket"
