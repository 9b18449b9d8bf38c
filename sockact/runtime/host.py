"""This machine, as the loader and the verifier ask about it: the values of specifiers, and what exists here."""

from __future__ import annotations

import errno
import os
from functools import cache, partial

from sockact.lifecycle.child import SEARCH_PATH, environment_file
from sockact.net import linux
from sockact.record import TYPE_CHECKING
from sockact.runtime.kernel import Kernel, scope_id
from sockact.runtime.listeners import LACKING
from sockact.unit.gather import Host

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.net.addresses import Address, Inet, Inet6


def here() -> Host:
    """The host's specifiers (systemd.unit(5)): as system manager for root, as user manager for everybody else."""
    import pwd

    uid, gid = os.getuid(), os.getgid()

    def user() -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    home = os.environ.get("HOME", "/root" if uid == 0 else "/")
    facts = {
        "t": "/run" if uid == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{uid}"),
        "S": "/var/lib" if uid == 0 else os.environ.get("XDG_STATE_HOME", f"{home}/.local/state"),
        "C": "/var/cache" if uid == 0 else os.environ.get("XDG_CACHE_HOME", f"{home}/.cache"),
        "L": "/var/log" if uid == 0 else os.environ.get("XDG_STATE_HOME", f"{home}/.local/state") + "/log",
        "E": "/etc" if uid == 0 else os.environ.get("XDG_CONFIG_HOME", f"{home}/.config"),
        "T": os.environ.get("TMPDIR", "/tmp"),
        "V": os.environ.get("TMPDIR", "/var/tmp"),
        "h": home,
        "s": os.environ.get("SHELL", "/bin/sh"),
        "U": str(uid),
        "G": str(gid),
    }
    names = os.uname()
    constant = {letter: partial(str, text) for letter, text in facts.items()}
    return Host(
        {
            **constant,
            "u": user,
            "g": lambda: _group_name(gid),
            "H": lambda: names.nodename,
            "l": lambda: names.nodename.partition(".")[0],
            "q": lambda: names.nodename,
            "v": lambda: names.release,
            "a": lambda: ARCHITECTURES.get(names.machine, names.machine),
            "b": lambda: _first_line("/proc/sys/kernel/random/boot_id").replace("-", ""),
            "m": lambda: _first_line("/etc/machine-id"),
            **{letter: partial(_os_release, key) for letter, key in OS_RELEASE.items()},
        },
        os.path.exists("/proc/net/if_inet6"),
        _current_directory(),
        os.environ,
    )


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""  # removed under our feet; relative paths lead nowhere then


ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "arm64", "i686": "x86", "riscv64": "riscv64", "ppc64le": "ppc64-le"}
"""systemd's names where they differ from uname(2)'s."""
OS_RELEASE = {"o": "ID", "w": "VERSION_ID", "W": "VARIANT_ID", "B": "BUILD_ID", "A": "IMAGE_VERSION", "M": "IMAGE_ID"}
"""Specifiers that come from os-release(5)."""


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _first_line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return ""


def _os_release(key: str) -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path) as file:
                return environment_file(file.read()).get(key, "")
        except OSError:
            continue
    return ""


def _unless_known(what: str, name: str, look_up: Callable[[], object]) -> str:
    try:
        look_up()
    except KeyError:
        return f"{what} {name} does not exist"
    return ""


class Survey:
    """This machine, as the verifier asks about it; every answer but that of `setting` is what is wrong, or an empty text. `path`
    is the PATH that services start from."""

    def __init__(self, path: str = "") -> None:
        self.path = path or os.environ.get("PATH", SEARCH_PATH)
        self.kernel = Kernel()

    def program(self, name: str, path: str) -> str:
        found = self.kernel.find_program(name, path or self.path)
        if "/" not in found:
            return f"{name} is in no folder of PATH"
        if not os.path.exists(found):
            return f"{name} does not exist"
        if os.path.isdir(found):
            return f"{found} is a directory"
        return "" if os.access(found, os.X_OK) else f"{found} may not be executed (no x permission)"

    def user(self, name: str) -> str:
        return _unless_known("user", name, lambda: self.kernel.account(name, None))

    def group(self, name: str) -> str:
        return _unless_known("group", name, lambda: self.kernel.group_id(name))

    def interface(self, name: str) -> str:
        try:
            scope_id(name)
        except OSError:
            return f"there is no interface {name}"
        return ""

    def file(self, path: str) -> str:
        return "" if os.path.exists(path) else f"{path} does not exist"

    def directory(self, path: str) -> str:
        return "" if os.path.isdir(path) else f"{path} is no directory" if os.path.exists(path) else f"{path} does not exist"

    def address(self, address: Inet | Inet6) -> str:
        """bind(2) knows best, and for that any port and protocol will do."""
        error = self._try(address.constant, "SOCK_DGRAM", 0, address.replace(port=0))
        return f"no interface has {address.host} now" if error == errno.EADDRNOTAVAIL else ""

    def protocol(self, name: str, family: str, kind: str, number: int) -> str:
        error = self._try(family, kind, number)
        return linux.meaning("socket", name, error) if error in LACKING else ""

    def _try(self, family: str, kind: str, number: int, address: Address | None = None) -> int:
        """The errno of opening and binding a socket that nobody will use; 0 when it went well."""
        try:
            fd = self.kernel.socket(family, kind, number)
        except OSError as error:
            return error.errno or 0
        try:
            if address:
                self.kernel.bind(fd, address, None)
        except OSError as error:
            return error.errno or 0
        finally:
            self.kernel.close(fd)
        return 0

    def setting(self, name: str) -> int:
        text = _first_line(f"/proc/sys/{name.replace('.', '/')}")
        return int(text) if text.isdigit() else 0

    def capability(self, *names: str) -> str:
        held = _capabilities()
        return "" if any(held >> CAPABILITIES[name] & 1 for name in names) else f"{' or '.join(names)} is missing"

    def controller(self, name: str) -> str:
        try:
            return self.kernel.cgroups.lacks(name)
        except OSError as error:
            return error.strerror or ""

    def owner(self, user: str | None, group: str | None) -> str:
        """Whether a file of ours may be given to them: to ourselves and our groups always (chown(2))."""
        wrong = self.capability("CAP_CHOWN")
        try:
            uid = self.kernel.account(user, None).uid
            gid = self.kernel.group_id(group) if group else self.kernel.account(user, None).gid
        except KeyError:
            return ""
        if not wrong or (uid == os.geteuid() and gid in (os.getegid(), *os.getgroups())):
            return ""
        return f"to give the node to {user or group} takes privileges: {wrong}"

    def account(self, user: str | None, group: str | None) -> str:
        """Whether processes of ours may run as them."""
        try:
            account = self.kernel.account(user, self.kernel.group_id(group) if group else None)
        except KeyError:
            return ""
        wrong = self.capability("CAP_SETUID")
        return f"to run as {user or group} takes privileges: {wrong}" if wrong and self.kernel.must_become(account) else ""


CAPABILITIES = {"CAP_CHOWN": 0, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
"""capabilities(7); include/uapi/linux/capability.h."""


@cache
def _capabilities() -> int:
    """The effective capabilities of this process, a bit for each."""
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)
