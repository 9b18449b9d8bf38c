"""What this machine answers to the conditions of a unit, at each start of it. Loaded when a unit has conditions.

Nothing here fails: what cannot be found out is not so. Where systemd asks the processor (CPUID), we read what the kernel has made
of the answers.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from functools import cache

from sockact.lifecycle.child import environment_file
from sockact.record import TYPE_CHECKING
from sockact.runtime.kernel import Kernel
from sockact.unit import conditions, words
from sockact.unit.diagnostics import Invalid
from sockact.unit.matching import MAGIC, braces, matches
from sockact.unit.values import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sockact.unit.directives.unit import UnitSection


def unmet(unit: UnitSection, environment: Mapping[str, str]) -> tuple[str, bool]:
    """A sentence about the first condition or assertion that does not hold, and whether it is an assertion; an empty text when
    all hold. `environment` is what services of the supervisor start from."""
    world = World(environment)
    condition = conditions.unmet(unit.conditions, world)
    failed = "" if condition else conditions.unmet(unit.asserts, world)
    return condition or failed, bool(failed)


class World:
    """This machine. `root` is where its own files are, the kernel's file systems among them; units name paths without it."""

    def __init__(self, environment: Mapping[str, str], root: str = "") -> None:
        self.environment = environment
        self.root = root

    def read(self, path: str) -> str:
        try:
            with open(self.root + path, "rb") as file:
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)

    # Paths

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def is_symbolic_link(self, path: str) -> bool:
        return os.path.islink(path)

    def is_mount_point(self, path: str) -> bool:
        mounts = (line.split(" ")[4] for line in self.read("/proc/self/mountinfo").splitlines())
        return os.path.realpath(path) in {_plain(mount) for mount in mounts}

    def is_socket(self, path: str) -> bool:
        found = _look(path)
        return found is not None and stat.S_ISSOCK(found.st_mode)

    def is_executable(self, path: str) -> bool:
        found = _look(path)
        return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)

    def is_read_write(self, path: str) -> bool:
        try:
            return not os.statvfs(path).f_flag & os.ST_RDONLY
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def has_content(self, path: str) -> bool:
        found = _look(path)
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size > 0

    def has_entries(self, path: str) -> bool:
        try:
            return not all(_is_hidden_or_backup(name) for name in os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def any_exists(self, pattern: str) -> bool:
        return any(_leads_somewhere("", one.strip("/").split("/")) for one in braces(pattern))

    # Accounts and privileges

    def users(self) -> set[int]:
        return {os.getuid(), os.geteuid()}

    def groups(self) -> set[int]:
        return {os.getgid(), os.getegid(), *os.getgroups()}

    def user_id(self, name: str) -> int | None:
        return None if is_id(name) else _known(lambda: Kernel().account(name, None).uid)

    def group_id(self, name: str) -> int | None:
        return None if is_id(name) else _known(lambda: Kernel().group_id(name))

    def capabilities(self) -> int:
        return int(self.after_colon("/proc/self/status", "CapBnd") or "0", 16)

    # What the machine is

    def virtualization(self) -> str:
        return _container(self.root) or _virtual_machine(self.root)

    def is_container(self) -> bool:
        return bool(_container(self.root))

    def has_private_users(self) -> bool:
        """A user namespace other than the first one maps fewer ids, or others."""
        return any(
            text.split() not in ([], ["0", "0", "4294967295"])
            for text in (self.read(f"/proc/self/{which}_map") for which in ("uid", "gid"))
        ) or self.read("/proc/self/setgroups").startswith("deny")

    def architecture(self, native: bool) -> str:
        machine = os.uname().machine
        if native and struct.calcsize("P") == 4:
            machine = NARROW.get(machine, machine)
        return ARCHITECTURES.get(machine, machine)

    def host_name(self) -> str:
        return os.uname().nodename

    def kernel_release(self) -> str:
        return os.uname().release

    def command_line(self) -> list[str]:
        if self.is_container():
            return self.read("/proc/1/cmdline").split("\0")[:-1]
        text = self.read("/proc/cmdline")
        split = words.split(text)
        return text.split() if isinstance(split, Invalid) else [word.text for word in split]

    def os_release(self, name: str) -> str:
        return environment_file(self.read("/etc/os-release") or self.read("/usr/lib/os-release")).get(name, "")

    def memory(self) -> int:
        """What the kernel has, or a limit that it keeps us to."""
        limits = (self.read(path).strip() for path in MEMORY_LIMITS)
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min([pages, *(int(limit) for limit in limits if limit.isdigit())])

    def cpus(self) -> int:
        return len(os.sched_getaffinity(0))

    def cpu_features(self) -> set[str]:
        return set(self.after_colon("/proc/cpuinfo", "flags").split())

    def is_on_ac_power(self) -> bool:
        """Whether a mains adapter gives power, or nothing says otherwise."""
        folder, offline = "/sys/class/power_supply", False
        for name in self._names(folder):
            kind = self.read(f"{folder}/{name}/type").strip()
            if kind in ("Mains", "USB"):
                if self.read(f"{folder}/{name}/online").strip() == "1":
                    return True
                offline = True
            elif kind == "Battery" and self.read(f"{folder}/{name}/scope").strip() != "Device":
                offline = offline or self.read(f"{folder}/{name}/status").strip() == "Discharging"
        return not offline

    def has_security(self, technology: str) -> bool:
        files = SECURITY.get(technology, ())
        if technology == "audit":
            return _has_audit()
        if technology == "apparmor":
            return self.read(*files).strip() == "Y"
        if technology == "uefi-secureboot":
            return self.read(*files)[-1:] == "\1"
        if technology == "cvm":
            confined = "tdx_guest" in self.cpu_features() or self.read("/sys/firmware/uv/prot_virt_guest").strip() == "1"
            return confined or any(map(self.exists, files))
        if technology == "tpm2":
            return bool(self._names("/sys/class/tpmrm")) or (self.exists("/sys/firmware/efi") and any(map(self.exists, files)))
        return any(map(self.exists, files))

    def controllers(self) -> set[str]:
        base = "/sys/fs/cgroup"
        if self.exists(f"{base}/cgroup.controllers"):
            return {"v2", *self.read(f"{base}/cgroup.controllers").split()}
        mounted = self._names(base)
        return {"v1", *LEGACY_CONTROLLERS.intersection(mounted)} if mounted else set()

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.root + folder)
        except OSError:
            return []

    def after_colon(self, path: str, name: str) -> str:
        """What stands behind the first `NAME:` of a file."""
        pairs = (line.partition(":") for line in self.read(path).splitlines())
        return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


