"""What units ask of the machine. All that is known of it comes from a `Survey`; without one (`--offline`) these rules are left
out.

What a unit's own ExecStartPre= may bring about, such as a namespace or a module of the kernel, is not asked for.
"""

from __future__ import annotations

from sockact.net.addresses import KINDS, SPECIAL, Inet, Inet6, Vsock
from sockact.record import TYPE_CHECKING
from sockact.unit.commands import COMMANDS, DIRECTORY, ENVIRONMENT_FILE
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.directives.socket import OWNED, SocketSection
from sockact.unit.places import Directory
from sockact.unit.rules import at, at_key, changed, made, ports
from sockact.unit.rules.between import is_multicast
from sockact.unit.rules.idle import COMMAND_FIELDS, EXECUTION_FIELDS
from sockact.unit.values import ACCOUNT, INTERFACE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias

    from sockact.unit.commands import Command, MaybePath
    from sockact.unit.directives import Row, Section
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.rules import Findings
    from sockact.unit.syntax import Assignment
    from sockact.unit.values import Kind

    Unit: TypeAlias = SocketUnit | ServiceUnit

    class Survey(Protocol):
        """Questions about the machine; each answers with what is wrong, or with an empty text."""

        def program(self, name: str, path: str) -> str: ...
        def user(self, name: str) -> str: ...
        def group(self, name: str) -> str: ...
        def interface(self, name: str) -> str: ...
        def file(self, path: str) -> str: ...
        def directory(self, path: str) -> str: ...
        def address(self, address: Inet | Inet6) -> str: ...
        def protocol(self, name: str, family: str, kind: str, number: int) -> str: ...
        def capability(self, *names: str) -> str: ...
        def controller(self, name: str) -> str: ...
        def owner(self, user: str | None, group: str | None) -> str: ...
        def account(self, user: str | None, group: str | None) -> str: ...

        def setting(self, name: str) -> int:
            """A number of sysctl(8)."""

    Origins: TypeAlias = tuple[Assignment, ...]
    Check: TypeAlias = Callable[[Survey, Section, Row, Any, Origins], Findings]

# Values that name something of the machine, by their type


def names_what_exists(unit: Unit, survey: Survey) -> Findings:
    """Programs, accounts, interfaces, directories and files, in whatever section and directive they are named."""
    elsewhere = is_elsewhere(unit)
    for section in unit.sections:
        runs = any(section.given.get(name) for name in COMMAND_FIELDS) or not is_socket(unit)
        for field, row, value, _ in changed(section):
            check = next((check for kind, check in CHECKS if row.kind is kind), None)
            idle = not runs and isinstance(section, ExecutionSection) and field.name in EXECUTION_FIELDS
            if check and not idle and not (elsewhere and row.kind is INTERFACE):
                yield from check(survey, section, row, value, section.origins[field.name])


def is_socket(unit: Unit) -> bool:
    return unit.name.endswith(".socket")


def is_elsewhere(unit: Unit) -> bool:
    """Whether the unit's sockets are in another network namespace, of whose interfaces and addresses nothing is known."""
    network = getattr(unit, "socket", None)
    return bool(network and (network.private_network or network.network_namespace))


def _programs(survey: Survey, section: Section, row: Row, value: tuple[Command, ...], origins: Origins) -> Findings:
    assert isinstance(section, ExecutionSection)
    path = ":".join(section.search_path) or dict(section.environment).get("PATH", "")
    for command, origin in zip(value, origins, strict=True):
        # A file of variables may set PATH, and is read at each start only.
        unknowable = (
            section.root_directory or "-" in command.prefixes or ("/" not in command.program and section.environment_file)
        )
        wrong = "" if unknowable else survey.program(command.program, path)
        if wrong:
            end = command.start + len(command.source.split()[0])
            hint = "install it or correct the path" if "/" in command.program else "install it, or write the whole path"
            yield Diagnostic("SA050", wrong, origin.span(command.start, end), hint, origin.file)


