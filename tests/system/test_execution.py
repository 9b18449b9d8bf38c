"""What a service's process is set to: limits, priorities, capabilities, root, directories, credentials, streams.

A service looks at itself in /proc. There are two executors of a child plan, in C and in Python; both have to pass all of this.
"""

from __future__ import annotations

import os
import pty
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockact.runtime import spawn
from sockact.runtime.kernel import Kernel
from sockact.runtime.spawn import Image
from sockact.unit.directives.service import ServiceSection
from tests.fakes import service_unit
from tests.lab import PROBE, in_shell
from tests.system.test_child import NOBODY, executor, failed_step, folder, root_only, run, running

__all__ = ["executor", "folder"]

SELF = "/proc/self"


def told(folder: Path, *lines: str, command: str, **how: dict[str, str]) -> list[str]:
    """What a command says that runs with these settings."""
    return run(folder, "Type=oneshot", *lines, f"ExecStart={command}", **how)


def status(folder: Path, *lines: str) -> dict[str, str]:
    """/proc/self/status of a service."""
    found = told(folder, *lines, command=f"/bin/cat {SELF}/status")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in found)}


def may_set_limits() -> bool:
    """Whether hard limits can be raised: that takes CAP_SYS_RESOURCE, which root may lack in a container."""
    return bool(int(status_of_this_process("CapEff"), 16) >> 24 & 1)


