"""Control groups of version 2, for real: each unit has one, which keeps its processes together whatever they do, and goes with
the last of them. Limits need controllers, which a guest has (tests/guest/cgroup_checks.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.guest import checking, guest
from tests.guest.cgroup_checks import CHECKS
from tests.lab import PATIENCE, PROBE, Supervisor, alive, command, connect, eventually, in_shell, started, write_units
from tests.services import POST, acting, end, said, sh, text
from tests.system.test_init import NAMESPACE
from tests.system.test_pid1 import PLAIN_USER

NUMBERS = count(1)
MOUNTS = [*("/usr/bin/unshare", "--mount")]
"""What is mounted after this is gone with the command."""


def above() -> Path | None:
    """The control group that we are in, if groups may be made in it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    found = [Path(point + path) for _, point, kind, *_ in mounts if kind == "cgroup2" for path in own]
    return next((path for path in found if os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)), None)


ABOVE = above()


@pytest.fixture
def home() -> Iterator[Path]:
    """A control group for sockact to be in; after the test it has to be as it was."""
    if ABOVE is None or os.geteuid() != 0:
        pytest.skip("takes root, and a file system of type cgroup2 that is writable")
    with made() as path:
        yield path
        eventually(lambda: not groups(path), "no group is left behind")


@contextmanager
def made() -> Iterator[Path]:
    """A control group, which goes with all that is in it."""
    assert ABOVE is not None
    path = ABOVE / f"test-cgroups-{os.getpid()}-{next(NUMBERS)}"
    path.mkdir()
    try:
        with suppress(OSError):
            os.setxattr(path, "user.delegate", b"1")  # where systemd runs; nobody else cares
        yield path
    finally:
        clear(path)


