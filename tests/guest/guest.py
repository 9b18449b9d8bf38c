"""A throw-away guest on Debian's stock kernel, for what this machine's own kernel lacks.

`run(argv, modules)` runs one command as root in it and gives what `subprocess.run` would.  The guest sees the whole file
system of this machine below a tmpfs, so the repository and a Python are there and whatever it writes is forgotten.  It has
loopback and no other network.

The kernel and a static busybox come from Debian's archive and are unpacked, never installed: a test suite has no business
with the boot menu.  No kmod either: the load order of a handful of modules is read off the modules themselves.

    python tests/guest/guest.py --prepare         fill the cache and boot once
    python tests/guest/guest.py COMMAND [ARG...]  look around in the guest
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("SOCKACT_GUEST_CACHE") or Path(__file__).resolve().parents[2] / ".cache" / "guest")
QEMU = "qemu-system-x86_64"
PROGRAMS = (QEMU, "apt-get", "apt-cache", "dpkg-deb", "setpriv")

KEPT = re.compile(r"/boot/vmlinuz-|/bin/busybox$|/kernel/(crypto|drivers/virtio|fs/(9p|fscache|netfs|overlayfs)|lib|net)/.*\.ko$")
"""What is kept of the packages: 50 MB out of 400, as a guest without hardware needs no drivers."""

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "crc32c_generic")
"""Needed before the first command; crc32c because SCTP asks for it by an alias, which nobody resolves in the guest."""

KVM_TRIAL = 30.0
"""Seconds in which a guest under a KVM that works has booted and ended ten times over."""

# `set -e`: whatever fails ends process 1, hence panics the kernel, hence (panic=-1, -no-reboot) ends qemu without a status file.
INIT = """#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
mkdir /proc /lower /upper /guest
mount -t proc proc /proc
for module in {modules}; do insmod /modules/$module.ko; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose root /lower
mount -t tmpfs tmpfs /upper
mkdir /upper/new /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/new,workdir=/upper/work overlay /guest
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none exchange /guest{exchange}
mount -t proc proc /guest/proc
mount -t sysfs sysfs /guest/sys
mount -t devtmpfs devtmpfs /guest/dev
mount -t tmpfs tmpfs /guest/run
ip link set lo up
cd /guest{exchange}
status=0
chroot /guest /bin/sh -c {command} </guest/dev/null >stdout 2>stderr || status=$?
echo $status >status
poweroff -f
"""


class GuestError(Exception):
    """The guest itself failed, as opposed to the command in it."""


def unavailable() -> str | None:
    """Why there can be no guest here; None if there can."""
    if platform.machine() != "x86_64":
        return f"the guest is an x86_64 one and this machine is {platform.machine()}"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"the guest needs {', '.join(missing)} (see tests/guest/packages.txt)"
    try:
        image()
    except (GuestError, OSError) as error:
        return f"the guest's kernel cannot be had: {error}"
    return None


def run(argv: Sequence[str], modules: Iterable[str] = ("sctp",), timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run a command as root in a fresh guest; GuestError if the guest does not come to its end in time."""
    return boot(accelerator(), argv, modules, timeout)


@functools.cache
def accelerator() -> str:
    """KVM if a guest proves it.

    A writable /dev/kvm proves nothing: below a hypervisor without nested virtualisation it opens and boots no stock kernel,
    or one a hundred times slower than emulation does (kvm_pvm).
    """
    if os.access("/dev/kvm", os.W_OK) and not Path("/sys/module/kvm_pvm").exists():
        with contextlib.suppress(GuestError):
            boot("kvm", ["true"], (), KVM_TRIAL)
            return "kvm"
    return "tcg"