def _accounts(survey: Survey, section: Section, row: Row, value: str, origins: Origins) -> Findings:
    if isinstance(section, ExecutionSection) and section.dynamic_user and row in DYNAMIC:
        return
    is_group = row.key.endswith("Group")
    wrong = survey.group(value) if is_group else survey.user(value)
    if wrong:
        hint = f"create it with {'groupadd' if is_group else 'useradd'} --system, or name one that is there"
        yield at("SA051", wrong, origins[-1], hint, origins[-1].file)


DYNAMIC = tuple(row for key in ("User", "Group") for _, row in SocketSection.table[key])
"""Accounts that DynamicUser= makes when they are needed."""
INTERFACE_HINT = "ip link lists those that are there"


def _interfaces(survey: Survey, section: Section, row: Row, value: str, origins: Origins) -> Findings:
    if wrong := survey.interface(value):
        yield at("SA052", wrong, origins[-1], INTERFACE_HINT, origins[-1].file)


def _directories(survey: Survey, section: Section, row: Row, value: MaybePath, origins: Origins) -> Findings:
    assert isinstance(section, ExecutionSection)
    unknowable = value.optional or value.path == "~" or section.root_directory or value.path in _made_for(section)
    if not unknowable and (wrong := survey.directory(value.path)):
        yield at("SA053", wrong, origins[-1], "make it, or allow it to be missing with - in front", origins[-1].file)


def _made_for(section: Section) -> set[str]:
    """The directories that are made for the commands of a section (RuntimeDirectory= and the like), and those above them."""
    made_here = [
        each for value in section.given.values() if isinstance(value, tuple) for each in value if isinstance(each, Directory)
    ]
    parts = [directory.path.split("/") for directory in made_here]
    return {"/".join(path[:end]) for path in parts for end in range(2, len(path) + 1)}


def _variables(
    survey: Survey, section: Section, row: Row, value: tuple[MaybePath, ...], origins: tuple[Assignment, ...]
) -> Findings:
    for file, origin in zip(value, origins, strict=True):
        if not file.optional and (wrong := survey.file(file.path)):
            hint = "it is read at each start; - in front allows it to be missing"
            yield at("SA054", wrong, origin, hint, origin.file)


CHECKS: tuple[tuple[Kind, Check], ...] = (
    (COMMANDS, _programs),
    (ACCOUNT, _accounts),
    (INTERFACE, _interfaces),
    (DIRECTORY, _directories),
    (ENVIRONMENT_FILE, _variables),
)
"""By type of value."""

# Where to listen


def scopes_exist(unit: SocketUnit, survey: Survey) -> Findings:
    for index, listen in enumerate(unit.socket.listen if not is_elsewhere(unit) else ()):
        scope = listen.address.scope if isinstance(listen.address, Inet6) else ""
        if scope and (wrong := survey.interface(scope)):
            yield at("SA052", wrong, unit.socket.origin("listen", index), INTERFACE_HINT, unit.file)


WILDCARDS = ("0.0.0.0", "::", "::ffff:0.0.0.0")


def addresses_are_here(unit: SocketUnit, survey: Survey) -> Findings:
    settings = unit.socket
    anywhere = settings.free_bind or settings.transparent or is_elsewhere(unit) or settings.exec_start_pre
    for index, listen in enumerate(settings.listen if not anywhere else ()):
        address = listen.address
        if not isinstance(address, Inet | Inet6) or address.host in WILDCARDS or is_multicast(address):
            continue
        if wrong := survey.address(address):
            yield at("SA055", wrong, settings.origin("listen", index), "FreeBind=yes listens there before it comes", unit.file)


def ports_may_be_bound(unit: SocketUnit, survey: Survey) -> Findings:
    """Low ports are privileged; those of a range are one line, and one finding."""
    told: set[Assignment | None] = set()
    for index, listen in enumerate(unit.socket.listen if not is_elsewhere(unit) else ()):
        port, first = getattr(listen.address, "port", 0), LAST_OF_VSOCK + 1
        if not port or (isinstance(listen.address, Vsock) and not KINDS[listen.kind].listens):
            continue
        if not isinstance(listen.address, Vsock):
            first = survey.setting(LOW_PORTS)
        origin = unit.socket.origin("listen", index)
        if port < first and origin not in told and (wrong := survey.capability("CAP_NET_BIND_SERVICE")):
            told.add(origin)
            hint = f"use a higher port, run as root, or lower {LOW_PORTS} with sysctl"
            yield at("SA056", f"ports below {first} are privileged, and {wrong}", origin, hint, unit.file)


