"""Bad input: one clear message on standard error that names the file, exit status 1, nothing opened, nothing left behind.

A row of CASES is one kind of bad input: how it is made in an empty folder, what is asked for, what the message must name,
and which commands can see it (`show` looks at a unit alone, and never at the machine). `start` is always given a good unit
in front of the bad one, whose socket nodes tell whether anything was opened.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import PATIENCE, connect, free_port, in_shell, started, write_units

ALL = ("start", "verify", "show")
WITH_COMPANIONS = ("start", "verify")
LIMIT = 15.0
"""Seconds in which a command must have refused; a hang is an answer nobody gets."""

SERVICE = "[Service]\nExecStart=/bin/cat\n"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@dataclass(frozen=True)
class Case:
    """Bad input: what it is in words, how to make it, the units to name on the command line, what the message names."""

    name: str
    make: Callable[[Path], object]
    units: tuple[str, ...] = ("bad.socket",)
    named: tuple[str, ...] = ("bad.socket",)
    commands: tuple[str, ...] = ALL


def nothing(folder: Path) -> None:
    pass


def unit(text: str, name: str = "bad.socket", service: str = SERVICE) -> Callable[[Path], object]:
    """A unit, and beside it a service for it that is good."""
    return lambda folder: write_units(folder, {"bad.service": service, name: text})


def service(text: str) -> Callable[[Path], object]:
    """A bad service of a good socket."""
    return lambda folder: write_units(folder, {"bad.socket": f"[Socket]\nListenStream={folder}/bad.sock\n", "bad.service": text})


def data(content: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        write_units(folder, {"bad.service": SERVICE})
        (folder / "bad.socket").write_bytes(content)

    return make


def program(content: bytes, mode: int) -> Callable[[Path], object]:
    """A service whose program has this content and mode."""

    def make(folder: Path) -> None:
        (folder / "program").write_bytes(content)
        (folder / "program").chmod(mode)
        service(f"[Service]\nExecStart={folder}/program\n")(folder)

    return make


def link(target: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        write_units(folder, {"bad.service": SERVICE})
        (folder / "bad.socket").symlink_to(target)

    return make


def fifo_for_a_service(folder: Path) -> None:
    write_units(folder, {"bad.socket": LISTEN.decode()})
    os.mkfifo(folder / "bad.service")


def socket_node(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(str(folder / "bad.socket"))


def two_of_one_name(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        write_units(folder / name, {"bad.socket": f"[Socket]\nListenStream={folder}/{name}.sock\n", "bad.service": SERVICE})


LISTEN = b"[Socket]\nListenStream=/tmp/never.sock\n"
HUGE = 50 << 20
GROWING = {
    "bad@.socket": "[Socket]\nListenStream=@sockact-bad-%i\nService=bad@%i1.service\n",
    "bad@.service": SERVICE + "Sockets=bad@%i1.socket\n",
}

STANDING_THERE = (
    Case("a missing file by name", nothing),
    Case("a missing file by path", nothing, ("./bad.socket",)),
    Case("a missing folder", nothing, ("no/such/folder/bad.socket",), ("no/such/folder/bad.socket",)),
    Case("a file as the folder", unit("", "bad.service"), ("bad.service/bad.socket",), ("bad.service/bad.socket",)),
    Case("a folder by name", lambda folder: (folder / "bad.socket").mkdir()),
    Case("a folder by path", lambda folder: (folder / "bad.socket").mkdir(), ("./bad.socket",)),
    Case("a folder with a slash", lambda folder: (folder / "bad.socket").mkdir(), ("bad.socket/",)),
    Case("the root folder", nothing, ("/",), ("/",)),
    Case("a dangling link", link("nowhere")),
    Case("a link to itself", link("bad.socket")),
    Case("a link to /dev/null", link("/dev/null")),
    Case("a link to /dev/zero", link("/dev/zero")),
    Case("a FIFO by name", lambda folder: os.mkfifo(folder / "bad.socket")),
    Case("a FIFO by path", lambda folder: os.mkfifo(folder / "bad.socket"), ("./bad.socket",)),
    Case("a FIFO as the service", fifo_for_a_service, named=("bad.service",), commands=WITH_COMPANIONS),
    Case("a socket node", socket_node),
    Case("a device", nothing, ("/dev/zero",), ("/dev/zero",)),
)
NAMES = (
    Case("an unknown unit type", unit("", "bad.timer"), ("bad.timer",), ("bad.timer", ".socket", ".service")),
    Case("no unit type", unit("", "bad"), ("bad",), ("bad",)),
    Case("a template without an instance", unit(LISTEN.decode(), "bad@.socket"), ("bad@.socket",), ("bad@.socket",), ("start",)),
    Case("an instance without a template", nothing, ("bad@1.socket",), ("bad@1.socket",)),
    Case("blanks in the name", unit("", "very bad.socket"), ("very bad.socket",), ("very bad.socket",)),
    Case("letters beyond ASCII in the name", unit("", "böse.socket"), ("böse.socket",), ("b", ".socket")),
    Case("no UTF-8 in the name", nothing, ("b\udcff.socket",), ("b", ".socket")),
    Case("control characters in the name", nothing, ("b\x1b[31m\nad.socket",), ("b", "ad.socket")),
    Case("a name that is too long", nothing, ("b" * 250 + ".socket",), ("b" * 250 + ".socket",)),
    Case("a path that is too long", nothing, ("/" + "b/" * 3000 + "bad.socket",)),
    Case("nothing but a suffix", nothing, (".socket",), (".socket",)),
    Case("an instance of nothing", nothing, ("@bad.socket",), ("@bad.socket",)),
    Case("two files of one name", two_of_one_name, ("one/bad.socket", "two/bad.socket"), ("two/bad.socket",), WITH_COMPANIONS),
)
CONTENTS = (
    Case("an empty file", data(b"")),
    Case("an empty unit", data(b"[Socket]\n")),
    Case("nothing but comments", data(b"# nothing\n; at all\n")),
    Case("a binary file", data(Path(sys.executable).read_bytes()[:100_000])),
    Case("a NUL byte", data(LISTEN + b"Backlog=1\0\n")),
    Case("invalid UTF-8", data(LISTEN + b"Backlog=\xff\n")),
    Case("UTF-16", data(LISTEN.decode().encode("utf-16"))),
    Case("a broken section header", data(b"[Socket\nListenStream=1\n")),
    Case("50 MB in one line", data(b"a" * HUGE)),
    Case("50 MB of NUL", data(bytes(HUGE))),
    Case("50 MB of comments", data(b"# a line that says nothing at all\n" * (HUGE // 34))),
    Case("50 MB of unknown keys", data(b"[Socket]\n" + b"ListenStraem=80\n" * (HUGE // 16))),
    Case("50 MB of addresses", data(b"[Socket]\n" + b"ListenStream=80\n" * (HUGE // 16))),
    Case("only an address that is none", unit("[Socket]\nListenStream=localhost:http\n")),
    Case("an address of thousands of digits", unit(f"[Socket]\nListenStream={'9' * 5000}\n")),
    Case("an owner of thousands of digits", unit(f"[Socket]\nListenStream=@bad\nSocketUser={'9' * 5000}\n")),
    Case("mptcp with UDP", unit("[Socket]\nListenDatagram=127.0.0.1:5353\nSocketProtocol=mptcp\n")),
)


def missing(name: str, make: Callable[[Path], object], *named: str) -> Case:
    """What only the companions of a unit, or the machine, can tell."""
    return Case(name, make, named=named, commands=WITH_COMPANIONS)


TOGETHER = (
    missing("no service", lambda folder: write_units(folder, {"bad.socket": LISTEN.decode()}), "bad.socket", "bad.service"),
    missing("Accept=yes without a template", unit(LISTEN.decode() + "Accept=yes\n"), "bad.socket", "bad@.service"),
    Case(
        "instances that need another instance, for ever",
        lambda folder: write_units(folder, GROWING),
        ("bad@1.socket",),
        ("bad@",),
        WITH_COMPANIONS,
    ),
    missing("a service without a command", service("[Service]\n"), "bad.service"),
    missing("an empty service", service(""), "bad.service"),
    missing("a program that does not exist", service("[Service]\nExecStart=/no/program\n"), "bad.service", "/no/program"),
    missing("a program without permission", program(b"#!/bin/sh\n", 0o644), "bad.service", "program"),
    missing("a folder as the program", service("[Service]\nExecStart=/usr\n"), "bad.service", "/usr"),
    missing("an unknown user", service(SERVICE + "User=no-such-user\n"), "bad.service", "no-such-user"),
    missing("an unknown group", service(SERVICE + "Group=no-such-group\n"), "bad.service", "no-such-group"),
    missing("an unknown uid", service(SERVICE + "User=54321\n"), "bad.service", "54321"),
    missing("a user in odd digits", service(SERVICE + "User=²\n"), "bad.service"),
    missing("an unknown owner", unit(LISTEN.decode() + "SocketUser=no-such-user\n"), "bad.socket", "no-such-user"),
    missing("a missing working directory", service(SERVICE + "WorkingDirectory=/no/folder\n"), "bad.service", "/no/folder"),
)
CASES = (*STANDING_THERE, *NAMES, *CONTENTS, *TOGETHER)
ROWS = [pytest.param(case, command, id=f"{command} {case.name}") for case in CASES for command in case.commands]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with good units that would leave nodes behind if they were opened."""
    write_units(
        tmp_path,
        {
            "good.socket": f"[Socket]\nListenStream={tmp_path}/made/good.sock\nListenFIFO={tmp_path}/made/good.fifo\n",
            "good.service": SERVICE,
        },
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOCKACT_UNIT_PATH", raising=False)
    return tmp_path


def run(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """The command in a session of its own, of which nothing may be left when it has ended.

    It may take two gigabytes, so that a file without an end fails the test and not the machine.
    """
    process = subprocess.Popen(
        [*in_shell("ulimit -v 2000000"), *prefix, sys.executable, "-m", "sockact", *map(os.fsencode, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"no answer after {LIMIT:g} seconds", pytrace=False)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def contents(folder: Path) -> set[tuple[str, int]]:
    """Everything below the folder, with what would tell that it was replaced."""
    found = [os.path.join(root, name) for root, folders, files in os.walk(folder) for name in (*folders, *files)]
    return {(path, os.lstat(path).st_ino) for path in found}


def complaints(said: str) -> list[str]:
    return [line for line in said.splitlines() if "error[" in line or "error: " in line.lower()]


@pytest.mark.parametrize(("case", "command"), ROWS)
def test_bad_input_is_answered_with_one_message_and_exit_status_1(case: Case, command: str, folder: Path) -> None:
    case.make(folder)
    before = contents(folder)
    done = run(command, *(["good.socket"] if command == "start" else []), *case.units)
    said = done.stderr.decode(errors="replace")
    assert "Traceback" not in said
    assert done.returncode == 1, said[:2000]
    assert [name for name in case.named if name not in said] == [], said[:2000]
    assert not set(said) & set(map(chr, (*range(9), *range(11, 32), 127))), "control characters on the terminal"
    assert len(said) < 20_000
    assert len(complaints(said)) == 1, said[:2000]
    assert "listening" not in said
    assert contents(folder) == before, "something was opened, or left behind"


@pytest.mark.parametrize("command", ALL)
def test_without_permission_to_read_the_message_says_so(command: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        prefix = as_nobody(Path(name))
        path = Path(name) / "bad.socket"
        path.write_bytes(LISTEN)
        path.chmod(0)
        done = run(command, str(path), prefix=prefix)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert complaints(said) == [f"{path}: error[SA030]: cannot be read: Permission denied"]


@pytest.mark.parametrize("command", ALL)
def test_without_permission_to_enter_a_folder_the_message_says_so(command: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        prefix = as_nobody(Path(name))
        locked = Path(name) / "locked"
        locked.mkdir()
        (locked / "bad.socket").write_bytes(LISTEN)
        locked.chmod(0)
        done = run(command, str(locked / "bad.socket"), prefix=prefix)
        locked.chmod(0o700)
    assert done.returncode == 1
    assert b"Permission denied" in done.stderr
    assert b"Traceback" not in done.stderr


def as_nobody(folder: Path) -> tuple[str, ...]:
    """A prefix that makes a command run without privileges, and a folder that it can enter."""
    folder.chmod(0o755)
    if os.getuid() != 0:
        return ()
    probe = [*NOBODY, sys.executable, "-c", "import sockact"]
    with suppress(OSError):
        if subprocess.run(probe, cwd=folder, stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE).returncode == 0:
            return NOBODY
    pytest.skip("nobody may not run this Python")


# --- all or nothing


@pytest.mark.parametrize("order", [("good.socket", "bad.socket"), ("bad.socket", "good.socket")])
@pytest.mark.parametrize("flags", [(), ("--now",), ("-q",), ("-v",)], ids=str)
def test_start_with_a_good_and_a_bad_unit_opens_nothing(folder: Path, order: tuple[str, str], flags: tuple[str, ...]) -> None:
    unit("[Socket]\nListenStream=nonsense\n", service=f"[Service]\nExecStart=/bin/touch {folder}/ran\n")(folder)
    before = contents(folder)
    done = run("start", *flags, *order)
    assert done.returncode == 1
    assert b"bad.socket:2:14: error" in done.stderr
    assert contents(folder) == before


def test_start_whose_second_socket_cannot_be_opened_undoes_the_first(folder: Path) -> None:
    """The port is taken, which only the kernel can tell."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        unit(f"[Socket]\nListenStream=127.0.0.1:{port}\n")(folder)
        before = contents(folder)
        done = run("start", "--now", "good.socket", "bad.socket")
    assert done.returncode == 1
    assert len(complaints(done.stderr.decode())) == 1
    assert b"EADDRINUSE" in done.stderr
    assert b"bad.socket" in done.stderr
    assert contents(folder) == before


def test_warnings_do_not_keep_a_unit_from_starting(folder: Path) -> None:
    unit(f"[Socket]\nListenStream=127.0.0.1:{free_port()}\nBacklog=many\n")(folder)
    with started(folder / "bad.socket") as supervisor:
        assert "bad.socket:3:9: warning[SA010]" in supervisor.log[0]


# --- services that fail as soon as they run


@pytest.mark.parametrize(("line", "status"), [("exit 7", 7), ("kill -KILL $$$$", 137), ("kill -SEGV $$$$", 139)])
def test_a_service_that_exits_at_once_ends_start_with_its_status(folder: Path, line: str, status: int) -> None:
    write_units(folder, {"bad.service": f"[Service]\nExecStart=/bin/sh -c '{line}'\n"})
    done = run("start", "bad.service")
    assert done.returncode == status
    assert b"bad.service: warning: ended: " in done.stderr


def test_a_service_that_exits_at_once_without_serving_its_client_hits_its_start_limit(folder: Path) -> None:
    port = free_port()
    files = {
        "bad.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\n",
        "bad.service": "[Service]\nExecStart=/bin/sh -c 'exit 7'\n",
    }
    write_units(folder, files)
    with started(folder / "bad.socket", status=7) as supervisor:
        with connect(("127.0.0.1", port)), suppress(ConnectionError):
            pass
        assert supervisor.wait(PATIENCE) == 7
    assert sum("started, pid" in line for line in supervisor.log) == 5
    assert any("bad.service" in line and "StartLimitBurst=" in line for line in supervisor.log)
    assert any("bad.socket" in line and "start limit" in line for line in supervisor.log)


@pytest.mark.parametrize(
    ("content", "errno_name"), [(b"no program at all", "ENOEXEC"), (b"#!/no/such/interpreter\n", "ENOENT"), (b"", "ENOEXEC")]
)
def test_a_program_that_is_none_is_named_with_the_errno(folder: Path, content: bytes, errno_name: str) -> None:
    program(content, 0o755)(folder)
    done = run("start", "bad.service")
    assert done.returncode == 203
    (said,) = complaints(done.stderr.decode())
    assert said.startswith("bad.service: error: executing the program failed")
    assert f"{folder}/program" in said
    assert errno_name in said


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("EnvironmentFile=/no/such/file", "reading the environment"),
        ("EnvironmentFile=/usr", "reading the environment"),
        ("EnvironmentFile={folder}/nul", ""),
        ("StandardInput=file:/no/such/file", "opening standard input"),
        ("StandardOutput=file:/no/such/folder/file", "opening standard output"),
        ("StandardError=append:/usr", "opening standard error"),
    ],
)
@pytest.mark.parametrize("executor", ["", "fork"], ids=["c", "python"])
def test_what_is_missing_when_the_service_starts_is_told_by_its_step(folder: Path, line: str, named: str, executor: str) -> None:
    (folder / "nul").write_bytes(b"A=x\0y\n")
    write_units(folder, {"bad.service": f"{SERVICE}{line.format(folder=folder)}\n"})
    done = run("start", "bad.service", prefix=("env", f"SOCKACT_EXECUTOR={executor}"))
    assert done.returncode not in (0, 1)
    (said,) = complaints(done.stderr.decode())
    assert said.startswith(f"bad.service: error: {named}")