def status_of_this_process(name: str) -> str:
    lines = Path(f"{SELF}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


# --- environment


def test_the_environment_is_put_together_in_systemds_order(folder: Path) -> None:
    settings = folder / "settings"
    settings.write_text("B=file\nC=file\n")
    lines = [
        *("Environment=A=unit B=unit D=unit", f"EnvironmentFile={settings}", "PassEnvironment=P A", "UnsetEnvironment=D C=file"),
        "ExecSearchPath=/opt/none:/usr/bin:/bin",
    ]
    found = told(folder, *lines, command="env", environment={"P": "passed", "A": "passed", "PATH": "/odd:/usr/bin"})
    assert {"A=unit", "B=file", "P=passed", "PATH=/opt/none:/usr/bin:/bin"} <= set(found)
    assert not [line for line in found if line.startswith(("C=", "D="))]


def test_with_a_clean_environment_some_variables_may_be_passed_on(folder: Path) -> None:
    outer = {"TEST_ONE": "1", "TEST_TWO": "2"}
    with running(
        folder, "PassEnvironment=TEST_TWO", "ExecStart=/usr/bin/env", arguments=["--clean-environment"], environment=outer
    ) as supervisor:
        supervisor.wait_log("ended: exit status 0")
        assert [line for line in supervisor.log if line.startswith("TEST_")] == ["TEST_TWO=2"]


def test_every_start_has_an_invocation_id_of_its_own(folder: Path) -> None:
    found = [told(folder, command="/bin/sh -c 'echo $$INVOCATION_ID'")[0] for _ in range(2)]
    assert all(len(one) == 32 and int(one, 16) for one in found)
    assert found[0] != found[1]


@root_only
def test_the_login_environment_can_be_asked_for_and_done_without(folder: Path) -> None:
    script = "/bin/sh -c 'echo $$USER,$$HOME'"
    other = {"USER": "somebody", "HOME": "/somewhere"}
    assert told(folder, "SetLoginEnvironment=yes", command=script, environment=other) == ["root,/root"]
    assert told(folder, "User=daemon", "SetLoginEnvironment=no", command=script, environment=other) == ["somebody,/somewhere"]


# --- identity


@root_only
def test_supplementary_groups_are_added_to_those_of_the_user(folder: Path) -> None:
    found = told(folder, "User=nobody", "SupplementaryGroups=adm", "SupplementaryGroups=4711", command="/usr/bin/id -G")
    assert found == [f"{NOBODY} 4 4711"]
    assert "4711" in told(folder, "SupplementaryGroups=4711", command="/usr/bin/id -G")[0].split()


@root_only
def test_a_dynamic_user_has_an_id_that_nobody_else_has(folder: Path) -> None:
    found = status(folder, "DynamicUser=yes", f"StateDirectory={folder.name}-dynamic")
    try:
        uid = int(found["Uid"].split()[0])
        assert 61184 <= uid <= 65519
        assert found["Uid"].split() == found["Gid"].split() == [str(uid)] * 4
        assert found["NoNewPrivs"] == "1"
    finally:
        subprocess.run(["/bin/rm", "-rf", f"/var/lib/{folder.name}-dynamic"], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can have ids")
def test_a_dynamic_user_is_refused_where_ids_cannot_be_had(folder: Path) -> None:
    with running(folder, "DynamicUser=yes", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "allocating a user id", 217)


# --- limits and priorities


LIMITS = {
    "LimitNOFILE=100:200": ("Max open files", "100", "200"),
    "LimitCPU=1min:2min": ("Max cpu time", "60", "120"),
    "LimitFSIZE=1M": ("Max file size", "1048576", "1048576"),
    "LimitDATA=1G:infinity": ("Max data size", "1073741824", "unlimited"),
    "LimitSTACK=4M": ("Max stack size", "4194304", "4194304"),
    "LimitCORE=0": ("Max core file size", "0", "0"),
    "LimitRSS=1G": ("Max resident set", "1073741824", "1073741824"),
    "LimitNPROC=500": ("Max processes", "500", "500"),
    "LimitMEMLOCK=64K": ("Max locked memory", "65536", "65536"),
    "LimitAS=8G": ("Max address space", "8589934592", "8589934592"),
    "LimitLOCKS=10": ("Max file locks", "10", "10"),
    "LimitSIGPENDING=100": ("Max pending signals", "100", "100"),
    "LimitMSGQUEUE=4K": ("Max msgqueue size", "4096", "4096"),
    "LimitRTTIME=100ms": ("Max realtime timeout", "100000", "100000"),
}


def test_limits_are_set_soft_and_hard(folder: Path) -> None:
    found = told(folder, *LIMITS, command=f"/bin/cat {SELF}/limits")
    for name, soft, hard in LIMITS.values():
        (line,) = [line for line in found if line.startswith(name)]
        assert line.removeprefix(name).split()[:2] == [soft, hard], name


def test_limits_that_raise_what_cannot_be_raised_go_as_far_as_they_can(folder: Path) -> None:
    found = told(folder, "LimitNICE=+5", "LimitRTPRIO=10", "LimitNOFILE=infinity", command=f"/bin/cat {SELF}/limits")
    limits = {line[:26].strip(): line[26:].split()[:2] for line in found}
    assert limits["Max nice priority"] == (["15", "15"] if may_set_limits() else limits["Max nice priority"])
    assert limits["Max realtime priority"] == (["10", "10"] if may_set_limits() else limits["Max realtime priority"])
    assert len(set(limits["Max open files"])) == 1, "soft is hard"


def test_without_limits_those_of_the_supervisor_stay(folder: Path) -> None:
    assert told(folder, command=f"/bin/cat {SELF}/limits")[1:] == Path(f"{SELF}/limits").read_text().splitlines()[1:]


def test_a_low_limit_of_descriptors_does_not_keep_sockets_from_being_handed_over(folder: Path) -> None:
    with running(folder, "LimitNOFILE=10", f"ExecStart={PROBE} say descriptors") as supervisor:
        assert supervisor.reports()[0]["descriptors"]["3"] == f"{folder}/fifo"


def test_the_umask_is_0022_or_what_is_asked_for_whatever_the_supervisor_has(folder: Path) -> None:
    before = os.umask(0o027)
    try:
        assert status(folder)["Umask"] == "0022"
        assert status(folder, "UMask=0137")["Umask"] == "0137"
    finally:
        os.umask(before)


def test_sigpipe_is_ignored_unless_it_is_not_to_be(folder: Path) -> None:
    assert int(status(folder)["SigIgn"], 16) & 1 << 12
    assert not int(status(folder, "IgnoreSIGPIPE=no")["SigIgn"], 16) & 1 << 12


def test_a_nice_value_is_set(folder: Path) -> None:
    assert told(folder, "Nice=7", command="/usr/bin/nice") == [str(7)]


@root_only
def test_a_nice_value_below_zero_is_set(folder: Path) -> None:
    assert told(folder, "Nice=-7", command="/usr/bin/nice") == ["-7"]


def test_the_oom_score_is_set(folder: Path) -> None:
    assert told(folder, "OOMScoreAdjust=345", command=f"/bin/cat {SELF}/oom_score_adj") == ["345"]


def test_the_core_dump_filter_is_that_of_the_service_and_not_of_the_supervisor(folder: Path) -> None:
    before = Path(f"{SELF}/coredump_filter").read_text().strip()
    with running(folder, "CoredumpFilter=elf-headers 0x1", f"ExecStart=/bin/cat {SELF}/coredump_filter") as supervisor:
        supervisor.wait_log("ended: exit status 0")
        assert "00000011" in supervisor.log
        assert Path(f"/proc/{supervisor.pid}/coredump_filter").read_text().strip() == before


def test_the_processors_are_set(folder: Path) -> None:
    last = max(os.sched_getaffinity(0))
    assert status(folder, f"CPUAffinity={last}")["Cpus_allowed_list"] == str(last)


def test_the_timer_slack_is_set(folder: Path) -> None:
    assert told(folder, "TimerSlackNSec=123us", command=f"/bin/cat {SELF}/timerslack_ns") == ["123000"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["CPUSchedulingPolicy=batch"], "SCHED_BATCH 0"),
        (["CPUSchedulingPolicy=idle"], "SCHED_IDLE 0"),
        pytest.param(["CPUSchedulingPolicy=rr", "CPUSchedulingPriority=7"], "SCHED_RR 7", marks=root_only),
        pytest.param(["CPUSchedulingPolicy=fifo", "CPUSchedulingResetOnFork=yes"], "SCHED_FIFO|RESET 1", marks=root_only),
    ],
)
def test_the_scheduling_policy_is_set(lines: list[str], expected: str, folder: Path) -> None:
    script = "import os; p = os.sched_getscheduler(0); n = [s for s in ('SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_IDLE') "
    script += "if getattr(os, s) == p & 15]; r = ['RESET'] if p >> 30 else []; "
    script += "print('|'.join(n + r), os.sched_getparam(0).sched_priority)"
    assert told(folder, *lines, command=f'{sys.executable} -I -S -c "{script}"') == [expected]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(["IOSchedulingClass=idle"], "idle"), (["IOSchedulingPriority=6"], "best-effort prio 6")],
)
def test_the_priority_of_input_and_output_is_set(lines: list[str], expected: str, folder: Path) -> None:
    assert told(folder, *lines, command="/bin/sh -c 'ionice | tr -d :'") == [expected]


