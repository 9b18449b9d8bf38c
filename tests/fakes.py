"""What the tests of the pure packages hand in instead of a machine: unit files in memory, a fixed host, a kernel that fails.

Nothing is patched. Whoever needs the operating system takes it as an argument, and gets one of these.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sockact.runtime.kernel import Kernel
from sockact.unit import syntax
from sockact.unit.diagnostics import Diagnostic, Invalid
from sockact.unit.gather import Host, Source, UnitSet, gather
from sockact.unit.load import ServiceUnit, SocketUnit, load
from sockact.unit.specifiers import Context, split_name
from sockact.unit.values import Kind
from sockact.unit.verify import verify

if TYPE_CHECKING:
    from sockact.unit.gather import Find
    from sockact.unit.rules.machine import Survey

FACTS: dict[str, Callable[[], str]] = {
    "t": lambda: "/run",
    "S": lambda: "/var/lib",
    "C": lambda: "/var/cache",
    "L": lambda: "/var/log",
    "E": lambda: "/etc",
    "h": lambda: "/root",
    "u": lambda: "root",
    "U": lambda: "0",
    "l": lambda: "lab",
    "H": lambda: "lab.example",
    "w": lambda: "12",
}
"""The host's specifiers, as far as the tests use them."""

HOST = Host(FACTS, True, "/units")
SERVICE = "[Service]\nExecStart=/bin/true\n"


def context(name: str = "web.socket", ipv6: bool = True) -> Context:
    """What a reader of values knows when it reads the unit of this name."""
    return HOST.replace(ipv6=ipv6).context(name, name)


def read(kind: Kind, text: str) -> Any:
    """What a kind of value makes of a text."""
    return kind.read(text, context())


def refused(kind: Kind, text: str) -> Invalid:
    """Why it takes no such text."""
    found = read(kind, text)
    assert isinstance(found, Invalid), found
    assert found.message
    return found


def socket_unit(text: str, name: str = "web.socket", ipv6: bool = True) -> tuple[SocketUnit, list[Diagnostic]]:
    """A socket unit from the lines of its [Socket] section (or of a whole file), and what was wrong with it."""
    unit, found = _unit(text if text.startswith("[") else f"[Socket]\n{text}", name, ipv6)
    assert isinstance(unit, SocketUnit)
    return unit, found


def service_unit(text: str, name: str = "web.service") -> tuple[ServiceUnit, list[Diagnostic]]:
    """A service unit from the lines of its [Service] section (or of a whole file), and what was wrong with it."""
    unit, found = _unit(text if text.startswith("[") else f"[Service]\n{text}", name, True)
    assert isinstance(unit, ServiceUnit)
    return unit, found


def _unit(text: str, name: str, ipv6: bool) -> tuple[SocketUnit | ServiceUnit, list[Diagnostic]]:
    return load(syntax.parse(text.encode(), name), name, name, context(name, ipv6))


def found_in(files: Mapping[str, str]) -> Find:
    """A search among files in memory; an instance comes from its template."""

    def find(request: str) -> Source | Diagnostic:
        prefix, instance, kind = split_name(request)
        for name in (request, f"{prefix}@.{kind}" if instance else request):
            if name in files:
                return Source(request, name, files[name].encode())
        return Diagnostic("SA030", f"{request} is nowhere", file=request)

    return find


def gathered(files: Mapping[str, str], *requests: str) -> UnitSet:
    """The units of these files that belong to the requested ones; all files are requested if none is named."""
    return gather(requests or tuple(files), found_in(files), HOST)


def findings(files: Mapping[str, str], *requests: str, survey: Survey | None = None) -> list[Diagnostic]:
    """All that `sockact verify` would say."""
    return verify(gathered(files, *requests), survey)


def ours(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """What is wrong for sockact; what systemd would refuse is left out, as it is unless somebody asks for it."""
    return [diagnostic for diagnostic in found if diagnostic.scope != "portable"]


def codes(found: Iterable[Diagnostic]) -> list[str]:
    return [diagnostic.code for diagnostic in found]


class Machine:
    """A machine for the rules that ask. Of what units name it has what it is said to have; addresses, protocols and privileges it
    has but for those it is said to lack; `settings` are of sysctl(8)."""

    def __init__(self, *have: str, lacks: Iterable[str] = (), settings: Mapping[str, int] | None = None) -> None:
        self.have = have
        self.lacks = frozenset(lacks)
        self.settings = {"net.ipv4.ip_unprivileged_port_start": 1024, **(settings or {})}
        self.asked: list[str] = []

    def _answer(self, what: str, name: str) -> str:
        return "" if name in self.have else f"{what} {name} is missing"

    def _lacking(self, what: str, *names: str) -> str:
        self.asked += names
        return f"{what} {' or '.join(names)} is missing" if self.lacks.issuperset(names) else ""

    def program(self, name: str, path: str) -> str:
        return self._answer("program", name)

    def user(self, name: str) -> str:
        return self._answer("user", name)

    def group(self, name: str) -> str:
        return self._answer("group", name)

    def interface(self, name: str) -> str:
        return self._answer("interface", name)

    def file(self, path: str) -> str:
        return self._answer("file", path)

    def directory(self, path: str) -> str:
        return self._answer("directory", path)

    def address(self, address: Any) -> str:
        return self._lacking("address", address.host)

    def protocol(self, name: str, family: str, kind: str, number: int) -> str:
        return self._lacking("protocol", name)

    def setting(self, name: str) -> int:
        return self.settings.get(name, 0)

    def capability(self, *names: str) -> str:
        return self._lacking("capability", *names)

    def controller(self, name: str) -> str:
        return self._lacking("controller", name)

    def owner(self, user: str | None, group: str | None) -> str:
        return self._lacking("capability", "CAP_CHOWN")

    def account(self, user: str | None, group: str | None) -> str:
        return self._lacking("capability", "CAP_SETUID")


class FailingKernel(Kernel):
    """The real kernel, of which the n-th call fails; the others are carried out. `calls` tells what was asked for."""

    WATCHED: ClassVar[tuple[str, ...]] = (
        "network",
        "socket",
        "setsockopt",
        "getsockopt",
        "bind",
        "bound_port",
        "listen",
        "make_parents",
        "make_fifo",
        "open_fifo",
        "node_access",
        "set_pipe_size",
        "open_special",
        "open_queue",
        "descriptor_access",
        "queue_sizes",
        "chown",
        "account",
        "group_id",
        "make_link",
    )
    """The calls that open a port and may fail."""

    def __init__(self, fail_at: int = 0, number: int = 0, just: str = "") -> None:
        super().__init__()
        self.fail_at = fail_at
        self.number = number
        self.just = just
        """Watch and count the calls of this name only."""
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        just = super().__getattribute__("__dict__").get("just")
        if name not in ((just,) if just else FailingKernel.WATCHED):
            return found

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self.fail_at:
                raise OSError(self.number, os.strerror(self.number))
            return found(*arguments)

        return call


def descriptors() -> set[tuple[int, str]]:
    """The descriptors of this process and what they are; two calls differ if something leaked."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue
    return found


def removed_queue(name: str) -> bool:
    """Remove a message queue; whether it was there."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.mq_unlink(name.encode()) == 0:
        return True
    assert ctypes.get_errno() == errno.ENOENT
    return False
