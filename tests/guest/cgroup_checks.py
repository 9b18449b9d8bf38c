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
def percentages_are_of_what_the_group_of_sockact_may_have(folder: Path) -> None:
    limits = {"memory.max": 512 << 20, "pids.max": 400}
    for file, most in limits.items():
        (BOX / file).write_text(str(most))
    with running(folder, MAIN, "MemoryMax=50%", "TasksMax=50%"):
        for file, most in limits.items():
            assert read(BOX / "sockact/one.service" / file) == str(most // 2)
            (BOX / file).write_text("max")
    expect_as_before()


@check
def a_limit_of_a_threaded_controller_alone_is_set_as_well(folder: Path) -> None:
    """Such a controller can be used in a group with processes, which becomes one of threads then."""
    for line, file, value in (("TasksMax=33", "pids.max", "33"), ("CPUWeight=50", "cpu.weight", "50")):
        with running(folder, MAIN, line) as supervisor:
            assert read(BOX / "sockact/one.service" / file) == value
            expect_aside(supervisor)
        expect_as_before()


EATER = f"{sys.executable} -ISc 'x = b\"x\" * (200 << 20)'"
LITTLE = ("MemoryMax=32M", "MemorySwapMax=0")
POST = "ExecStopPost=/bin/echo post $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"
OOM_KILL = "one.service: error: the kernel has killed a process of it for want of memory (MemoryMax=32M)"


@check
def who_takes_more_memory_than_it_may_is_killed_and_sockact_lives(folder: Path) -> None:
    with running(folder, f"ExecStart={EATER}", *LITTLE, POST) as supervisor:
        assert supervisor.wait_log("post ")[-1] == "post oom-kill killed KILL"
        assert sum(OOM_KILL in line for line in supervisor.log) == 1
        eventually(lambda: not (BOX / "sockact/one.service").exists(), "the group has gone")
        assert watches(supervisor) == 0
    expect_as_before()


@check
def a_service_may_go_on_without_a_process_that_was_killed_for_want_of_memory(folder: Path) -> None:
    with running(folder, *worker_eats(folder), "OOMPolicy=continue") as supervisor:
        assert read(BOX / "sockact/one.service/memory.oom.group") == "0"
        (folder / "go").touch()
        supervisor.wait_log(OOM_KILL)
        assert supervisor.end() == 0
        assert {"stop success", "post success killed TERM"} <= {*supervisor.log}
    expect_as_before()


@check
def a_service_is_stopped_that_has_lost_a_process_for_want_of_memory(folder: Path) -> None:
    with running(folder, *worker_eats(folder)) as supervisor:
        (folder / "go").touch()
        supervisor.wait_log("post oom-kill killed TERM")
        assert "stop oom-kill" in supervisor.log
        assert sum(OOM_KILL in line for line in supervisor.log) == 1
    expect_as_before()


@check
def a_service_is_killed_as_a_whole_that_has_lost_a_process_for_want_of_memory(folder: Path) -> None:
    with running(folder, *worker_eats(folder), "OOMPolicy=kill") as supervisor:
        assert read(BOX / "sockact/one.service/memory.oom.group") == "1"
        (folder / "go").touch()
        supervisor.wait_log("post oom-kill killed KILL")
        assert not any(line.startswith("stop ") for line in supervisor.log), supervisor.log
    expect_as_before()


@check
def a_main_process_that_is_killed_for_want_of_memory_is_one_that_has_ended_abnormally(folder: Path) -> None:
    """And has not been aborted; with OOMPolicy=continue it is a signal like any other."""
    script = folder / "once"
    for restart, policy, result, again in (
        ("on-abnormal", "stop", "oom-kill", True),
        ("on-abort", "kill", "oom-kill", False),
        ("on-abort", "continue", "signal", True),
    ):
        script.write_text(f"[ -e {folder}/{policy} ] && echo again && exec sleep 1000\n>{folder}/{policy}\nexec {EATER}\n")
        lines = (f"Restart={restart}", f"OOMPolicy={policy}", "RestartSec=0", POST)
        with running(folder, f"ExecStart=/bin/sh {script}", *LITTLE, *lines) as supervisor:
            supervisor.wait_log(f"post {result} killed KILL")
            if again:
                supervisor.wait_log("again")
            else:
                eventually(lambda: not (BOX / "sockact/one.service").exists(), "the group has gone")
            assert sum("started, pid" in line for line in supervisor.log) == 1 + again
        expect_as_before()


@check
def restarts_that_leave_somebody_behind_have_the_memory_of_the_group_watched_once(folder: Path) -> None:
    script = folder / "leave"
    script.write_text(f"sleep 1000 >/dev/null 2>&1 &\necho >>{folder}/runs\n[ $(wc -l <{folder}/runs) -lt 4 ] && exit 0\n"
                      "echo last\nexec sleep 999\n")  # fmt: skip
    lines = (f"ExecStart=/bin/sh {script}", "MemoryMax=64M", "KillMode=process", "Restart=always", "RestartSec=0")
    with running(folder, *lines) as supervisor:
        supervisor.wait_log("last")
        assert len(pids(BOX / "sockact/one.service")) == 5
        assert watches(supervisor) == 1
        for pid in pids(BOX / "sockact/one.service"):
            if b"1000" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 9)
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


def worker_eats(folder: Path) -> tuple[str, ...]:
    """A service whose main process lives while another one, when it may go, takes too much."""
    script = folder / "main"
    script.write_text(f"(until [ -e {folder}/go ]; do sleep 0.1; done; exec {EATER}) &\necho main\nexec sleep 1000\n")
    return f"ExecStart=/bin/sh {script}", *LITTLE, "ExecStop=/bin/echo stop $SERVICE_RESULT", POST


def watches(supervisor: Supervisor) -> int:
    """How many groups have their memory watched, by the descriptors of the supervisor."""
    descriptors = [path.readlink() for path in Path(f"/proc/{supervisor.pid}/fd").iterdir()]
    return sum(path.name == "memory.events" for path in descriptors)


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
