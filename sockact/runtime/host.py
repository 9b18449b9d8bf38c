"""This machine, as the loader and the verifier ask about it: the values of specifiers, and what exists here."""

from __future__ import annotations

import os
from functools import partial

from sockact.lifecycle.child import SEARCH_PATH, environment_file
from sockact.record import TYPE_CHECKING
from sockact.runtime.kernel import Kernel, scope_id
from sockact.unit.gather import Host

if TYPE_CHECKING:
    from collections.abc import Callable


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
    """This machine, as the verifier asks about it; every answer is what is wrong, or an empty text. `path` is the PATH that
    services start from."""

    def __init__(self, path: str = "") -> None:
        self.path = path or os.environ.get("PATH", SEARCH_PATH)

    def program(self, name: str, path: str) -> str:
        found = Kernel().find_program(name, path or self.path)
        if "/" not in found:
            return f"{name} is in no folder of PATH"
        if not os.path.exists(found):
            return f"{name} does not exist"
        if os.path.isdir(found):
            return f"{found} is a directory"
        return "" if os.access(found, os.X_OK) else f"{found} may not be executed (no x permission)"

    def user(self, name: str) -> str:
        return _unless_known("user", name, lambda: Kernel().account(name, None))

    def group(self, name: str) -> str:
        return _unless_known("group", name, lambda: Kernel().group_id(name))

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
