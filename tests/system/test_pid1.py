"""What tini and dumb-init promise, and what goes wrong in containers: every signal, orphans by the thousand, processes that will
not go, limits, and file systems that lack something. Mostly as PID 1 of a namespace; see test_init.py for the plain cases."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.lab import (
    PATIENCE,
    Supervisor,
    alive,
    ask,
    children,
    command,
    connect,
    descendants,
    eventually,
    in_shell,
    started,
    write_units,
)
from tests.services import acting, end, sh
from tests.system.test_init import NAMESPACE, Init, as_init, impossible, zombies

pytestmark = pytest.mark.skipif(bool(impossible()), reason=impossible() or "it is possible")

PLAIN_USER = [
    "/usr/bin/setpriv",
    *("--reuid=64321", "--regid=64321", "--clear-groups", "--no-new-privs"),
    # The interpreter of the tests may be where only root can read.
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
]
STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}


def service(folder: Path, *lines: str) -> Path:
    return write_units(folder, {"one.service": "[Service]\n" + "\n".join(lines) + "\n"})[0]


def socketed(folder: Path, *lines: str, socket: str = "") -> Path:
    """one.socket, and its service."""
    service(folder, *lines)
    (folder / "one.socket").write_text(f"[Socket]\nListenStream={folder}/node\n{socket}\n")
    return folder / "one.socket"


def ticks(pid: int) -> int:
    """The time that a process has had the processor, in hundredths of a second."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


# --- signals


def test_no_signal_that_nobody_asked_to_forward_does_any_harm(tmp_path: Path) -> None:
    program = "on('USR1', lambda: say('still here'))\nsay('listens')\nwait()"
    with as_init(service(tmp_path, f"ExecStart={acting(tmp_path, program)}"), arguments=["--forward=USR1"]) as init:
        init.outer.wait_log("listens")
        for number in (*range(1, 32), *range(34, 65)):
            if number not in STOPPING | {signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1}:
                os.kill(init.pid, number)
        os.kill(init.pid, signal.SIGUSR1)
        init.outer.wait_log("still here")
        os.kill(init.pid, signal.SIGHUP)
        init.outer.wait_log("SIGHUP: reloading")
        assert init.end(signal.SIGTERM) == 0


