"""What the control groups of units are limited to, checked on a kernel whose controllers are there (cgroups(7), version 2).

    python -m tests.guest.cgroup_checks

Prints one line of JSON a check, its name and what failed.  tests/system/test_cgroups.py runs it in a guest, whose groups are
nobody's: they are changed at will here.  Few processes, as Python is twenty times slower under emulation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.guest.checking import Checks
from tests.lab import Supervisor, alive, command, eventually, in_shell, started, write_units

ROOT = Path("/sys/fs/cgroup")
BOX = ROOT / "box"
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
MAIN = "ExecStart=/bin/sh -c 'echo main $$$$; exec sleep 1000'"

CHECKS = Checks()
check = CHECKS.add


@check
def all_limits_are_set_in_the_group_of_the_unit(folder: Path) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = {
        "TasksMax=33": ("pids.max", "33"),
        "MemoryMin=4M": ("memory.min", str(4 << 20)),
        "MemoryLow=8M": ("memory.low", str(8 << 20)),
        "MemoryHigh=64M": ("memory.high", str(64 << 20)),
        "MemoryMax=50%": ("memory.max", str(total // 2 // 4096 * 4096)),
        "MemorySwapMax=0": ("memory.swap.max", "0"),
        "CPUWeight=200": ("cpu.weight", "200"),
        "CPUQuota=150%": ("cpu.max", "15000 10000"),
        "CPUQuotaPeriodSec=10ms": ("cpu.max", "15000 10000"),
        "IOWeight=300": ("io.weight", "default 300"),
        "AllowedCPUs=0": ("cpuset.cpus", "0"),
        "AllowedMemoryNodes=0": ("cpuset.mems", "0"),
    }
    with running(folder, MAIN, *limits) as supervisor:
        found = {line: read(BOX / "sockact/one.service" / file) for line, (file, _) in limits.items()}
        assert found == {line: value for line, (_, value) in limits.items()}, found
        assert not_applied(supervisor) == []
        expect_aside(supervisor)
    expect_as_before()


@check
def a_limit_may_be_lifted_and_a_unit_may_be_idle(folder: Path) -> None:
    lines = ("MemoryMax=infinity", "TasksMax=infinity", "CPUWeight=idle", "CPUQuota=20%")
    with running(folder, MAIN, *lines) as supervisor:
        files = ("memory.max", "pids.max", "cpu.idle", "cpu.max")
        assert [read(BOX / "sockact/one.service" / file) for file in files] == ["max", "max", "1", "20000 100000"]
        assert not_applied(supervisor) == []
    expect_as_before()


@check
def a_limit_of_a_threaded_controller_alone_is_set_as_well(folder: Path) -> None:
    """Such a controller can be used in a group with processes, which becomes one of threads then."""
    for line, file, value in (("TasksMax=33", "pids.max", "33"), ("CPUWeight=50", "cpu.weight", "50")):
        with running(folder, MAIN, line) as supervisor:
            assert read(BOX / "sockact/one.service" / file) == value
            expect_aside(supervisor)
        expect_as_before()


@check
def who_takes_more_memory_than_it_may_is_killed_and_sockact_lives(folder: Path) -> None:
    eater = f"ExecStart={sys.executable} -ISc 'x = b\"x\" * (200 << 20)'"
    post = "ExecStopPost=/bin/echo post $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"
    with running(folder, eater, "MemoryMax=32M", "MemorySwapMax=0", post) as supervisor:
        words = supervisor.wait_log("post ")[-1].split()
        assert words[-2:] == ["killed", "KILL"], words
        eventually(lambda: not (BOX / "sockact/one.service").exists(), "the group has gone")
    expect_as_before()


@check
def who_makes_more_processes_than_it_may_makes_no_more(folder: Path) -> None:
    script = folder / "bomb"
    script.write_text("import os, time\nfor count in range(99):\n try:\n  if not os.fork(): time.sleep(1000)\n"
                      " except BlockingIOError: print('made', count, flush=True); break\ntime.sleep(1000)\n")  # fmt: skip
    with running(folder, f"ExecStart={sys.executable} -IS {script}", "TasksMax=8") as supervisor:
        assert supervisor.wait_log("made ")[-1] == "made 7"
        assert len(pids(BOX / "sockact/one.service")) == 8
    expect_as_before()


@check
def beside_other_processes_nothing_is_limited_and_units_have_groups(folder: Path) -> None:
    with subprocess.Popen([*inside(BOX), "/bin/sleep", "1000"]) as other:
        eventually(lambda: other.pid in pids(BOX), "it is in the way")
        with running(folder, MAIN, "MemoryMax=64M", "TasksMax=9") as supervisor:
            supervisor.wait_log("MemoryMax= is not applied: /sys/fs/cgroup/box has other processes")
            supervisor.wait_log("TasksMax= is not applied: /sys/fs/cgroup/box has other processes")
            supervisor.wait_log("not applied: MemoryMax= TasksMax= ")
            assert pids(BOX) == {other.pid, supervisor.pid}
            assert len(pids(BOX / "sockact/one.service")) == 1
        other.kill()
    expect_as_before()


@check
def a_controller_that_is_not_there_is_named(folder: Path) -> None:
    (ROOT / "cgroup.subtree_control").write_text("-io")
    try:
        with running(folder, MAIN, "IOWeight=300", "TasksMax=9") as supervisor:
            supervisor.wait_log("IOWeight= is not applied: /sys/fs/cgroup/box has no controller io")
            assert read(BOX / "sockact/one.service/pids.max") == "9"
    finally:
        (ROOT / "cgroup.subtree_control").write_text("+io")
    expect_as_before()


@check
def a_service_that_divides_its_group_has_its_other_commands_run(folder: Path) -> None:
    """No process may be in a group whose memory is divided; who takes such a group has it no more for commands."""
    group = BOX / "sockact/one.service"
    script = folder / "divide"
    script.write_text(f"mkdir {group}/in && echo 0 >{group}/in/cgroup.procs && echo +memory >{group}/cgroup.subtree_control\n"
                      "echo divided $?\nexec sleep 1000\n")  # fmt: skip
    lines = (f"ExecStart=/bin/sh {script}", "MemoryMax=64M", "ExecStop=/bin/echo stop runs", "ExecStopPost=/bin/echo post runs")
    with running(folder, *lines) as supervisor:
        supervisor.wait_log("divided 0")
        assert supervisor.end() == 0
        assert {"stop runs", "post runs"} <= {*supervisor.log}, supervisor.log
    expect_as_before()


@check
def in_the_root_group_nobody_moves_and_what_was_enabled_is_not_afterwards(folder: Path) -> None:
    control = ROOT / "cgroup.subtree_control"
    control.write_text(" ".join(f"-{controller}" for controller in CONTROLLERS))
    try:
        with running(folder, MAIN, "MemoryMax=64M", "TasksMax=9", home=ROOT) as supervisor:
            assert read(ROOT / "sockact/one.service/memory.max") == str(64 << 20)
            assert read(ROOT / "sockact/one.service/pids.max") == "9"
            assert supervisor.pid in pids(ROOT)
        assert not (ROOT / "sockact").exists()
        assert read(control) == "", read(control)
    finally:
        enable()


@check
def process_1_of_a_container_moves_all_that_is_in_its_group(folder: Path) -> None:
    """The container has namespaces of its own, and a process beside process 1, as `docker exec` makes them."""
    script = "umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; sleep 999 &"
    (path,) = write_units(folder, {"one.service": unit(MAIN, "TasksMax=9", "MemoryMax=64M")})
    # unshare(1) stays outside.
    inner = ["/usr/bin/unshare", "--pid", "--fork", "--mount", "--mount-proc", *in_shell(f"echo 0 >{BOX}/cgroup.procs")]
    with contained([*inner, "/usr/bin/unshare", "--cgroup", *in_shell(script), *command(path)]) as supervisor:
        supervisor.wait_log("main ")
        group = BOX / "sockact"
        assert read(group / "one.service/pids.max") == "9"
        assert read(group / "one.service/memory.max") == str(64 << 20)
        assert len(pids(group / "supervisor")) == 2
        assert pids(BOX) == set()
        (init,) = pids_named(group / "supervisor", "python")
        os.kill(init, 15)
        assert supervisor.wait() == 0
    expect_as_before()


# What the checks stand on.


@contextmanager
def running(folder: Path, *lines: str, home: Path = BOX) -> Iterator[Supervisor]:
    """one.service and a FIFO, which keeps the supervisor running in that group."""
    (folder / "fifo").unlink(missing_ok=True)
    files = {"one.socket": f"[Socket]\nListenFIFO={folder}/fifo", "one.service": unit(*lines)}
    path = write_units(folder, files)[0]
    with started(path, arguments=["--now"], prefix=inside(home)) as supervisor:
        try:
            if MAIN in lines:
                supervisor.wait_log("main ")
            yield supervisor
        except Exception as error:
            error.add_note("The log of sockact:\n" + "\n".join(supervisor.log))
            raise


@contextmanager
def contained(words: Sequence[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(words)
    try:
        yield supervisor
    except Exception as error:
        error.add_note("The log of sockact:\n" + "\n".join(supervisor.log))
        raise
    finally:
        for pid in everybody(BOX):
            os.kill(pid, 9)
        supervisor.destroy()


def inside(home: Path) -> list[str]:
    return in_shell(f"echo 0 >{home}/cgroup.procs")


def unit(*lines: str) -> str:
    return "[Service]\n" + "\n".join(lines) + "\n"


def read(path: Path) -> str:
    return path.read_text().strip()


def pids(group: Path) -> set[int]:
    return {int(word) for word in (group / "cgroup.procs").read_text().split()}


def pids_named(group: Path, name: str) -> set[int]:
    return {pid for pid in pids(group) if read(Path(f"/proc/{pid}/comm")).startswith(name)}


def everybody(group: Path) -> set[int]:
    return {pid for folder, _, _ in os.walk(group) for pid in pids(Path(folder))}


def not_applied(supervisor: Supervisor) -> list[str]:
    return [line for line in supervisor.log if "not applied" in line]


def expect_aside(supervisor: Supervisor) -> None:
    assert pids(BOX / "sockact/supervisor") == {supervisor.pid}
    assert pids(BOX) == set()


def expect_as_before() -> None:
    """The group is left as it was."""
    eventually(lambda: not any(map(alive, everybody(BOX))), "nobody is left")
    left = [str(path) for path in BOX.rglob("*") if path.is_dir()]
    assert (left, read(BOX / "cgroup.subtree_control"), read(BOX / "cgroup.type")) == ([], "", "domain")


def enable() -> None:
    (ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in CONTROLLERS))


def clean() -> None:
    """Whatever a check that failed has left."""
    for pid in everybody(BOX):
        os.kill(pid, 9)
    eventually(lambda: not everybody(BOX), "nobody is left")
    (BOX / "cgroup.subtree_control").write_text(" ".join(f"-{word}" for word in read(BOX / "cgroup.subtree_control").split()))
    for folder, _, _ in os.walk(BOX, topdown=False):
        os.rmdir(folder)
    BOX.mkdir()


def main() -> None:
    subprocess.run(["mount", "-t", "cgroup2", "none", str(ROOT)], check=True)
    enable()
    BOX.mkdir()
    CHECKS.run(afterwards=clean)


if __name__ == "__main__":
    main()
