"""Conditions, asked of this machine: each kind once so that it holds and once so that it does not; the same answers as systemd's
where systemd is installed; and machines of which only the files of the kernel are there."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockact.runtime.conditions import World, unmet
from sockact.runtime.host import here
from sockact.unit import syntax
from sockact.unit.load import ServiceUnit, load
from tests.fakes import ours, service_unit

ENVIRONMENT = {"STAGE": "test", "EMPTY": "", "PATH": "/usr/bin:/bin"}
UNKNOWN_ID = "0123456789abcdef0123456789abcdef"
MORE_THAN_ANYBODY = "1048576"
ANALYZE = shutil.which("systemd-analyze") or ""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One of each thing that has a path."""
    folder = tmp_path_factory.mktemp("conditions")
    for name in ("empty", "hidden", "backups", "full"):
        (folder / name).mkdir()
    for name in ("hidden/.x", "backups/a~", "backups/b.bak", "backups/c.dpkg-old", "full/entry", "nothing"):
        (folder / name).touch()
    (folder / "content").write_text("x")
    (folder / "program").write_text("x")
    (folder / "program").chmod(0o100)
    (folder / "link").symlink_to("content")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "way").symlink_to("full")
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(str(folder / "node"))
        yield folder


def holds(*lines: str) -> bool:
    """Whether a service with these lines would be started."""
    text = "\n".join(["[Unit]", *lines, "[Service]", "ExecStart=/bin/true"])
    unit, found = load(
        syntax.parse(text.encode(), "web.service"), "web.service", "/web.service", here().context("web.service", "")
    )
    assert isinstance(unit, ServiceUnit)
    assert ours(found) == []
    assert len(unit.unit.conditions) + len(unit.unit.asserts) == len(lines)
    return not unmet(unit.unit, ENVIRONMENT)[0]


RELEASE, HOST = os.uname().release, os.uname().nodename
CPUS = len(os.sched_getaffinity(0))

PATHS = [
    *(("PathExists=", name) for name in ("content", "link", "full/")),
    *(("PathExistsGlob=", pattern) for pattern in ("{nope,content}", "{a,{b,con*t}}", "c[!x]*", "h*/.*", "dangl*", "co\\ntent")),
    ("PathExistsGlob=", "[[:alpha:]]ontent"),
    *(("PathIsDirectory=", name) for name in ("full", "way")),
    *(("PathIsSymbolicLink=", name) for name in ("link", "dangling", "way")),
    *(("PathIsReadWrite=", name) for name in ("full", "content")),
    ("PathIsSocket=", "node"),
    *(("DirectoryNotEmpty=", name) for name in ("full", "way")),
    *(("FileNotEmpty=", name) for name in ("content", "link")),
    ("FileIsExecutable=", "program"),
]
NO_PATHS = [
    *(("PathExists=", name) for name in ("nope", "dangling", "content/x")),
    *(("PathExistsGlob=", pattern) for pattern in ("zz*", "[^c]*ent", "hidden/*", "{content", "content/*", "empty/.*")),
    *(("PathIsDirectory=", name) for name in ("content", "nope", "dangling")),
    *(("PathIsSymbolicLink=", name) for name in ("content", "nope")),
    *(("PathIsMountPoint=", name) for name in ("full", "content", "nope")),
    ("PathIsReadWrite=", "nope"),
    *(("PathIsSocket=", name) for name in ("content", "nope")),
    *(("DirectoryNotEmpty=", name) for name in ("empty", "hidden", "backups", "content", "nope")),
    *(("FileNotEmpty=", name) for name in ("nothing", "full", "nope")),
    *(("FileIsExecutable=", name) for name in ("content", "full", "nope")),
]
HERE = [
    *("PathIsMountPoint=/", "PathIsMountPoint=/proc", "KernelVersion=*", f"KernelVersion={RELEASE}", f"KernelVersion=={RELEASE}"),
    *(f"KernelVersion==={RELEASE}", "KernelVersion=>2.6", "KernelVersion=> 2.6 <99", 'KernelVersion=">= 2.6"'),
    *("KernelVersion=!=2.6", "KernelVersion=<>2.6", "KernelVersion=$=*.*", "KernelVersion=!$=x*", "KernelVersion=! <3"),
    *("Memory=1", "Memory=>=1M", "Memory=> 1M", "Memory=<>1", "Memory=!=1", "Memory=0.5M", "Memory=2M 512K", "Memory=1B"),
    *("CPUs=1", f"CPUs={CPUS}", f"CPUs=={CPUS}", f"CPUs={CPUS:#x}", f"CPUs=<{CPUS + 1}", "CPUs=>= 1", "CPUs=!=0"),
    *(f"Host={HOST}", f"Host={HOST.upper()}", f"Host={HOST[0]}*", "Host=%H", "Host=| %H", "OSRelease=NO_SUCH!=x"),
    *("OSRelease=NO_SUCH$=*", "Architecture=native", "Environment=STAGE", "Environment=STAGE=test", "Environment=EMPTY"),
    *("Environment=EMPTY=", "ControlGroupController=nobody-has-this", "User=%U", "Group=%G"),
    *("Virtualization=!no-such-thing", "Security=!nonsense", "Firmware=!nonsense", "CPUFeature=!nonsense"),
    *("KernelCommandLine=!no-such-word", "Capability=!63", "User=!nobody-has-this-name", "KernelModuleLoaded=!no_such_module"),
]
NOT_HERE = [
    *(
        "KernelVersion=>99",
        "KernelVersion=>2.6 <3",
        "KernelVersion==3*",
        "KernelVersion=3*",
        "KernelVersion=~9",
        "KernelVersion=lt9",
    ),
    *("Memory=1P", "Memory=<1M", "Memory==1", "Memory===1", f"CPUs={MORE_THAN_ANYBODY}", "CPUs=<1", f"CPUs=!={CPUS}"),
    *(
        "Host=no-such-host",
        f"Host={UNKNOWN_ID}",
        f"Host={HOST}.",
        "OSRelease=NO_SUCH=x",
        "OSRelease=id=x",
        "Architecture=nonsense",
    ),
    *("Environment=NO_SUCH", "Environment=STAG", "Environment=STAGE=tes", "Environment=STAGE="),
    *("Environment=STAGE=test EMPTY=", "User=nobody-has-this-name", "User=00", "User=0x0", "User=4294967295", "Group=65535"),
    *(
        "Group=nobody-has-this-name",
        "Group=@system",
        "Virtualization=no-such-thing",
        "Virtualization=yes no",
        "Security=nonsense",
    ),
    *("Firmware=nonsense", "Firmware=device-tree-compatible(nonsense)", "Firmware=smbios-field(nonsense = x)"),
    *("CPUFeature=nonsense", "CPUFeature=avx512f", "CPUFeature=fma", "KernelCommandLine=no-such-word"),
    "KernelModuleLoaded=no_such_module",
]