def test_a_request_to_stop_that_comes_before_anything_is_open_is_not_lost(tmp_path: Path) -> None:
    """PID 1 has no default for SIGTERM: what it does not handle yet, it has to keep. The unit takes a while to be read."""
    unit = service(tmp_path, "ExecStart=/bin/sleep 1000")
    unit.write_text(unit.read_text() + "# a line that says nothing\n" * 500_000)
    outer = Supervisor([*NAMESPACE, *command(unit)])
    try:
        eventually(lambda: any(memory(pid) > 30_000 for pid in children(outer.pid)), "it reads")
        assert Init(outer).end(signal.SIGTERM) == 0
    finally:
        for pid in children(outer.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        outer.wait()


def memory(pid: int) -> int:
    """The memory of a process, in kilobytes."""
    found = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(found[0]) if found else 0


def test_a_request_to_stop_that_comes_while_a_socket_opens_is_not_lost(tmp_path: Path) -> None:
    unit = socketed(tmp_path, "ExecStart=/bin/cat", socket="ExecStartPre=/bin/sh -c 'echo opening; exec sleep 1000'")
    outer = Supervisor([*NAMESPACE, *command(unit)])
    try:
        outer.wait_log("opening")
        assert Init(outer).end(signal.SIGTERM) == 0
    finally:
        outer.destroy()


# --- the exit status


@pytest.mark.parametrize("status", [0, 1, 2, 127, 143, 255])
@pytest.mark.parametrize("option", ["--exit=all", "--exit=first"])
def test_the_exit_status_of_the_service_is_that_of_the_container(option: str, status: int, tmp_path: Path) -> None:
    unit = service(tmp_path, f"ExecStart={sh(f'exit {status}')}")
    words = [*NAMESPACE, *command(unit, arguments=[option])]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == status, done.stderr


# --- processes


STORM = """
    for _ in range({count}):
        pid = os.fork()
        if not pid:
            if not os.fork():
                {orphan}
            os._exit(0)
        os.waitpid(pid, 0)
    say('all are born')
    {then}
"""


def test_orphans_by_the_thousand_are_all_reaped(tmp_path: Path) -> None:
    program = STORM.format(count=5000, orphan="os._exit(0)", then="wait()")
    with as_init(service(tmp_path, f"ExecStart={acting(tmp_path, program)}")) as init:
        init.outer.wait_log("all are born")
        eventually(lambda: len(descendants(init.pid)) == 1, "only the main process is left")
        assert not zombies(init.pid)
        assert init.end(signal.SIGTERM) == 0


def test_orphans_with_sessions_of_their_own_end_with_their_service(tmp_path: Path) -> None:
    """Each is found by itself, and their ends, one by one, do not take as long as their number squared."""
    orphan = "os.setsid(); time.sleep(1 + _ / 1000); os._exit(0)"
    program = STORM.format(count=1000, orphan=orphan, then="sys.exit(3)")
    with as_init(service(tmp_path, f"ExecStart={acting(tmp_path, program)}", "KillMode=process", "ExecStop=-/bin/true")) as init:
        assert init.outer.wait() == 3
    unit = service(tmp_path, f"ExecStart={acting(tmp_path, program.replace('time.sleep', 'time.sleep(1000); time.sleep'))}")
    with as_init(unit) as init:
        assert init.outer.wait() == 3
        assert any("one.service: warning: ended: exit status 3" in line for line in init.outer.log)


@pytest.mark.parametrize("prefix", [[], NAMESPACE], ids=["here", "pid 1"])
def test_who_left_the_session_and_ignores_the_request_is_killed_in_time(prefix: list[str], tmp_path: Path) -> None:
    program = """
        def deaf():
            ignore('TERM', 'HUP')
            (folder / f'{os.getpid()}.deaf').touch()
            wait()
        ignore('TERM')
        daemon(deaf)
        fork(deaf, session=True)
        fork(deaf)
        deaf()
    """
    unit = service(tmp_path, f"ExecStart={acting(tmp_path, program)}", "TimeoutStopSec=100ms")
    supervisor = Supervisor([*prefix, *command(unit)])
    try:
        eventually(lambda: len(list(tmp_path.glob("*.deaf"))) == 4, "all four are deaf")
        (pid,) = children(supervisor.pid) if prefix else (supervisor.pid,)
        family = descendants(pid)
        assert len(family) == 4
        os.kill(pid, signal.SIGTERM)
        assert supervisor.wait() == 0
        assert not any(map(alive, family))
        assert any("ended: killed by SIGKILL" in line for line in supervisor.log)
    finally:
        left = descendants(supervisor.pid)
        supervisor.destroy()
        end(*left)


def test_a_group_that_outlives_its_leader_is_ended_with_the_service(tmp_path: Path) -> None:
    script = '(trap "echo child heard; exit 0" TERM; echo child listens; while :; do sleep 0.01; done) & exit 7'
    with as_init(service(tmp_path, f"ExecStart={sh(script)}")) as init:
        assert init.outer.wait() == 7


def test_without_being_pid_1_orphans_are_adopted_and_reaped_all_the_same(tmp_path: Path) -> None:
    program = STORM.format(count=500, orphan="os.setsid(); os._exit(0)", then="wait()")
    with started(service(tmp_path, f"ExecStart={acting(tmp_path, program)}")) as supervisor:
        supervisor.wait_log("all are born")
        eventually(lambda: len(descendants(supervisor.pid)) == 1, "only the main process is left")


# --- what a container may lack


@pytest.mark.parametrize("streams", ["<&-", ">&-", "<&- >&-"])
def test_standard_streams_that_are_closed_are_no_trouble(streams: str, tmp_path: Path) -> None:
    unit = service(tmp_path, f"ExecStart={sh('test -c /dev/stdin; echo stdin $?; exec sleep 1000')}")
    with as_init(unit, prefix=in_shell(f"exec {streams}")) as init:
        init.outer.wait_log("stdin 0")
        assert init.end(signal.SIGTERM) == 0


def test_all_streams_may_be_closed(tmp_path: Path) -> None:
    unit = service(tmp_path, f"ExecStart=/bin/touch {tmp_path}/mark")
    done = subprocess.run([*in_shell("exec <&- >&- 2>&-"), *NAMESPACE, *command(unit)], check=False, timeout=PATIENCE)
    assert done.returncode == 0
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "script",
    [
        "mount -o remount,bind,ro / && ! touch /usr/x 2>/dev/null",
        "mount -t tmpfs -o size=4k none /dev/shm",
        "mount -t tmpfs -o ro none /proc",
        "mount -t tmpfs -o ro none /sys; umount -l /dev/shm /dev/pts /dev/mqueue 2>/dev/null || true",
        "mount -t tmpfs -o ro none /var; mount -t tmpfs -o ro none /run",
    ],
    ids=["read-only root", "tiny shm", "no proc", "no sys", "no var and run"],
)
def test_a_poor_file_system_is_enough(script: str, tmp_path: Path) -> None:
    program = "with socket.socket(fileno=3).accept()[0] as client: client.recv(9), client.send(b'{}\\n')"
    service(tmp_path, f"ExecStart={acting(tmp_path, program)}")
    (tmp_path / "one.socket").write_text("[Socket]\nListenStream=@sockact-pid1-test\n")
    with as_init(tmp_path / "one.socket", prefix=in_shell(f"{script} || exit 99")) as init:
        assert ask("@sockact-pid1-test") == {}
        init.outer.wait_log("one.service: ended: exit status 0")
        assert init.end(signal.SIGTERM) == 0
        assert not any("Traceback" in line or "internal error" in line for line in init.outer.log)