def clear(path: Path) -> None:
    def gone() -> bool:
        for folder in [path, *groups(path)]:
            end(*pids(folder))
            with suppress(OSError):  # Linux 5.14 and later
                (folder / "cgroup.kill").write_text("1")
        for folder in sorted(groups(path), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            path.rmdir()
        return not path.exists()

    eventually(gone, f"{path} can be removed")


def groups(path: Path) -> list[Path]:
    """The groups in a group, and those in them."""
    return [Path(folder) / name for folder, names, _ in os.walk(path) for name in names]


def names(path: Path) -> list[str]:
    return sorted(str(group.relative_to(path)) for group in groups(path))


def pids(path: Path) -> set[int]:
    with suppress(OSError):
        return {int(word) for word in (path / "cgroup.procs").read_text().split()} - {0}
    return set()


def inside(home: Path, *then: str) -> list[str]:
    """A prefix that has the command run in a group."""
    return [*in_shell(f"echo 0 >{home}/cgroup.procs"), *then]


@contextmanager
def running(
    home: Path, folder: Path, *lines: str, then: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Supervisor]:
    """one.service in a supervisor in that group, and a FIFO, which keeps the supervisor running."""
    (folder / "fifo").unlink(missing_ok=True)
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": text(*lines)}
    unit = write_units(folder, files)[0]
    with started(unit, arguments=["--now", "-v"], prefix=inside(home, *then), environment=environment) as supervisor:
        yield supervisor


def number(supervisor: Supervisor, name: str) -> int:
    """The number that a service has said after this name."""
    eventually(lambda: any(line.startswith(f"{name} ") for line in supervisor.log), f"it says {name}")
    return int(next(line for line in supervisor.log if line.startswith(f"{name} ")).split()[1])


def descriptors(supervisor: Supervisor) -> int:
    return len(os.listdir(f"/proc/{supervisor.pid}/fd"))


# --- where the processes of a unit are

EXECUTORS = pytest.mark.parametrize("executor", ["", "fork"])
LEAVE = """
def forgets():
    say("other", os.getpid())
    for stream in range(3):
        os.dup2(os.open("/dev/null", os.O_RDWR), stream)
    os.execve("/bin/sleep", ["sleep", "1000"], {})
def leave():
    daemon(forgets)
"""
"""A daemon of which nothing can be known any more but where it came from; the log is not kept open by it."""
LEAVES = f"{LEAVE}leave()\n"


@EXECUTORS
def test_all_commands_of_a_unit_run_in_its_group(executor: str, home: Path, tmp_path: Path) -> None:
    tell = sh("echo in $(grep ^0:: /proc/self/cgroup)")
    keys = ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecStop", "ExecStopPost")
    files = {
        "two.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo\nExecStartPre={tell}\nExecStopPost={tell}",
        "two.service": "[Service]\nExecStart=/bin/true",
        "one.service": text("Type=oneshot", "RemainAfterExit=yes", *(f"{key}={tell}" for key in keys)),
    }
    units = write_units(tmp_path, files)
    with started(units[0], units[2], prefix=inside(home), environment={"SOCKACT_EXECUTOR": executor}) as supervisor:
        eventually(lambda: sum(line.startswith("in ") for line in supervisor.log) == 5, "it has started")
        assert supervisor.end() == 0
        assert ABOVE is not None
        found = [line for line in supervisor.log if line.startswith("in ")]
        group = next(line for line in found).partition(home.name)[0] + home.name
        assert found.count(f"{group}/sockact/one.service") == 6, supervisor.log
        assert found.count(f"{group}/sockact/two.socket") == 2, found


@EXECUTORS
def test_nothing_of_a_group_is_handed_to_a_service(executor: str, home: Path, tmp_path: Path) -> None:
    lines = (f"ExecStartPre={PROBE} tell descriptors", f"ExecStart={PROBE} say descriptors")
    (tmp_path / "one.service").write_text(text(*lines))
    with started(tmp_path / "one.service", prefix=inside(home), environment={"SOCKACT_EXECUTOR": executor}) as supervisor:
        for report in supervisor.reports(2):
            assert {*report["descriptors"]} == {"0", "1", "2"}, report


DEAF = sh('trap "" TERM; while :; do sleep 0.02; done')
STARTS = {
    "ends well": ["ExecStart=/bin/true"],
    "fails": ["ExecStart=/bin/false"],
    "has no program": ["ExecStart=-/nowhere/to/be/found"],
    "has no input": ["ExecStart=/bin/true", "StandardInput=file:/nowhere/to/be/found"],
    "fails before": ["ExecStartPre=/bin/false", "ExecStart=/bin/true"],
    "fails afterwards": ["ExecStart=/bin/sleep 1000", "ExecStartPost=/bin/false"],
    "is not wanted": ["ExecCondition=/bin/false", "ExecStart=/bin/true"],
    "breaks the protocol": ["Type=notify", "ExecStart=/bin/true"],
    "takes too long": ["Type=notify", "ExecStart=/bin/sleep 1000", "TimeoutStartSec=100ms"],
    "is deaf, too": [f"ExecStart={DEAF}", "RuntimeMaxSec=100ms", "TimeoutStopSec=100ms"],
    "is killed": [f"ExecStart={sh('kill -KILL $$')}"],
    "fails later": ["ExecStart=/bin/true", "ExecStopPost=/bin/false"],
}


@EXECUTORS
@pytest.mark.parametrize("how", STARTS)
def test_the_group_goes_with_the_service(how: str, executor: str, home: Path, tmp_path: Path) -> None:
    with running(home, tmp_path, POST, *STARTS[how], environment={"SOCKACT_EXECUTOR": executor}) as supervisor:
        supervisor.wait_log("post [")
        eventually(lambda: names(home) == ["sockact"], "only what is the supervisor's is left")


@pytest.mark.parametrize("signals", [1, 2])
def test_a_supervisor_that_is_in_a_hurry_leaves_no_group_either(signals: int, home: Path, tmp_path: Path) -> None:
    deaf = 'ignore("TERM"); say("main", os.getpid()); wait()'
    with running(home, tmp_path, f"ExecStart={acting(tmp_path, deaf)}", "TimeoutStopSec=200ms", POST) as supervisor:
        number(supervisor, "main")
        for _ in range(signals):
            supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.wait() == 0
        assert names(home) == []


def test_connections_leave_neither_groups_nor_descriptors(home: Path, tmp_path: Path) -> None:
    files = {
        "one.socket": f"[Socket]\nListenStream={tmp_path}/node\nAccept=yes",
        "one@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/sh -c 'sleep 1000 & read line; read line; exit 0'",
    }
    with started(write_units(tmp_path, files)[0], prefix=inside(home)) as supervisor:
        before = descriptors(supervisor)
        for _ in range(20):
            with ExitStack() as clients:
                for _ in range(10):
                    clients.enter_context(connect(f"{tmp_path}/node")).sendall(b"one\n")
                eventually(lambda: len(names(home)) == 11, "each connection has its group")
            eventually(lambda: names(home) == ["sockact"], "and none any longer")
        eventually(lambda: descriptors(supervisor) == before, "nothing has accumulated")


# --- who is ended with a service


@pytest.mark.parametrize("how", ["by a stop", "by itself", "by a failure"])
@pytest.mark.parametrize("mode", ["control-group", "mixed"])
def test_a_daemon_that_nothing_is_known_of_is_ended_with_its_service(mode: str, how: str, home: Path, tmp_path: Path) -> None:
    body = f'{LEAVES}on("USR1", lambda: os._exit(0))\nsay("main", os.getpid())\nwait()'
    with running(home, tmp_path, f"ExecStart={acting(tmp_path, body)}", f"KillMode={mode}", POST) as supervisor:
        main, other = number(supervisor, "main"), number(supervisor, "other")
        eventually(lambda: b"sleep" in Path(f"/proc/{other}/cmdline").read_bytes(), "it is another program")
        if how == "by a stop":
            assert supervisor.end() == 0
            assert not alive(other)
        else:
            os.kill(main, signal.SIGUSR1 if how == "by itself" else signal.SIGKILL)
            eventually(lambda: not alive(other), "it is ended, too")


@pytest.mark.parametrize("mode", ["control-group", "mixed"])
def test_without_groups_a_daemon_is_found_by_its_environment(mode: str, home: Path, tmp_path: Path) -> None:
    body = 'daemon(lambda: (say("other", os.getpid()), wait()))\nsay("main", os.getpid())\nwait()'
    lines, environment = (f"ExecStart={acting(tmp_path, body)}", f"KillMode={mode}"), {"SOCKACT_CGROUPS": "no"}
    with running(home, tmp_path, *lines, environment=environment) as supervisor:
        other = number(supervisor, "other")
        assert names(home) == []
        assert supervisor.end() == 0
        assert not alive(other)


def test_a_service_that_ends_with_its_group_ends_with_the_last_whatever_he_is(home: Path, tmp_path: Path) -> None:
    body = f'{LEAVES}say("gone", 1)'
    with running(home, tmp_path, f"ExecStart={acting(tmp_path, body)}", "ExitType=cgroup", POST) as supervisor:
        other = number(supervisor, "other")
        supervisor.wait_log("ended: exit status 0")
        os.kill(other, signal.SIGKILL)
        supervisor.wait_log("post [success]")
        assert not any("SIGTERM" in line for line in supervisor.log)


def test_a_storm_of_processes_that_are_never_the_same_ends_with_its_service(home: Path, tmp_path: Path) -> None:
    """Each makes another one in its place, and ends, so that no list of them is ever true."""
    program = """
        ignore("TERM", "HUP")
        def storm():
            for stream in range(3):
                os.dup2(os.open("/dev/null", os.O_RDWR), stream)
            while True:
                time.sleep(0.05)
                if os.fork():
                    os._exit(0)
                os.setsid()
        for _ in range(60):
            fork(storm)
        say("main", os.getpid())
        wait()
    """
    with running(home, tmp_path, f"ExecStart={acting(tmp_path, program)}", "TimeoutStopSec=200ms", POST) as supervisor:
        number(supervisor, "main")
        assert len(pids(home / "sockact/one.service")) > 30
        assert supervisor.end() == 0
        assert said(supervisor)[-1] == "post [timeout] [killed] [KILL]"
        assert names(home) == []


NESTS = {
    "groups": "mkdir $G/in $G/in/deep; echo 0 >$G/in/deep/cgroup.procs",
    "an empty group": "mkdir $G/in",
    "groups of threads": "mkdir $G/in; echo threaded >$G/in/cgroup.type; echo 0 >$G/in/cgroup.threads",
}


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("nests", NESTS)
def test_groups_that_a_service_makes_in_its_own_go_with_it(nests: str, killed: bool, home: Path, tmp_path: Path) -> None:
    script = NESTS[nests].replace("$G", f"{home}/sockact/one.service")
    deaf = 'trap "" TERM; ' if killed else ""
    lines = (f"ExecStart={sh(f'{deaf}{script} && echo main $$; while :; do sleep 0.02; done')}", "TimeoutStopSec=200ms", POST)
    with running(home, tmp_path, *lines) as supervisor:
        number(supervisor, "main")
        assert "sockact/one.service/in" in names(home)
        assert supervisor.end() == 0
        assert said(supervisor)[-1] == f"post [{'timeout] [killed] [KILL' if killed else 'success] [killed] [TERM'}]"
        assert names(home) == []


# --- those that are left alone


def test_a_group_stays_as_long_as_somebody_is_left_in_it(home: Path, tmp_path: Path) -> None:
    body = f'{LEAVES}say("main", os.getpid())\nwait()'
    with running(
        home, tmp_path, f"ExecStart={acting(tmp_path, body)}", "KillMode=process", "Restart=always", "RestartSec=1h"
    ) as supervisor:
        main, other = number(supervisor, "main"), number(supervisor, "other")
        os.kill(main, signal.SIGTERM)
        supervisor.wait_log("restarting in ")
        assert pids(home / "sockact/one.service") == {other}
        os.kill(other, signal.SIGKILL)
        eventually(lambda: names(home) == ["sockact"], "the group has gone with it")


def test_a_group_in_which_somebody_is_left_stays_when_the_supervisor_ends(home: Path, tmp_path: Path) -> None:
    body = f'{LEAVES}say("main", os.getpid())\nwait()'
    lines = (f"ExecStart={acting(tmp_path, body)}", "KillMode=process")
    with running(home, tmp_path, *lines) as supervisor:
        other = number(supervisor, "other")
        assert supervisor.end() == 0
        assert pids(home / "sockact/one.service") == {other}
    with running(home, tmp_path, *lines) as second:
        assert number(second, "other") != other
        assert pids(home / "sockact/one.service") == {other}
        assert len(pids(home / "sockact-2/one.service")) == 2
        end(*pids(home / "sockact/one.service"), *pids(home / "sockact-2/one.service"))
        eventually(lambda: "sockact-2/one.service" not in names(home), "it has ended")
    eventually(lambda: not pids(home / "sockact/one.service"), "nobody is left")
    clear(home / "sockact")


def test_restarts_that_leave_somebody_behind_leave_no_descriptors(home: Path, tmp_path: Path) -> None:
    """All of them in one group, which is watched once."""
    body = f"""
{LEAVES}
(folder / f"{{os.getpid()}}.run").touch()
if len(list(folder.glob("*.run"))) < 12:
    sys.exit(0)
say("last", os.getpid())
wait()
"""
    lines = (f"ExecStart={acting(tmp_path, body)}", "KillMode=process", "Restart=always", "RestartSec=0")
    with running(home, tmp_path, *lines, "[Unit]", "StartLimitBurst=1000") as supervisor:
        last = number(supervisor, "last")
        left = pids(home / "sockact/one.service") - {last}
        try:
            assert len(left) == 12
            assert watches(supervisor) <= 1
        finally:
            end(*left)
        eventually(lambda: pids(home / "sockact/one.service") == {last}, "they have gone")
        assert supervisor.end() == 0
        assert names(home) == []


def watches(supervisor: Supervisor) -> int:
    """How many groups a supervisor watches, by its descriptors."""
    found = 0
    for path in Path(f"/proc/{supervisor.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += os.readlink(path).endswith("/one.service/cgroup.events")
    return found


def test_a_service_that_runs_again_is_told_from_who_is_left_of_it(home: Path, tmp_path: Path) -> None:
    """The end of those left behind is not taken for that of the service, nor is its group removed."""
    body = f'{LEAVE}first_time() and leave()\nsay("main", os.getpid())\non("TERM", lambda: os._exit(3))\nwait()'
    lines = (f"ExecStart={acting(tmp_path, body)}", "KillMode=process", "Restart=on-failure", "RestartSec=0", POST)
    with running(home, tmp_path, *lines) as supervisor:
        first, other = number(supervisor, "main"), number(supervisor, "other")
        os.kill(first, signal.SIGTERM)
        supervisor.wait_log("started, pid", 2)
        eventually(lambda: sum(line.startswith("main ") for line in supervisor.log) == 2, "it runs again")
        group = home / "sockact/one.service"
        assert len(pids(group)) == 2
        os.kill(other, signal.SIGKILL)
        eventually(lambda: len(pids(group)) == 1, "the main process is left")
        assert supervisor.end() == 0
        assert sum(line.startswith("post [") for line in supervisor.log) == 2
        assert names(home) == []


# --- after everybody was killed


@EXECUTORS
def test_commands_run_in_a_group_that_was_killed(executor: str, home: Path, tmp_path: Path) -> None:
    """Linux 6.18 kills whoever clone3(2) makes in such a group."""
    deaf = 'ignore("TERM", "USR1")\nfork(wait)\nsay("main", os.getpid())\nwait()'
    lines = (
        f"ExecStart={acting(tmp_path, deaf)}",
        "TimeoutStopSec=100ms",
        "RuntimeMaxSec=500ms",
        "Restart=always",
        "RestartSec=0",
    )
    more = (f"ExecStopPost={sh('sleep 1000 & echo more')}", POST)
    with running(home, tmp_path, *lines, *more, environment={"SOCKACT_EXECUTOR": executor}) as supervisor:
        supervisor.wait_log("post [timeout] [killed] [KILL]", 3)
        assert not any(line.startswith("post [") and line != "post [timeout] [killed] [KILL]" for line in supervisor.log)
        assert supervisor.end() == 0
        assert names(home) == []


def test_services_run_where_the_group_of_the_supervisor_was_killed_before(home: Path, tmp_path: Path) -> None:
    """Linux 6.18 compares how often the groups of both were killed."""
    (home / "cgroup.kill").write_text("1")
    with running(home, tmp_path, f"ExecStart={sh('echo main $$; exec sleep 1000')}", POST) as supervisor:
        main = number(supervisor, "main")
        assert pids(home / "sockact/one.service") == {main}


# --- who may speak

SPEAKS = """
code = '''
import os, socket, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
channel.connect(sys.argv[1].replace("@", chr(0), 1))
channel.send(b"READY=1")
time.sleep(1000)
'''
fork(lambda: os.execve(sys.executable, [sys.executable, "-ISc", code, os.environ["NOTIFY_SOCKET"]], {}))
wait()
"""


def test_a_process_that_nothing_is_known_of_may_speak_for_its_service(home: Path, tmp_path: Path) -> None:
    lines = ("Type=notify", "NotifyAccess=all", f"ExecStart={acting(tmp_path, SPEAKS)}")
    with running(home, tmp_path, *lines) as supervisor:
        supervisor.wait_log("one.service: is running")


def test_it_may_not_where_only_the_main_process_may(home: Path, tmp_path: Path) -> None:
    lines = ("Type=notify", "NotifyAccess=main", f"ExecStart={acting(tmp_path, SPEAKS)}")
    with running(home, tmp_path, *lines) as supervisor:
        supervisor.wait_log("which may not speak")
        assert not any("is running" in line for line in supervisor.log)


# --- several supervisors


def test_each_supervisor_in_a_group_has_a_directory_of_its_own(home: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first, second, third = (partial(running, home, tmp_path / name, "ExecStart=/bin/true", POST) for name in ("a", "b", "c"))

    def there(*wanted: str) -> None:
        """Also while nothing runs that would keep others out of it."""
        eventually(lambda: names(home) == [*wanted], f"only {wanted} is there")

    with first() as supervisor:
        there("sockact")
        with second():
            there("sockact", "sockact-2")
            supervisor.end()
            there("sockact-2")
            with third():
                there("sockact", "sockact-2")
            there("sockact-2")


@pytest.mark.parametrize("left", [False, True])
def test_what_a_killed_supervisor_leaves_is_taken_over_if_nobody_is_in_it(left: bool, home: Path, tmp_path: Path) -> None:
    unit = write_units(
        tmp_path, {"one.service": text(f"ExecStart={sh('mkdir -p $G/deep; echo main $$; exec sleep 1000 2>/dev/null >&2')}")}
    )[0]
    unit.write_text(unit.read_text().replace("$$G", f"{home}/sockact/one.service"))
    killed = Supervisor([*inside(home), *command(unit)])
    try:
        main = number(killed, "main")
        killed.process.kill()
        killed.process.wait(PATIENCE)
        if not left:
            end(main)
        eventually(lambda: alive(main) == left, "as it is meant to be")
        eventually(lambda: bool(pids(home / "sockact/one.service")) == left, "as it is meant to be")
        with running(home, tmp_path, "ExecStart=/bin/sleep 1000"):
            deep = ["sockact/one.service/deep"] if left else []
            other = ["sockact-2", "sockact-2/one.service"] if left else []
            assert names(home) == sorted([*other, "sockact", "sockact/one.service", *deep])
            assert alive(main) == left
    finally:
        killed.destroy()
    clear(home / "sockact")


# --- without control groups

NOWHERE: Mapping[str, tuple[Callable[[Path], list[str]], str]] = {
    "switched off": (lambda home: ["env", "SOCKACT_CGROUPS=no"], "SOCKACT_CGROUPS=no"),
    "not there": (lambda home: [*MOUNTS, *in_shell(f"umount -l {ABOVE} || exit 99")], "no file system of type cgroup2"),
    "hidden": (lambda home: [*MOUNTS, *in_shell(f"mount -t tmpfs none {ABOVE} || exit 99")], f"{ABOVE}"),
    "read-only": (lambda home: [*MOUNTS, *in_shell(f"mount -o remount,bind,ro {ABOVE} || exit 99")], "is not writable"),
    "not ours": (lambda home: [*PLAIN_USER], "is not writable"),
}


@pytest.mark.parametrize("why", NOWHERE)
def test_without_groups_it_says_so_once_and_all_goes_on(why: str, home: Path, tmp_path: Path) -> None:
    then, reason = NOWHERE[why]
    unit = write_units(tmp_path, {"one.service": text(f"ExecStart={sh('echo main $$; exec sleep 1000')}", "MemoryMax=1G", POST)})[
        0
    ]
    with started(unit, prefix=inside(home, *then(home))) as supervisor:
        assert names(home) == []
        assert alive(number(supervisor, "main"))
        said_so = supervisor.wait_log("no control groups: ")
        assert len(said_so) == 1
        assert reason in said_so[0]
        assert supervisor.wait_log("not applied: MemoryMax= ")
        assert supervisor.end() == 0
        assert said(supervisor)[-1] == "post [success] [killed] [TERM]"


@pytest.mark.parametrize("why", NOWHERE)
def test_a_limit_that_cannot_be_set_is_told_before_the_start(why: str, home: Path, tmp_path: Path) -> None:
    then, reason = NOWHERE[why]
    unit = write_units(tmp_path, {"one.service": text("ExecStart=/bin/true", "MemoryMax=1G")})[0]
    for words, status, told in (
        (["verify"], 0, True),
        (["verify", "--strict"], 1, True),
        (["verify", "--offline"], 0, False),
        (["verify", "--offline", "--strict"], 0, False),
        (["start", "--strict"], 1, True),
    ):
        whole = [*inside(home, *then(home)), sys.executable, "-m", "sockact", *words, str(unit)]
        done = subprocess.run(whole, check=False, capture_output=True, text=True, timeout=PATIENCE)
        output = done.stdout + done.stderr
        assert (done.returncode, "SA061" in output, reason in output) == (status, told, told), (words, output)


def test_a_start_with_few_descriptors_leaves_no_groups(home: Path, tmp_path: Path) -> None:
    """What it runs out of while it looks for a directory is not taken for a directory in use."""
    unit = write_units(
        tmp_path, {"one.socket": f"[Socket]\nListenFIFO={tmp_path}/fifo", "one.service": text("ExecStart=/bin/true")}
    )
    for most in range(5, 13):
        (tmp_path / "fifo").unlink(missing_ok=True)
        supervisor = Supervisor([*inside(home, "prlimit", f"--nofile={most}"), *command(unit[0])])
        try:
            eventually(lambda: supervisor.process.poll() is not None or said_ready(supervisor), "ready, or not")  # noqa: B023
            assert not any("full of supervisors" in line for line in supervisor.log), supervisor.log
        finally:
            supervisor.destroy()
        assert names(home) == [], most


def said_ready(supervisor: Supervisor) -> bool:
    return any("ready: " in line for line in supervisor.log)


NO_CLONE3 = """
import ctypes, os, struct, sys
step = struct.Struct("HBBI").pack
program = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 435) + step(6, 0, 0, 0x50000 | {error}) + step(6, 0, 0, 0x7FFF0000)
room = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HP", 4, ctypes.addressof(room)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""seccomp(2): clone3(2), which is 435 everywhere, fails."""


@pytest.mark.parametrize("error", [1, 38], ids=["EPERM", "ENOSYS"])
def test_where_clone3_is_forbidden_a_process_moves_into_its_group(error: int, home: Path, tmp_path: Path) -> None:
    then = [sys.executable, "-c", NO_CLONE3.format(error=error)]
    with running(home, tmp_path, f"ExecStart={sh('echo main $$; exec sleep 1000')}", then=then) as supervisor:
        main = number(supervisor, "main")
        assert pids(home / "sockact/one.service") == {main}


# --- where systemd runs


@pytest.mark.parametrize(("attribute", "value", "used"), [
    ("user.delegate", b"1", True),
    ("trusted.delegate", b"1", True),
    ("user.delegate", b"0", False),
    ("user.other", b"1", False),
])  # fmt: skip
def test_groups_that_systemd_manages_are_left_to_it(attribute: str, value: bytes, used: bool, home: Path, tmp_path: Path) -> None:
    with suppress(OSError):
        os.removexattr(home, "user.delegate")
    os.setxattr(home, attribute, value)
    then = [*MOUNTS, *in_shell("mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit 99")]
    with running(home, tmp_path, f"ExecStart={sh('echo main $$; exec sleep 1000')}", then=then) as supervisor:
        number(supervisor, "main")
        assert any("no control groups: " in line and "Delegate=yes" in line for line in supervisor.log) is not used
        assert names(home) == (["sockact", "sockact/one.service"] if used else [])


# --- a plain user, and process 1


@EXECUTORS
def test_a_plain_user_may_use_the_group_that_is_his(executor: str, home: Path, tmp_path: Path) -> None:
    for path in (home, home / "cgroup.procs", home / "cgroup.threads", home / "cgroup.subtree_control"):
        os.chown(path, 64321, 64321)
    script = (
        'trap "" TERM; setsid env -i /bin/sleep 1000 >/dev/null 2>&1 & echo other $!; echo main $$; while :; do sleep 0.02; done'
    )
    lines = (f"ExecStart={sh(script)}", "TimeoutStopSec=100ms", POST)
    unit = write_units(tmp_path, {"one.service": text(*lines)})[0]
    with started(unit, prefix=inside(home, *PLAIN_USER), environment={"SOCKACT_EXECUTOR": executor}) as supervisor:
        both = {number(supervisor, "main"), number(supervisor, "other")}
        assert both <= pids(home / "sockact/one.service")
        assert supervisor.end() == 0
        assert said(supervisor)[-1] == "post [timeout] [killed] [KILL]"
        assert not any(map(alive, both))
        assert names(home) == []


def test_process_1_has_groups_as_anybody_else(home: Path, tmp_path: Path) -> None:
    body = f'{LEAVES}say("main", os.getpid())\nwait()'
    unit = write_units(tmp_path, {"one.service": text(f"ExecStart={acting(tmp_path, body)}", POST)})[0]
    supervisor = Supervisor([*inside(home, *NAMESPACE), *command(unit)])
    try:
        number(supervisor, "main")
        number(supervisor, "other")
        assert len(both := pids(home / "sockact/one.service")) == 2
        (init,) = pids(home) - {supervisor.pid}
        os.kill(init, signal.SIGTERM)
        assert supervisor.wait() == 0
        assert not any(map(alive, both))
        assert names(home) == []
    finally:
        end(*pids(home))
        supervisor.wait()


# --- limits, in a guest

LIMIT = 600.0
"""Seconds for all checks together; emulated on an idle machine they take twenty."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str | None]:
    """What failed, by the name of the check; of one run of all of them."""
    if reason := guest.unavailable():
        pytest.skip(f"there is no guest, whose control groups could be changed at will: {reason}")
    done = guest.run(checking.command("/usr/bin/python3", "tests.guest.cgroup_checks"), (), LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return checking.outcomes(done.stdout)


@pytest.mark.parametrize("sentence", CHECKS)
def test_with_controllers_in_the_kernel(sentence: str, outcomes: dict[str, str | None]) -> None:
    if failure := outcomes[sentence]:
        pytest.fail(failure, pytrace=False)