WHATEVER = [
    *(f"Virtualization={name}" for name in ("yes", "no", "vm", "container", "private-users", "docker", "podman", "kvm", "qemu")),
    *(
        f"Security={name}"
        for name in ("selinux", "apparmor", "smack", "tomoyo", "ima", "audit", "uefi-secureboot", "tpm2", "cvm")
    ),
    *(f"ControlGroupController={name}" for name in ("v1", "v2", "cpu", "memory", "pids", "cpu pids", "io", "blkio", "cpuacct")),
    *(f"ControlGroupController={name}" for name in ("devices", "hugetlb", "cpu nonsense", "bpf-devices")),
    *(f"CPUFeature={name}" for name in ("fpu", "AVX2", "fma3", "pclmul", "osxsave", "pclmulqdq", "lm", "rdrand", "sha_ni", "ht")),
    *(f"Capability={name}" for name in ("CAP_SYS_ADMIN", "cap_net_admin", "0", "40", "CAP_CHECKPOINT_RESTORE", "CAP_BPF")),
    *(f"User={name}" for name in ("root", "0", "@system", "nobody", "65534", "daemon", "1")),
    *(f"Group={name}" for name in ("root", "0", "daemon", "nogroup")),
    *(f"Architecture={name}" for name in ("x86-64", "x86", "arm64", "arm", "riscv64", "s390x", "ppc64-le")),
    *(f"Firmware={name}" for name in ("uefi", "device-tree", "smbios-field(sys_vendor $= *)", "smbios-field(sys_vendor=QEMU)")),
    *(f"OSRelease={asked}" for asked in ("ID=debian", "VERSION_ID>=12", "VERSION_ID==012", "VERSION_ID=012", "ID$=deb* ID!=x")),
    *(f"KernelCommandLine={word}" for word in ("quiet", "console", "ro", "root", "init", "BOOT_IMAGE", "start")),
    *(
        f"PathIsMountPoint={path}"
        for path in ("/dev", "/dev/shm", "/sys", "/etc", "/proc/self", "/run", "/tmp", "/sys/fs/cgroup")
    ),
    *(f"PathIsReadWrite={path}" for path in ("/", "/proc", "/sys", "/usr", "/sys/fs/cgroup", "/proc/1/root")),
    *("ACPower=yes", "ACPower=no", "Host=localhost"),
]
"""What may hold or not, for all that we know."""