LOW_PORTS = "net.ipv4.ip_unprivileged_port_start"
LAST_OF_VSOCK = 1023
"""The last privileged port of vsock (net/vmw_vsock/af_vsock.c)."""


def kernel_has_the_protocol(unit: SocketUnit, survey: Survey) -> Findings:
    settings, asked = unit.socket, unit.socket.protocol
    unknown = is_elsewhere(unit) or settings.exec_start_pre or unit.own.protocol_fallback != "no"
    if asked is None or asked.default or unknown:
        return
    needed = {(listen.address.constant, listen.kind): listen for listen, protocol in ports(unit) if protocol is asked}
    for (family, kind), listen in needed.items():
        if wrong := survey.protocol(asked.name, family, KINDS[kind].constant, asked.number):
            hint = "ProtocolFallback=tcp in [X-Sockact] listens for TCP then" if kind == "stream" else "load its module"
            message = f"cannot open a socket for {asked.name} {listen.address}: {wrong}"
            yield at("SA058", message, settings.origin("protocol"), hint, unit.file)
            return


def what_is_opened_exists(unit: SocketUnit, survey: Survey) -> Findings:
    if unit.socket.exec_start_pre:
        return
    path, origin = unit.socket.network_namespace, unit.socket.origin("network_namespace")
    if path and origin and (wrong := survey.file(path)):
        yield at("SA059", wrong, origin, "ip netns add makes one under /run/netns", origin.file)
    for index, listen in enumerate(unit.socket.listen):
        if listen.kind == SPECIAL and (wrong := survey.file(str(listen.address))):
            yield at("SA059", wrong, unit.socket.origin("listen", index), "is the module of its device loaded?", unit.file)


# Privileges


def _always(value: Any) -> bool:
    return True


PRIVILEGED: dict[str, Callable[[Any], bool]] = {"mark": _always, "transparent": _always, "priority": lambda value: value > 6}
"""Options that the kernel keeps to the privileged, and which of their values (socket(7), ip(7))."""


def options_may_be_set(unit: SocketUnit, survey: Survey) -> Findings:
    for field, _, value, origin in changed(unit.socket):
        privileged = field.name in PRIVILEGED and PRIVILEGED[field.name](value)
        if privileged and (wrong := survey.capability("CAP_NET_ADMIN", "CAP_NET_RAW")):
            yield at_key("SA057", f"will not be set: {wrong}", origin, "run as root, or do without it")


def groups_may_be_limited(unit: Unit, survey: Survey) -> Findings:
    for section in unit.sections:
        for _, row, _, origin in changed(section):
            if row.controller and (wrong := survey.controller(row.controller)):
                hint = "give sockact a control group of version 2 that is writable and has the controller, or do without it"
                yield at_key("SA061", f"will not be applied: {wrong}", origin, hint)


def nodes_may_be_given_away(unit: SocketUnit, survey: Survey) -> Findings:
    given = made(unit.socket)
    origin = given.get("socket_user") or given.get("socket_group")
    owned = any(OWNED.holds(listen) for listen in unit.socket.listen)
    if origin and owned and (wrong := survey.owner(unit.socket.socket_user, unit.socket.socket_group)):
        yield at("SA056", wrong, origin, "run as root, or leave the node to yourself", unit.file)


def accounts_may_be_taken(unit: Unit, survey: Survey) -> Findings:
    """A warning: it is the commands that fail then, not the sockets."""
    for section in unit.sections:
        given = made(section) if isinstance(section, ExecutionSection) else {}
        origin = given.get("user") or given.get("group")
        runs = not is_socket(unit) or not given.keys().isdisjoint(COMMAND_FIELDS)
        if origin and runs and isinstance(section, ExecutionSection) and (wrong := survey.account(section.user, section.group)):
            yield at("SA057", wrong, origin, "run as root, or as that user from the beginning", unit.file)