LEGACY_CONTROLLERS = frozenset({"cpu", "cpuacct", "blkio", "memory", "devices", "pids"})
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
NARROW = {"x86_64": "i686", "aarch64": "armv8l", "ppc64": "ppc", "ppc64le": "ppcle", "s390x": "s390", "mips64": "mips"}
"""What programs of 32 bits are built for, where the kernel is of 64."""
ARCHITECTURES = {
    **{"x86_64": "x86-64", **dict.fromkeys(("i386", "i486", "i586", "i686"), "x86")},
    **{"aarch64": "arm64", "aarch64_be": "arm64-be", "armv8b": "arm-be", "armv7b": "arm-be"},
    **dict.fromkeys(("armv4l", "armv4tl", "armv5tl", "armv5tel", "armv5tejl", "armv6l", "armv7l", "armv8l"), "arm"),
    **{"ppcle": "ppc-le", "ppc64le": "ppc64-le", "mipsel": "mips-le", "mips64el": "mips64-le", "loongarch64": "loongarch64"},
}
"""systemd's names where they differ from uname(2)'s."""

_VARIABLES = "/sys/firmware/efi/efivars"
SECURITY: dict[str, tuple[str, ...]] = {
    "selinux": ("/sys/fs/selinux/enforce",),
    "apparmor": ("/sys/module/apparmor/parameters/enabled",),
    "smack": ("/sys/fs/smackfs",),
    "tomoyo": ("/sys/kernel/security/tomoyo/version",),
    "ima": ("/sys/kernel/security/ima",),
    "uefi-secureboot": (f"{_VARIABLES}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",),
    "measured-uki": (f"{_VARIABLES}/StubPcrKernelImage-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",),
    "tpm2": ("/sys/firmware/acpi/tables/TPM2",),
    "cvm": ("/dev/sev-guest", "/dev/tdx_guest"),
}
"""The files that tell of a technology."""
NETLINK_AUDIT = 9