@pytest.mark.parametrize(("kind", "name"), PATHS, ids="".join)
def test_a_condition_on_a_path_holds(place: Path, kind: str, name: str) -> None:
    assert holds(f"Condition{kind}{place}/{name}")
    assert not holds(f"Condition{kind}!{place}/{name}")
    assert holds(f"Assert{kind}|{place}/{name}")


@pytest.mark.parametrize(("kind", "name"), NO_PATHS, ids="".join)
def test_a_condition_on_a_path_does_not_hold(place: Path, kind: str, name: str) -> None:
    assert not holds(f"Condition{kind}{place}/{name}")
    assert holds(f"Condition{kind}!{place}/{name}")
    assert not holds(f"Assert{kind}{place}/{name}")


@pytest.mark.parametrize("line", HERE)
def test_a_condition_on_the_machine_holds(line: str) -> None:
    assert holds(f"Condition{line}")


@pytest.mark.parametrize("line", NOT_HERE)
def test_a_condition_on_the_machine_does_not_hold(line: str) -> None:
    assert not holds(f"Condition{line}")
    assert not holds(f"Assert{line}")


def test_a_link_to_a_mount_point_is_one(tmp_path: Path) -> None:
    (tmp_path / "way to it").symlink_to("/proc")
    assert holds(f"ConditionPathIsMountPoint={tmp_path}/way to it")


def test_the_machine_id_names_the_host(tmp_path: Path) -> None:
    found = Path("/etc/machine-id")
    if not found.exists() or not found.read_text().strip():
        pytest.skip("this machine has no id")
    text = found.read_text().strip()
    assert holds(f"ConditionHost={text}")
    assert holds(f"ConditionHost={text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:].upper()}")


def test_what_the_release_says_of_itself_holds() -> None:
    release = platform.freedesktop_os_release()
    assert holds(f"ConditionOSRelease=ID={release['ID']} NAME$=*", f'ConditionOSRelease="PRETTY_NAME={release["PRETTY_NAME"]}"')


def test_our_own_groups_count() -> None:
    assert all(holds(f"ConditionGroup={group}") for group in os.getgroups()[:3])


def test_every_capability_has_its_bit() -> None:
    bounding = World({}).capabilities()
    assert holds("ConditionCapability=CAP_CHOWN") is bool(bounding & 1)
    assert holds("ConditionCapability=CAP_SYS_ADMIN") is bool(bounding >> 21 & 1)


def test_of_a_condition_and_an_assertion_the_condition_is_told() -> None:
    lines = "[Unit]\nAssertPathExists=/no/assert\nConditionPathExists=/no/condition\n[Service]\nExecStart=/bin/true"
    assert unmet(service_unit(lines)[0].unit, {}) == ("ConditionPathExists=/no/condition does not hold", False)
    without = lines.replace("Condition", "X-Condition")
    assert unmet(service_unit(without)[0].unit, {}) == ("AssertPathExists=/no/assert does not hold", True)
    assert unmet(service_unit("ExecStart=/bin/true")[0].unit, {}) == ("", False)


def test_each_start_looks_anew(tmp_path: Path) -> None:
    unit, _ = service_unit(f"[Unit]\nConditionPathExists={tmp_path}/flag\n[Service]\nExecStart=/bin/true")
    assert unmet(unit.unit, {})[0]
    (tmp_path / "flag").touch()
    assert unmet(unit.unit, {}) == ("", False)


# The same answers as systemd's


def of_systemd(line: str) -> bool | None:
    """What systemd says; None when it does not know the condition."""
    environment = {**ENVIRONMENT, "LC_ALL": "C"}
    done = subprocess.run([ANALYZE, "condition", line], capture_output=True, text=True, env=environment, check=False)
    said = done.stdout + done.stderr
    if "Cannot parse" in said or "Unknown" in said:
        return None
    assert "onditions succeeded" in said or "onditions failed" in said, said
    return done.returncode == 0


needs_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")


@needs_systemd
@pytest.mark.parametrize("line", [*HERE, *NOT_HERE, *WHATEVER])
def test_systemd_says_the_same_of_the_machine(line: str) -> None:
    if os.getuid() != 0 and ("%" in line or line.startswith("ControlGroup")):
        pytest.skip("for anybody but root systemd answers as the manager of a user would, or of root all the same")
    theirs = of_systemd(f"Condition{line}")
    if theirs is None:
        pytest.skip("this systemd does not know it")
    assert holds(f"Condition{line}") is theirs