def test_without_a_null_device_it_says_what_is_missing(tmp_path: Path) -> None:
    words = [*NAMESPACE, "--mount", *in_shell("mount -t tmpfs none /dev"), *command(service(tmp_path, "ExecStart=/bin/true"))]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "/dev/null" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that a plain user may use."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="sockact-pid1-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def test_a_plain_user_may_be_pid_1(public: Path) -> None:
    script = "id -u; (setsid sleep 1000 &) ; exec sleep 1000"
    with as_init(socketed(public, f"ExecStart={sh(script)}"), arguments=["--now"], prefix=PLAIN_USER) as init:
        init.outer.wait_log("64321")
        family = descendants(init.pid)
        assert (public / "node").stat().st_uid == 64321
        assert init.end(signal.SIGTERM) == 0
        assert not any(map(alive, family))


# --- limits

HELD = "Restart=on-abort"
"""The connection of a service that may be started again stays open for it."""


@pytest.mark.parametrize("executor", ["", "fork"])
def test_without_room_for_a_process_it_waits_says_so_and_goes_on_when_there_is(executor: str, public: Path) -> None:
    unit = service(public, "ExecStart=/bin/sh -c 'echo runs; exec sleep 1000'")
    prefix = [*PLAIN_USER, "/usr/bin/prlimit", "--nproc=1:100", "/usr/bin/env", f"SOCKACT_EXECUTOR={executor}"]
    with as_init(unit, prefix=prefix) as init:
        init.outer.wait_log("one.service: error: cannot make a process: Resource temporarily unavailable")
        before = ticks(init.pid)
        init.outer.wait_log("cannot make a process", 3)
        assert ticks(init.pid) - before < 50, "two tries a second apart take no time"
        subprocess.run([*PLAIN_USER, "/usr/bin/prlimit", f"--pid={init.pid}", "--nproc=100:100"], check=True, timeout=PATIENCE)
        init.outer.wait_log("runs")
        assert init.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("executor", ["", "fork"])
@pytest.mark.parametrize("limit", [9, 11, 12, 16])
def test_with_few_descriptors_it_neither_dies_nor_spins(executor: str, limit: int, tmp_path: Path) -> None:
    """Whatever is possible with so few, it ends when it is asked to, and says what it lacks while it lives."""
    unit = socketed(tmp_path, "StandardInput=socket", "ExecStart=/bin/cat", HELD, socket="Accept=yes")
    (tmp_path / "one.service").rename(tmp_path / "one@.service")
    prefix = ["/usr/bin/prlimit", f"--nofile={limit}", "/usr/bin/env", f"SOCKACT_EXECUTOR={executor}"]
    with as_init(unit, prefix=prefix) as init:
        with ExitStack() as clients:
            for _ in range(20):
                clients.enter_context(connect(f"{tmp_path}/node"))
            init.outer.wait_log("Too many open files")
            before = ticks(init.pid)
            init.outer.wait_log("Too many open files", 2)
            assert ticks(init.pid) - before < 50
        assert init.end(signal.SIGTERM) == 0
        assert not any("Traceback" in line or "internal error" in line for line in init.outer.log)


def test_when_there_are_descriptors_again_it_serves_those_who_waited(tmp_path: Path) -> None:
    unit = socketed(tmp_path, "StandardInput=socket", "ExecStart=/bin/cat", HELD, socket="Accept=yes")
    (tmp_path / "one.service").rename(tmp_path / "one@.service")
    with as_init(unit, prefix=["/usr/bin/prlimit", "--nofile=13:1024"]) as init:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(f"{tmp_path}/node")) for _ in range(20)]
            init.outer.wait_log("Too many open files")
            subprocess.run(["/usr/bin/prlimit", f"--pid={init.pid}", "--nofile=1024:1024"], check=True, timeout=PATIENCE)
            for client in clients:
                client.sendall(b"x")
                assert client.recv(1) in {b"x", b""}, "served, or closed when its process could not be made"
        assert ask_once(f"{tmp_path}/node") == b"x"
        assert init.end(signal.SIGTERM) == 0


def ask_once(address: str) -> bytes:
    with connect(address) as client:
        client.sendall(b"x")
        return client.recv(1)