def _has_audit() -> bool:
    """Whether the kernel audits, for whoever asks from this namespace."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT).close()
    except OSError:
        return False
    return True


# Paths


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _plain(mount: str) -> str:
    """A path of mountinfo, where blanks and backslashes are octal numbers."""
    first, *others = mount.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


def _is_hidden_or_backup(name: str) -> bool:
    return name[0] == "." or name[-1] == "~" or name in USUAL or name.rpartition(".")[1:] in BACKUPS


USUAL = ("lost+found", "aquota.user", "aquota.group")
BACKUPS = {
    (".", ending)
    for ending in (
        *("rpmnew", "rpmsave", "rpmorig", "dpkg-old", "dpkg-new", "dpkg-tmp", "dpkg-dist", "dpkg-bak", "dpkg-backup"),
        *("dpkg-remove", "ucf-new", "ucf-old", "ucf-dist", "swp", "bak", "old", "new"),
    )
}


def _leads_somewhere(folder: str, parts: list[str]) -> bool:
    """Whether the rest of a pattern, part by part, has something below the folder."""
    part, *rest = parts
    if set(part).isdisjoint(MAGIC):
        names = [part]
    else:
        try:
            found = os.listdir(folder or "/")
        except OSError:
            return False
        names = [name for name in found if matches(part, name) and (name[0] != "." or part[0] == ".")]
    paths = (f"{folder}/{name}" for name in names)
    return any(_leads_somewhere(path, rest) if rest else os.path.lexists(path) for path in paths)


def _known(look_up: Callable[[], int]) -> int | None:
    try:
        return look_up()
    except KeyError:
        return None


# Virtualization

CONTAINERS = frozenset(
    {"lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch", "openvz", "container-other"}
)
FILES_OF_CONTAINERS = {"/run/.containerenv": "podman", "/.dockerenv": "docker"}
VENDORS = {
    **{"KVM": "kvm", "OpenStack": "kvm", "KubeVirt": "kvm", "Amazon EC2": "amazon", "QEMU": "qemu", "VMware": "vmware"},
    **{"VMW": "vmware", "innotek GmbH": "oracle", "VirtualBox": "oracle", "Oracle Corporation": "oracle", "Xen": "xen"},
    **{"Bochs": "bochs", "Parallels": "parallels", "BHYVE": "bhyve", "Hyper-V": "microsoft", "Apple Virtualization": "apple"},
    **{"Google Compute Engine": "google"},
}
"""How the names of machines begin that are none (DMI)."""
DMI = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource_tsc_page": "microsoft", "xen": "xen"}
"""Clocks that a hypervisor gives: it has one name, and says it where CPUID does."""
CERTAIN = ("oracle", "xen", "amazon", "parallels", "google")
"""Names in DMI that systemd takes before it asks the processor."""


@cache
def _container(root: str) -> str:
    """The container that this is, as systemd-detect-virt(1) calls it, or nothing."""
    world = World({}, root)
    release = world.read("/proc/sys/kernel/osrelease")
    if world.exists("/proc/vz") and not world.exists("/proc/bc"):
        return "openvz"
    if "Microsoft" in release or "WSL" in release:
        return "wsl"
    tracer = world.after_colon("/proc/self/status", "TracerPid")
    if tracer not in ("", "0") and world.read(f"/proc/{tracer}/comm").startswith("proot"):
        return "proot"
    told = _told_container(world)
    if told and told != "oci":
        return told if told in CONTAINERS else "container-other"
    by_file = next((name for file, name in FILES_OF_CONTAINERS.items() if world.exists(file)), "")
    return by_file or ("container-other" if told or _is_in_cgroup_namespace(world) else "")


def _told_container(world: World) -> str:
    """What the manager of the container says."""
    if world.exists("/run/host/container-manager"):
        return world.read("/run/host/container-manager").partition("\n")[0]
    if os.getpid() == 1 and not world.root:
        return os.environ.get("container", "")  # noqa: SIM112 - so it is called
    if world.exists("/run/systemd/container"):
        return world.read("/run/systemd/container").partition("\n")[0]
    variables = world.read("/proc/1/environ").split("\0")
    return next((text.removeprefix("container=") for text in variables if text.startswith("container=")), "")


def _is_in_cgroup_namespace(world: World) -> bool:
    """Only the true root of the hierarchy lacks some files, or has some."""
    base = "/sys/fs/cgroup"
    if world.exists(f"{base}/cgroup.controllers"):
        return world.exists(f"{base}/cgroup.events") and world.exists(f"{base}/cgroup.type")
    return world.exists(f"{base}/systemd") and not world.exists(f"{base}/systemd/release_agent")


@cache
def _virtual_machine(root: str) -> str:
    """The virtual machine that this is, as systemd-detect-virt(1) calls it, or "none"."""
    world = World({}, root)
    named = _by_dmi(world)
    cpu = world.read("/proc/cpuinfo")
    if named in CERTAIN:
        return named
    if "User Mode Linux" in cpu:
        return "uml"
    if world.exists("/proc/xen") and "control_d" not in world.read("/proc/xen/capabilities"):
        return "xen"
    clocks = world.read("/sys/devices/system/clocksource/clocksource0/available_clocksource").split()
    by_clock = next((CLOCKS[clock] for clock in clocks if clock in CLOCKS), "")
    if by_clock and "hypervisor" in world.cpu_features():
        return by_clock
    by_tree = _by_device_tree(world)
    return named or by_tree or ("vm-other" if "hypervisor" in world.cpu_features() else "none")


def _by_dmi(world: World) -> str:
    texts = [world.read(f"/sys/class/dmi/id/{name}") for name in DMI]
    return next((name for text in texts for begin, name in VENDORS.items() if text.startswith(begin)), "")


def _by_device_tree(world: World) -> str:
    hypervisor = world.read("/proc/device-tree/hypervisor/compatible").rstrip("\0")
    if not hypervisor:
        return "qemu" if world.read("/proc/device-tree/compatible").rstrip("\0") == "qemu,pseries" else ""
    known = {"linux,kvm": "kvm", "vmware": "vmware"}
    return known.get(hypervisor, "xen" if "xen" in hypervisor else "vm-other")
