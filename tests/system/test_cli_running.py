"""What a user may do to a supervisor that runs: replace its nodes and files, close its streams, stop reading its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab import PATIENCE, connect, eventually, free_port, in_shell, started, write_units
from tests.system.test_cli_bad_input import SERVICE, contents


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def echo(port: int) -> dict[str, str]:
    """An echo server, inetd style."""
    return {
        "in.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n",
        "in@.service": SERVICE + "StandardInput=socket\n",
    }


def echoed(port: int) -> bool:
    """Whether it answers within seconds."""
    with connect(("127.0.0.1", port)) as client:
        client.settimeout(5)
        client.sendall(b"hello\n")
        return client.recv(100) == b"hello\n"


# --- nothing left behind when the machine changes under a running supervisor


@pytest.fixture
def node(folder: Path) -> Path:
    write_units(
        folder, {"bad.socket": f"[Socket]\nListenStream={folder}/made/bad.sock\nRemoveOnStop=yes\n", "bad.service": SERVICE}
    )
    return folder / "made" / "bad.sock"


def replaced_by_a_file(node: Path) -> None:
    node.unlink()
    node.write_text("precious")


def replaced_by_a_full_folder(node: Path) -> None:
    node.unlink()
    (node / "full").mkdir(parents=True)


def replaced_by_an_empty_folder(node: Path) -> None:
    node.unlink()
    node.mkdir()


@pytest.mark.parametrize("replace", [replaced_by_a_file, replaced_by_a_full_folder, replaced_by_an_empty_folder])
def test_what_others_put_in_the_place_of_a_node_is_not_removed(folder: Path, node: Path, replace: Callable[[Path], None]) -> None:
    with started("bad.socket", cwd=folder):
        replace(node)
        before = contents(folder)
    assert contents(folder) == before


@pytest.fixture
def frozen(node: Path) -> Iterator[Callable[[], None]]:
    """Make the folder of the node such that nothing can be removed from it, root or not."""
    node.parent.mkdir()
    frozen = False

    def freeze() -> None:
        nonlocal frozen
        frozen = subprocess.run(["chattr", "+i", str(node.parent)], capture_output=True, check=False).returncode == 0
        if not frozen:
            node.parent.chmod(0o500)

    yield freeze
    if frozen:
        subprocess.run(["chattr", "-i", str(node.parent)], check=True)
    node.parent.chmod(0o700)


def test_a_node_that_cannot_be_removed_is_told_and_the_others_are_removed(
    folder: Path, node: Path, frozen: Callable[[], None]
) -> None:
    write_units(folder, {"other.socket": f"[Socket]\nListenStream={folder}/other.sock\nRemoveOnStop=yes\nService=bad.service\n"})
    with started("bad.socket", "other.socket", cwd=folder) as supervisor:
        frozen()
        try:
            node.unlink()
        except OSError:
            pass
        else:
            pytest.skip("nothing here keeps root from removing a file")
    assert not (folder / "other.sock").exists()
    told = [line for line in supervisor.log if str(node) in line and "listening" not in line]
    assert len(told) == 1
    assert "internal error" not in "\n".join(supervisor.log)


def test_unit_files_that_change_or_vanish_change_nothing_for_what_runs(folder: Path) -> None:
    port = free_port()
    paths = write_units(folder, echo(port))
    with started("in.socket", cwd=folder):
        write_units(folder, dict.fromkeys(echo(port), "nonsense"))
        assert echoed(port)
        for path in paths:
            path.unlink()
        assert echoed(port)


# --- signals


def test_a_hang_up_that_was_ignored_from_the_start_stays_ignored(folder: Path) -> None:
    """That is what nohup(1) does for what shall survive its terminal."""
    port = free_port()
    write_units(folder, echo(port))
    with started("in.socket", cwd=folder, prefix=in_shell("trap '' HUP")) as supervisor:
        supervisor.process.send_signal(signal.SIGHUP)
        assert echoed(port)
        assert supervisor.process.poll() is None


@pytest.mark.parametrize("executor", ["", "fork"], ids=["c", "python"])
def test_an_environment_file_that_nobody_writes_stops_neither_the_others_nor_signals(folder: Path, executor: str) -> None:
    """A FIFO as EnvironmentFile= is nonsense; only the service that asked for it may suffer."""
    port = free_port()
    os.mkfifo(folder / "fifo")
    waiting = f"{SERVICE}EnvironmentFile={folder}/fifo\nTimeoutStopSec=1\n"
    write_units(folder, {**echo(port), "waiting.service": waiting})
    command = [sys.executable, "-m", "sockact", "start", "in.socket", "waiting.service"]
    environment = {**os.environ, "SOCKACT_EXECUTOR": executor}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: reachable(port), "it listens")
        assert echoed(port)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def test_a_flood_of_stop_signals_ends_it_as_one_does(folder: Path) -> None:
    write_units(folder, echo(free_port()))
    with started("in.socket", cwd=folder) as supervisor:
        while supervisor.process.poll() is None:
            supervisor.process.send_signal(signal.SIGTERM)
    assert "Traceback" not in "\n".join(supervisor.log)


# --- a log that nobody reads


def test_a_reader_that_stopped_reading_the_log_stops_neither_clients_nor_signals(folder: Path) -> None:
    port = free_port()
    write_units(folder, echo(port))
    ours, theirs = os.pipe()
    # What a full pipe of 64 KiB does after a thousand connections, an almost full one does after a few.
    os.set_blocking(theirs, False)
    os.write(theirs, bytes(60_000))
    os.set_blocking(theirs, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "sockact", "start", "-v", "in.socket"], stderr=theirs, start_new_session=True
    )
    try:
        eventually(lambda: reachable(port), "it listens")
        for _ in range(100):
            assert echoed(port)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)
        os.close(theirs)


def reachable(port: int) -> bool:
    with suppress(ConnectionError):
        connect(("127.0.0.1", port)).close()
        return True
    return False


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_start_with_closed_standard_streams_serves_and_gives_services_no_descriptor_of_its_own(folder: Path, closed: str) -> None:
    port = free_port()
    files = {
        "fds.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n",
        "fds@.service": "[Service]\nExecStart=/bin/sh -c 'readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 >&3'\n"
        "StandardOutput=inherit\nStandardError=inherit\n",
    }
    write_units(folder, files)
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "sockact", "start", "fds.socket"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or reachable(port), "it listens")
        assert process.poll() is None, f"it ended with {process.returncode}"
        with connect(("127.0.0.1", port)) as client, client.makefile() as answer:
            links = answer.read().split()
        assert links[0] == links[2] == "/dev/null"
        assert links[1] in ("/dev/null", f"socket:[{links[1][8:-1]}]"), "redirected by the shell of the service"
        assert os.path.realpath(f"/proc/{process.pid}/fd/0") == "/dev/null", "nothing of ours is a standard stream"
        assert [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