@needs_systemd
@pytest.mark.parametrize(("kind", "name"), [*PATHS, *NO_PATHS], ids="".join)
def test_systemd_says_the_same_of_paths(place: Path, kind: str, name: str) -> None:
    theirs = of_systemd(f"Condition{kind}{place}/{name}")
    if theirs is None:
        pytest.skip("this systemd does not know it")
    assert holds(f"Condition{kind}{place}/{name}") is theirs


# Other machines, by the files of their kernels


def machine(root: Path, files: dict[str, str]) -> World:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return World({}, str(root))


FLAGS = "processor\t: 0\nflags\t\t: fpu sse2 hypervisor\n"
CLOCK = "sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("none", {}),
        ("none", {"proc/cpuinfo": "flags : fpu\n", CLOCK: "tsc hpet\n"}),
        ("kvm", {"proc/cpuinfo": FLAGS, CLOCK: "tsc kvm-clock acpi_pm\n", "sys/class/dmi/id/sys_vendor": "QEMU\n"}),
        ("microsoft", {"proc/cpuinfo": FLAGS, CLOCK: "hyperv_clocksource_tsc_page\n"}),
        ("qemu", {"proc/cpuinfo": FLAGS, CLOCK: "tsc\n", "sys/class/dmi/id/sys_vendor": "QEMU\n"}),
        ("vmware", {"proc/cpuinfo": FLAGS, "sys/class/dmi/id/product_name": "VMware Virtual Platform\n"}),
        ("oracle", {"proc/cpuinfo": FLAGS, CLOCK: "kvm-clock\n", "sys/class/dmi/id/product_name": "VirtualBox\n"}),
        ("amazon", {"proc/cpuinfo": FLAGS, CLOCK: "kvm-clock\n", "sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}),
        ("vm-other", {"proc/cpuinfo": FLAGS}),
        ("uml", {"proc/cpuinfo": "vendor_id : User Mode Linux\n"}),
        ("xen", {"proc/xen/capabilities": "\n"}),
        ("none", {"proc/xen/capabilities": "control_d\n"}),
        ("kvm", {"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}),
        ("xen", {"proc/device-tree/hypervisor/compatible": "xen,xen\0"}),
        ("vm-other", {"proc/device-tree/hypervisor/compatible": "acrn\0"}),
        ("qemu", {"proc/device-tree/compatible": "qemu,pseries\0"}),
    ],
)
def test_a_virtual_machine_is_known_by_the_kernels_files(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    world = machine(tmp_path, files)
    assert (world.virtualization(), world.is_container()) == (name, False)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("docker", {".dockerenv": ""}),
        ("podman", {"run/.containerenv": "", ".dockerenv": ""}),
        ("podman", {"proc/1/environ": "PATH=/bin\0container=oci\0", "run/.containerenv": ""}),
        ("container-other", {"proc/1/environ": "container=oci\0"}),
        ("lxc", {"proc/1/environ": "container=lxc\0"}),
        ("systemd-nspawn", {"run/host/container-manager": "systemd-nspawn\n"}),
        ("systemd-nspawn", {"run/systemd/container": "systemd-nspawn", ".dockerenv": ""}),
        ("container-other", {"run/systemd/container": "home-made"}),
        ("openvz", {"proc/vz/veinfo": ""}),
        ("wsl", {"proc/sys/kernel/osrelease": "5.15.90-microsoft-standard-WSL2\n"}),
        ("proot", {"proc/self/status": "TracerPid:\t7\n", "proc/7/comm": "proot-x\n"}),
        ("container-other", {f"sys/fs/cgroup/cgroup.{name}": "" for name in ("controllers", "events", "type")}),
        ("container-other", {"sys/fs/cgroup/systemd/tasks": ""}),
    ],
)
def test_a_container_is_known_by_what_its_manager_leaves(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    world = machine(tmp_path, files)
    assert (world.virtualization(), world.is_container()) == (name, True)


def test_a_container_wins_over_the_virtual_machine_around_it(tmp_path: Path) -> None:
    assert machine(tmp_path, {".dockerenv": "", "proc/cpuinfo": FLAGS, CLOCK: "kvm-clock"}).virtualization() == "docker"


def test_the_root_of_the_hierarchy_is_no_container(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n", "proc/cmdline": "ro 'quoted word' x=1\n"}
    world = machine(tmp_path, files)
    assert not world.is_container()
    assert world.controllers() == {"v2", "cpu", "io", "memory", "pids"}
    assert world.command_line() == ["ro", "quoted word", "x=1"]


def test_in_a_container_the_command_line_is_that_of_process_1(tmp_path: Path) -> None:
    world = machine(tmp_path, {".dockerenv": "", "proc/1/cmdline": "sockact\0start\0", "proc/cmdline": "quiet\n"})
    assert world.command_line() == ["sockact", "start"]


def test_old_control_groups_are_told_by_their_folders(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu/tasks": "", "sys/fs/cgroup/systemd/release_agent": "", "sys/fs/cgroup/cpuset/tasks": ""}
    assert machine(tmp_path, files).controllers() == {"v1", "cpu"}
    assert World({}, str(tmp_path / "nothing")).controllers() == set()


@pytest.mark.parametrize(
    ("answer", "supplies"),
    [
        (True, {}),
        (True, {"AC": ("Mains", "online", "1")}),
        (False, {"AC": ("Mains", "online", "0")}),
        (True, {"AC": ("Mains", "online", "0"), "USB": ("USB", "online", "1")}),
        (False, {"BAT": ("Battery", "status", "Discharging")}),
        (True, {"BAT": ("Battery", "status", "Full")}),
        (True, {"BAT": ("Battery", "status", "Discharging"), "AC": ("Mains", "online", "1")}),
    ],
)
def test_mains_power_is_what_an_adapter_says(tmp_path: Path, answer: bool, supplies: dict[str, tuple[str, str, str]]) -> None:
    files: dict[str, str] = {}
    for name, (kind, key, value) in supplies.items():
        files |= {f"sys/class/power_supply/{name}/{file}": f"{text}\n" for file, text in (("type", kind), (key, value))}
    assert machine(tmp_path, files).is_on_ac_power() is answer


@pytest.mark.parametrize(
    ("technology", "file", "text"),
    [
        ("selinux", "sys/fs/selinux/enforce", "1"),
        ("apparmor", "sys/module/apparmor/parameters/enabled", "Y\n"),
        ("smack", "sys/fs/smackfs/load2", ""),
        ("tomoyo", "sys/kernel/security/tomoyo/version", "2.6\n"),
        ("ima", "sys/kernel/security/ima/policy", ""),
        ("tpm2", "sys/class/tpmrm/tpmrm0/dev", ""),
        ("uefi-secureboot", "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\6\0\0\0\1"),
        ("measured-uki", "sys/firmware/efi/efivars/StubPcrKernelImage-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", ""),
        ("cvm", "dev/sev-guest", ""),
        ("cvm", "proc/cpuinfo", "flags : fpu tdx_guest\n"),
        ("cvm", "sys/firmware/uv/prot_virt_guest", "1\n"),
    ],
)
def test_a_security_technology_is_told_by_its_files(tmp_path: Path, technology: str, file: str, text: str) -> None:
    assert not World({}, str(tmp_path / "nothing")).has_security(technology)
    assert machine(tmp_path, {file: text}).has_security(technology)


def test_a_technology_that_is_there_and_off_is_not_there(tmp_path: Path) -> None:
    secure = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    world = machine(tmp_path, {"sys/module/apparmor/parameters/enabled": "N\n", secure: "\6\0\0\0\0"})
    assert not world.has_security("apparmor")
    assert not world.has_security("uefi-secureboot")


def test_private_users_are_told_by_the_mapping_of_ids(tmp_path: Path) -> None:
    first = "         0          0 4294967295\n"
    assert not machine(tmp_path / "first", {"proc/self/uid_map": first, "proc/self/gid_map": first}).has_private_users()
    assert machine(tmp_path / "mapped", {"proc/self/uid_map": "0 100000 65536\n", "proc/self/gid_map": first}).has_private_users()
    assert machine(tmp_path / "denied", {"proc/self/setgroups": "deny\n"}).has_private_users()


def test_a_limit_of_the_control_group_bounds_the_memory(tmp_path: Path) -> None:
    assert machine(tmp_path, {"sys/fs/cgroup/memory.max": "1048576\n"}).memory() == 1 << 20
    assert machine(tmp_path / "unlimited", {"sys/fs/cgroup/memory.max": "max\n"}).memory() > 1 << 20


def test_mount_points_with_blanks_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a b\\c"
    path.mkdir()
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    world = machine(tmp_path, {"proc/self/mountinfo": f"36 35 98:0 / {escaped} rw,noatime shared:1 - ext3 /dev/root rw\n"})
    assert world.is_mount_point(str(path))
    assert not world.is_mount_point(str(tmp_path))