# --- privileges


def test_new_privileges_can_be_given_up(folder: Path) -> None:
    assert status(folder)["NoNewPrivs"] == "0"
    assert status(folder, "NoNewPrivileges=yes")["NoNewPrivs"] == "1"


NET_BIND = 1 << 10


@root_only
def test_capabilities_can_be_taken_from_a_service_of_root(folder: Path) -> None:
    found = status(folder, "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_CHOWN")
    assert [int(found[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")] == [NET_BIND | 1] * 3
    less = status(folder, "CapabilityBoundingSet=~CAP_CHOWN")
    assert int(less["CapBnd"], 16) == int(status_of_this_process("CapBnd"), 16) & ~1


@root_only
def test_a_user_without_privileges_can_be_given_some(folder: Path) -> None:
    lines = ["User=nobody", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]
    found = status(folder, *lines)
    assert [int(found[name], 16) for name in ("CapAmb", "CapInh", "CapPrm", "CapEff", "CapBnd")] == [NET_BIND] * 5
    assert found["Uid"].split() == [NOBODY] * 4


@root_only
def test_root_itself_can_have_ambient_capabilities(folder: Path) -> None:
    assert int(status(folder, "AmbientCapabilities=CAP_CHOWN CAP_KILL")["CapAmb"], 16) == 1 | 1 << 5


SECURE_BITS = "import ctypes; print(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0))"


@root_only
@pytest.mark.parametrize("user", ["", "User=nobody"])
def test_secure_bits_are_set(user: str, folder: Path) -> None:
    lines = [user, "SecureBits=noroot noroot-locked", "SecureBits=no-setuid-fixup"]
    assert told(folder, *lines, command=f'{sys.executable} -I -S -c "{SECURE_BITS}"') == ["7"]


@root_only
def test_a_plus_in_front_keeps_all_privileges(folder: Path) -> None:
    lines = ["User=nobody", "NoNewPrivileges=yes", "CapabilityBoundingSet=CAP_CHOWN", "LimitNOFILE=10"]
    found = told(folder, *lines, command=f"+/bin/cat {SELF}/status")
    assert "NoNewPrivs:\t0" in found
    assert "Uid:\t0\t0\t0\t0" in found


@root_only
def test_capabilities_that_cannot_be_had_are_reported_as_218(folder: Path) -> None:
    prefix = ["/usr/bin/setpriv", "--bounding-set=-kill"]
    with running(folder, "AmbientCapabilities=CAP_KILL", "ExecStart=/bin/true", prefix=prefix) as supervisor:
        failed_step(supervisor, "setting the inheritable capabilities", 218)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may drop capabilities")
def test_capabilities_cannot_be_dropped_without_privileges_and_that_is_reported_as_218(folder: Path) -> None:
    with running(folder, "CapabilityBoundingSet=CAP_CHOWN", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "dropping capabilities", 218)


# --- root and directories


@pytest.fixture
def tree(folder: Path) -> Path:
    """A root with a few programs and what they are linked with."""
    root = folder / "root"
    programs = ["/bin/sh", "/bin/ls", "/usr/bin/id"]
    linked = [subprocess.run(["/usr/bin/ldd", one], capture_output=True, text=True, check=False).stdout for one in programs]
    for path in {*programs, *(word for text in linked for word in text.split() if word.startswith("/"))}:
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])
    (root / "work").mkdir()
    return root


@root_only
def test_the_program_and_the_working_directory_are_inside_the_root(tree: Path, folder: Path) -> None:
    (tree / "bin" / "inside").symlink_to("sh")
    lines = [f"RootDirectory={tree}", "WorkingDirectory=/work", "User=nobody", "ExecSearchPath=/none:/bin:/usr/bin"]
    found = told(folder, *lines, command="-inside -c 'pwd; ls -d /work /etc; id -u'")
    assert [found[0], found[-2], found[-1]] == ["/work", "/work", NOBODY]


@root_only
def test_a_root_that_is_not_there_is_reported_as_210(folder: Path) -> None:
    with running(folder, f"RootDirectory={folder}/missing", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "changing to the root directory", 210)


BASES = {"Runtime": "/run", "State": "/var/lib", "Cache": "/var/cache", "Logs": "/var/log", "Configuration": "/etc"}


@pytest.fixture
def bases(tmp_path: Path) -> Iterator[tuple[dict[str, Path], dict[str, str]]]:
    """Where directories of units are, by kind, and the environment that makes it so; root has no choice, and tidies up."""
    home = tmp_path / "home"
    variables = {
        "XDG_RUNTIME_DIR": f"{home}/run",
        "XDG_STATE_HOME": f"{home}/state",
        "XDG_CACHE_HOME": f"{home}/cache",
        "XDG_CONFIG_HOME": f"{home}/config",
    }
    own = {"Runtime": "run", "State": "state", "Cache": "cache", "Logs": "state/log", "Configuration": "config"}
    found = {kind: Path(base) if os.geteuid() == 0 else home / own[kind] for kind, base in BASES.items()}
    yield found, variables
    for base in found.values():
        subprocess.run(["/bin/rm", "-rf", f"{base}/sockact-test"], check=True)


def test_directories_of_all_kinds_are_made_for_the_service(bases: tuple[dict[str, Path], dict[str, str]], folder: Path) -> None:
    where, environment = bases
    lines = [f"{kind}Directory=sockact-test/a sockact-test/b" for kind in where]
    lines += [f"{kind}DirectoryMode=0710" for kind in where]
    names = [f"{kind.upper()}_DIRECTORY" for kind in where]
    script = " ".join(f"$${name}" for name in names)
    found = told(folder, *lines, "RuntimeDirectoryPreserve=yes", command=f"/bin/sh -c 'echo {script}'", environment=environment)
    assert found == [" ".join(f"{base}/sockact-test/a:{base}/sockact-test/b" for base in where.values())]
    for base in where.values():
        assert stat.S_IMODE((base / "sockact-test" / "b").stat().st_mode) == 0o710
        assert stat.S_IMODE((base / "sockact-test").stat().st_mode) == 0o755


@root_only
def test_directories_belong_to_the_user_with_all_that_is_in_them(bases: object, folder: Path) -> None:
    state, settings = Path("/var/lib/sockact-test"), Path("/etc/sockact-test")
    (state / "deep").mkdir(parents=True)
    (state / "deep" / "file").touch()
    (state / "link").symlink_to("/etc/hostname")
    settings.mkdir()
    lines = ["User=nobody", "Group=daemon", "StateDirectory=sockact-test", "ConfigurationDirectory=sockact-test"]
    told(folder, *lines, command="/usr/bin/touch /var/lib/sockact-test/new")
    for path in (state, state / "deep", state / "deep" / "file", state / "link", state / "new"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (65534, 1), path
    assert settings.stat().st_uid == Path("/etc/hostname").stat().st_uid == 0


@root_only
def test_a_link_that_the_user_has_made_is_not_followed(bases: object, folder: Path) -> None:
    Path("/var/lib/sockact-test").mkdir()
    os.chown("/var/lib/sockact-test", 65534, 65534)
    victim = folder / "victim"
    victim.mkdir()
    Path("/var/lib/sockact-test/link").symlink_to(victim)
    with running(folder, "User=nobody", "StateDirectory=sockact-test/link", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "making the state directory", 238)
    assert victim.stat().st_uid == 0


@root_only
def test_a_link_of_the_administrator_is_followed(bases: object, folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    Path("/var/lib/sockact-test").symlink_to(elsewhere)
    told(folder, "User=nobody", "StateDirectory=sockact-test", command="/bin/touch /var/lib/sockact-test/file")
    assert [(elsewhere / name).stat().st_uid for name in (".", "deep", "file")] == [65534] * 3


@root_only
def test_a_directory_may_have_a_link_to_it(bases: object, folder: Path) -> None:
    lines = ["StateDirectory=sockact-test/a:sockact-test/b", "StateDirectory=sockact-test/a:sockact-test/c/d"]
    assert told(folder, *lines, command="/bin/true") == []
    assert [os.readlink(f"/var/lib/sockact-test/{name}") for name in ("b", "c/d")] == ["a", "../a"]


@root_only
@pytest.mark.parametrize(
    ("kind", "number"), [("Runtime", 233), ("State", 238), ("Cache", 239), ("Logs", 240), ("Configuration", 241)]
)
def test_a_directory_that_cannot_be_made_is_reported(kind: str, number: int, bases: object, folder: Path) -> None:
    Path(BASES[kind], "sockact-test").touch()
    with running(folder, f"{kind}Directory=sockact-test", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, f"making the {kind.lower()} directory", number)


# --- credentials


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """What is made for one.service goes with it, also where its end is not what is tested."""
    yield
    spawn.release(Kernel(), section("SetCredential=a:b"), "one.service", False, pytest.fail)


def section(*lines: str) -> ServiceSection:
    return service_unit("[Service]\n" + "\n".join(lines))[0].service


def test_credentials_are_files_that_only_the_service_can_read(folder: Path) -> None:
    (folder / "key").write_bytes(b"secret\0\n")
    (folder / "many" / "deep").mkdir(parents=True)
    (folder / "many" / "one").write_text("1")
    (folder / "many" / "deep" / "two").write_text("2")
    lines = [
        *(f"LoadCredential=key:{folder}/key", f"LoadCredential=many:{folder}/many", "LoadCredential=none"),
        *(f"LoadCredential=default:{folder}/missing", "SetCredential=default:a\\x00b\\n", "SetCredential=key:unused"),
    ]
    user = ["User=nobody"] if os.geteuid() == 0 else []
    script = "cd $$CREDENTIALS_DIRECTORY; stat -c %%a:%%u . key; ls; cat key default | od -An -c"
    runtime = {"XDG_RUNTIME_DIR": str(folder)}
    found = told(folder, *lines, *user, command=f"/bin/sh -c '{script}'", environment=runtime)
    me = NOBODY if user else str(os.geteuid())
    assert found[:2] == [f"500:{me}", f"400:{me}"]
    assert found[2:6] == ["default", "key", "many_deep_two", "many_one"]
    assert found[6].split() == [*"secret", "\\0", "\\n", "a", "\\0", "b", "\\n"]


def test_credentials_of_the_supervisor_are_handed_on_by_name_or_by_the_beginning_of_it(folder: Path) -> None:
    store = folder / "store"
    store.mkdir()
    for name in ("web.key", "web.cert", "other", "more"):
        (store / name).write_text(name)
    lines = ["LoadCredential=mine:other", "ImportCredential=web.*", "ImportCredential=more", "SetCredential=more:unused"]
    outer = {"CREDENTIALS_DIRECTORY": str(store), "XDG_RUNTIME_DIR": str(folder)}
    found = told(folder, *lines, command="/bin/sh -c 'cd $$CREDENTIALS_DIRECTORY; ls; cat mine more; echo'", environment=outer)
    assert found == ["mine", "more", "web.cert", "web.key", "othermore"]


def test_a_credential_may_come_from_a_socket_which_is_told_for_whom(folder: Path) -> None:
    callers: list[str] = []

    def serve(server: socket.socket) -> None:
        connection, caller = server.accept()
        with connection:
            callers.append(os.fsdecode(caller))
            connection.sendall(b"from a socket\n")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/server")
        server.listen()
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        command = "/bin/sh -c 'cat $$CREDENTIALS_DIRECTORY/key'"
        found = told(folder, f"LoadCredential=key:{folder}/server", command=command, environment={"XDG_RUNTIME_DIR": str(folder)})
        thread.join()
    assert found == ["from a socket"]
    assert callers[0].endswith("/unit/one.service/key")


def test_a_credential_that_is_missing_is_reported_as_243(folder: Path) -> None:
    with running(folder, f"LoadCredential=key:{folder}/missing", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "providing the credentials", 243)


# --- the end


@root_only
@pytest.mark.parametrize(
    ("preserve", "restarts", "stays"),
    [("no", False, False), ("no", True, False), ("restart", True, True), ("restart", False, False), ("yes", False, True)],
)
def test_runtime_directories_go_with_the_unit_unless_they_are_to_stay(
    preserve: str, restarts: bool, stays: bool, bases: object, folder: Path
) -> None:
    lines = ["RuntimeDirectory=sockact-test/a:sockact-test/b", "StateDirectory=sockact-test"]
    script = "mkdir -p /run/sockact-test/a/deep; ln -s /etc /run/sockact-test/a/deep/link"
    told(folder, *lines, "RuntimeDirectoryPreserve=yes", command=f"/bin/sh -c '{script}'")
    settings = section(*lines, f"RuntimeDirectoryPreserve={preserve}")
    spawn.release(Kernel(), settings, "one.service", restarts, pytest.fail)
    assert [Path(f"/run/sockact-test/{name}").exists() for name in "ab"] == [stays] * 2
    assert Path("/var/lib/sockact-test").exists()
    assert Path("/etc/hostname").exists()


@root_only
def test_the_id_of_a_dynamic_user_can_be_had_again_and_what_it_owned_is_locked_away(bases: object, folder: Path) -> None:
    kernel, other, state = Kernel(), Kernel(), Path("/var/lib/sockact-test")
    settings = section("DynamicUser=yes", "User=sockact-test-user", "StateDirectory=sockact-test")
    account = kernel.places.dynamic_account("sockact-test-user")
    assert other.places.dynamic_account("sockact-test-user").uid != account.uid, "somebody else holds it"
    other.places.give_back("sockact-test-user")
    kernel.places.make_directory(str(state), 0o755, account.uid, account.gid, False)
    spawn.release(kernel, settings, "one.service", True, pytest.fail)
    assert state.stat().st_uid == account.uid, "it is restarted"
    spawn.release(kernel, settings, "one.service", False, pytest.fail)
    assert (state.stat().st_uid, stat.S_IMODE(state.stat().st_mode)) == (0, 0o700)
    assert kernel.places.dynamic_account("sockact-test-user").uid == account.uid
    kernel.places.give_back("sockact-test-user")


def test_credentials_go_with_the_unit(folder: Path) -> None:
    runtime = {"XDG_RUNTIME_DIR": str(folder)} if os.geteuid() else {}
    (where,) = told(folder, "SetCredential=a:b", command="/bin/sh -c 'echo $$CREDENTIALS_DIRECTORY'", environment=runtime)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in runtime.items():
            patch.setenv(name, value)
        spawn.release(Kernel(), section("SetCredential=a:b"), "one.service", False, pytest.fail)
    assert not os.path.ismount(where)
    assert not os.path.exists(where)


# --- standard streams and files


def test_standard_input_can_be_text_and_bytes_of_the_unit(folder: Path) -> None:
    lines = ["StandardInputText=one\\ttwo", "StandardInputData=dGhyZWUK", "StandardInputText=four"]
    assert told(folder, *lines, command="/bin/cat") == ["one\ttwo", "three", "four"]


def test_standard_input_can_be_a_descriptor_by_its_name(folder: Path) -> None:
    script = "import os, sys; print(os.readlink('/proc/self/fd/0'))"
    with running(
        folder, "StandardInput=fd:one.socket", "StandardOutput=journal", f'ExecStart={sys.executable} -I -S -c "{script}"'
    ) as supervisor:
        supervisor.wait_log(f"{folder}/fifo")
    with running(folder, "StandardInput=fd:none", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, "opening standard input", 208)


def test_a_file_for_a_stream_may_be_a_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/server")
        server.listen()
        with running(folder, f"StandardOutput=file:{folder}/server", "ExecStart=/bin/echo hello"):
            connection, _ = server.accept()
            with connection:
                assert connection.makefile().read() == "hello\n"


def test_output_and_errors_into_one_file_do_not_overwrite_each_other(folder: Path) -> None:
    lines = [f"StandardOutput=truncate:{folder}/log", f"StandardError=truncate:{folder}/log"]
    told(folder, *lines, command="/bin/sh -c 'echo one; echo two >&2; echo three'")
    assert (folder / "log").read_text() == "one\ntwo\nthree\n"


@root_only
@pytest.mark.skipif(not os.access("/dev/kmsg", os.W_OK), reason="no /dev/kmsg")
def test_output_can_go_into_the_log_of_the_kernel(folder: Path) -> None:
    with open("/dev/kmsg", "rb", buffering=0) as log:
        os.set_blocking(log.fileno(), False)
        os.lseek(log.fileno(), 0, os.SEEK_END)
        told(folder, "StandardOutput=kmsg", command=f"/bin/echo {folder.name}")
        said = b""
        while (record := log.read(8192)) is not None:
            said += record
    assert folder.name.encode() in said


def fake_journal(folder: Path) -> tuple[socket.socket, list[str]]:
    """A socket in the place of that of journald(8), and a prefix for a supervisor that sees it there."""
    (folder / "run" / "journal").mkdir(parents=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{folder}/run/journal/stdout")
    server.listen()
    script = f"mkdir -p /run/systemd && mount --bind {folder}/run /run/systemd || exit 77"
    return server, ["/usr/bin/unshare", "--mount", *in_shell(script)]


@root_only
@pytest.mark.skipif(
    subprocess.run(["/usr/bin/unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="unshare(1) makes no mount namespace here (in a chroot or a container it may not)",
)
@pytest.mark.parametrize(("line", "name"), [("", "echo"), ("SyslogIdentifier=web", "web")])
def test_output_goes_into_the_journal_where_there_is_one_and_the_unit_asks_for_it(line: str, name: str, folder: Path) -> None:
    pytest.importorskip("systemd.journal", reason="python-systemd is not installed (pip install systemd-python)")
    server, prefix = fake_journal(folder)
    lines, outer = [line, "StandardOutput=journal", "ExecStart=/bin/echo hello"], {"SOCKACT_JOURNAL": "yes"}
    with server, running(folder, *lines, prefix=prefix, environment=outer):
        connection, _ = server.accept()
        with connection, connection.makefile() as said:
            heard = said.read().splitlines()
    assert (heard[0], heard[-1]) == (name, "hello")
    assert heard.count("hello") == 1


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """The master of a pseudo-terminal, and the path of the slave."""
    master, slave = pty.openpty()
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(slave)
        os.close(master)


def test_a_terminal_becomes_the_controlling_one(terminal: tuple[int, str], folder: Path) -> None:
    master, path = terminal
    lines = ["StandardInput=tty", f"TTYPath={path}", "TTYReset=yes", "TTYRows=30", "TTYColumns=90"]
    command = "/bin/sh -c 'tty; stty size </dev/tty; echo $$TERM; ps -o tty= -p $$$$; ls -l /proc/self/fd >/dev/null'"
    with running(folder, *lines, f"ExecStart={command}", environment={"TERM": "dumb"}) as supervisor:
        supervisor.wait_log("ended: exit status 0")
    said = os.read(master, 4096).decode().split()
    assert said[:4] == [path, "30", "90", "dumb"]
    assert said[4] == path.removeprefix("/dev/")


def test_a_terminal_that_somebody_else_controls_is_reported_as_208(terminal: tuple[int, str], folder: Path) -> None:
    _, path = terminal
    holder = subprocess.Popen(
        [sys.executable, "-c", "import os, sys\nos.setsid()\nos.open(sys.argv[1], os.O_RDWR)\nprint(flush=True)\ninput()", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with running(folder, "StandardInput=tty-fail", f"TTYPath={path}", "ExecStart=/bin/true") as supervisor:
            failed_step(supervisor, "taking the terminal", 208)
        holder.communicate(b"\n")


@root_only
def test_a_terminal_can_be_taken_by_force(terminal: tuple[int, str], folder: Path) -> None:
    master, path = terminal
    script = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        run(folder, "Type=oneshot", "StandardInput=tty-force", f"TTYPath={path}", "ExecStart=/usr/bin/tty")
        assert os.read(master, 4096).split() == [path.encode()]
        holder.communicate(b"\n")


def test_files_are_opened_and_handed_over_behind_the_sockets(folder: Path) -> None:
    for name in ("read", "append", "both"):
        (folder / name).write_text(name)
    lines = [
        *(f"OpenFile={folder}/read:in:read-only", f"OpenFile={folder}/append::append", f"OpenFile={folder}/both"),
        *(f"OpenFile={folder}/missing:none:graceful",),
    ]
    with running(folder, *lines, f"ExecStart={PROBE} say activation descriptors") as supervisor:
        (report,) = supervisor.reports()
    assert report["activation"]["LISTEN_FDS"] == "4"
    assert report["activation"]["LISTEN_FDNAMES"] == "one.socket:in:append:both"
    assert [report["descriptors"][str(fd)] for fd in (3, 4, 5, 6)] == [
        f"{folder}/{name}" for name in ("fifo", "read", "append", "both")
    ]
    assert len(report["descriptors"]) == 7


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_among_the_files_is_connected_to(kind: socket.SocketKind, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(f"{folder}/server")
        if kind != socket.SOCK_DGRAM:
            server.listen()
        command = f"{sys.executable} -I -S -c \"import os; os.write(4, b'hello')\""
        told(folder, f"OpenFile={folder}/server", command=command)
        if kind == socket.SOCK_DGRAM:
            assert server.recv(10) == b"hello"
        else:
            with server.accept()[0] as connection:
                assert connection.recv(10) == b"hello"


def test_a_file_that_cannot_be_opened_is_reported_as_202(folder: Path) -> None:
    with running(folder, f"OpenFile={folder}/missing", "ExecStart=/bin/true") as supervisor:
        failed_step(supervisor, f"opening {folder}/missing", 202)


# --- placing descriptors


def placed(order: Sequence[int], executor: Callable[[Image], tuple[int, int, int]]) -> list[str]:
    """Where descriptors lead from 3 on in a program that gets these ones; each is a file named after its number here."""
    reader, writer = os.pipe()
    script = "import os, sys; print(*(os.readlink(f'/proc/self/fd/{n}') for n in range(3, 3 + int(sys.argv[1]))))"
    argv = (sys.executable, "-I", "-S", "-c", script, str(len(order)))
    null = os.open("/dev/null", os.O_RDWR)
    streams = (null, writer, 2)
    image = Image(sys.executable, argv, {}, (), streams, tuple(order), None, "/", False, 0o022, (), (), (), ())
    pid, step, _ = executor(image)
    for fd in (writer, null):
        os.close(fd)
    with open(reader) as said:
        found = [Path(path).name for path in said.read().split()]
    assert os.waitpid(pid, 0)[1] == 0
    assert step == -1
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(3, 11)), count=st.integers(0, 8), twice=st.booleans())
def test_descriptors_are_placed_in_any_order_wherever_they_stand(
    order: list[int], count: int, twice: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("placed")
    script = f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parents[2])]!r}
from tests.system.test_execution import placed
from sockact.runtime import spawn
from sockact.runtime.kernel import Kernel
from sockact.runtime.spawn import Image
kernel = Kernel()
execute = spawn.executor(kernel, kernel.not_default())
for number in range(3, 11):
    fd = os.open({str(folder)!r} + f"/{{number}}", os.O_RDONLY | os.O_CREAT)
    os.dup2(fd, 100 + number)
    os.close(fd)
for number in range(3, 11):
    os.dup2(100 + number, number, inheritable=False)
    os.close(100 + number)
print(*placed({[*order[:count], *(order[:1] if twice else [])]!r}, execute))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(number) for number in [*order[:count], *(order[:1] if twice else [])]], done.stderr