def boot(accel: str, argv: Sequence[str], modules: Iterable[str], timeout: float) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="sockact-guest-") as folder:
        exchange = Path(folder)
        initrd = exchange / "initrd"
        initrd.write_bytes(b"".join(initrd_entries(argv, modules, exchange)))
        try:
            command = qemu_command(accel, initrd, exchange)
            qemu = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest was not done after {timeout:.0f} s:\n{remains(exchange)}") from None
        if not (status := exchange / "status").exists():
            raise GuestError(f"the guest ended before its command did:\n{qemu.stderr}{remains(exchange)}")
        outputs = [(exchange / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(list(argv), int(status.read_text()), *outputs)


def qemu_command(accel: str, initrd: Path, exchange: Path) -> list[str]:
    return [
        # A guest must not outlive a test run that is killed outright.
        *("setpriv", "--pdeathsig", "KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", accel, "-cpu", "max", "-m", "1024"),
        *("-kernel", str(next(image().glob("boot/vmlinuz-*"))), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 quiet panic=-1", "-serial", f"file:{exchange}/console"),
        *share("root", "path=/,readonly=on,multidevs=remap"),
        *share("exchange", f"path={exchange}"),
    ]


def share(tag: str, what: str) -> list[str]:
    return ["-fsdev", f"local,id={tag},security_model=none,{what}", "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def remains(exchange: Path) -> str:
    """What a failed guest left behind, for whoever has to find out why."""
    files = (exchange / name for name in ("console", "stdout", "stderr"))
    return "\n".join(f"-- {file.name}\n{file.read_text(errors='replace')[-4000:]}" for file in files if file.exists())


# The first file system: busybox, the modules in their order, and INIT. Small enough to be made anew for each run.


def initrd_entries(argv: Sequence[str], modules: Iterable[str], exchange: Path) -> Iterator[bytes]:
    ordered = load_order([*BOOT_MODULES, *modules])
    command = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(argv)}"
    init = INIT.format(modules=" ".join(ordered), exchange=exchange, command=shlex.quote(command))
    yield from (newc(name, 0o040755) for name in ("bin", "dev", "modules"))
    yield newc("bin/busybox", 0o100755, next(image().rglob("busybox")).read_bytes())
    yield from (newc(f"modules/{name}.ko", 0o100644, path.read_bytes()) for name, path in ordered.items())
    yield newc("init", 0o100755, init.encode())
    yield newc("TRAILER!!!", 0)


def newc(name: str, mode: int, data: bytes = b"") -> bytes:
    """One entry of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    inode = 0  # the same for all: it tells hard links apart, and a link count of 1 says there are none
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def load_order(names: Iterable[str]) -> dict[str, Path]:
    """The modules and those they depend on, each after its dependencies."""
    files = {path.stem.replace("-", "_"): path for path in image().rglob("*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        if name not in files:
            raise GuestError(f"the guest's kernel has no module {name}")
        for needed in depends(files[name]):
            add(needed)
        ordered[name] = files[name]

    for name in names:
        add(name)
    return ordered


def depends(module: Path) -> list[str]:
    found = re.search(rb"\0depends=([^\0]+)\0", module.read_bytes())
    return found.group(1).decode().replace("-", "_").split(",") if found else []


# The cache.


@functools.cache
def image() -> Path:
    """The folder with kernel, modules and busybox; made if it is not there, and complete if it is."""
    ready = CACHE / "image"
    if not ready.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as folder:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                fetch(Path(folder), kernel_package(), "busybox-static").rename(ready)
    return ready


def kernel_package() -> str:
    found = re.search(r"Depends: (linux-image-\S+)", output("apt-cache", "depends", "linux-image-amd64"))
    if not found:
        raise GuestError("apt-cache depends linux-image-amd64 names no kernel (apt-get update?)")
    return found.group(1)


def fetch(folder: Path, *packages: str) -> Path:
    # apt's own unprivileged user may not write into a fresh temporary folder.
    output("apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", *packages, cwd=folder)
    tree = folder / "tree"
    for package in folder.glob("*.deb"):
        output("dpkg-deb", "--extract", str(package), str(tree))
    for path in list(tree.rglob("*")):
        if path.is_file() and not KEPT.search(str(path)):
            path.unlink()
    return tree


def output(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise GuestError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def main(arguments: list[str]) -> int:
    if reason := unavailable():
        print(reason, file=sys.stderr)
        return 1
    done = run(["true"] if arguments == ["--prepare"] else arguments)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
