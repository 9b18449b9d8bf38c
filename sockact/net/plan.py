"""The plan: what a socket unit asks of the kernel, as data, before anything is done.

One `Port` for each `Listen…=` line, in file order, with the steps that make it, in the order in which the kernel wants them:
options before bind(2) and listen(2), so that no connection ever escapes them. `sockact show --plan` prints the same steps
that `sockact start` executes.
"""

from __future__ import annotations

from sockact.net.addresses import DATAGRAM, SEQPACKET, STREAM, Listen
from sockact.net.protocols import IP, IPV6, Protocol, choose
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from typing import ClassVar, TypeAlias

    from sockact.net.addresses import Address
    from sockact.unit.directives import Option
    from sockact.unit.load import SocketUnit

    Step: TypeAlias = "OpenSocket | SetOption | MakeParents | Bind | StartListening | OpenFifo | SetOwner"

FAMILIES = {"inet": "AF_INET", "inet6": "AF_INET6", "unix": "AF_UNIX", "vsock": "AF_VSOCK"}
TYPES = {STREAM: "SOCK_STREAM", DATAGRAM: "SOCK_DGRAM", SEQPACKET: "SOCK_SEQPACKET"}
ANCILLARY_LEVELS = {IP: frozenset({"inet"}), IPV6: frozenset({"inet6"})}
"""Levels whose options belong to one family, unless the option says otherwise."""


class Call(Record):
    """A step of a plan: the system call that carries it out, and what that does to a port, in words for an error message."""

    call: ClassVar[str]
    action: ClassVar[str]


class OpenSocket(Call):
    call = "socket"
    action = "open a socket for"
    family: str
    kind: str
    protocol: int

    def __str__(self) -> str:
        return f"socket({FAMILIES[self.family]}, {TYPES[self.kind]}|SOCK_NONBLOCK|SOCK_CLOEXEC, {self.protocol})"


class SetOption(Call):
    call = "setsockopt"
    action = "set an option of"
    level: str
    name: str
    value: int | str
    fatal: bool = False
    forced: str = ""

    def __str__(self) -> str:
        return f"setsockopt({self.level}, {self.name}, {self.value})"


class MakeParents(Call):
    """Create the missing parents of a node."""

    call = "mkdir"
    action = "create the directories of"
    path: str
    mode: int

    def __str__(self) -> str:
        return f"mkdir -p {self.path.rpartition('/')[0] or '/'} (mode {self.mode:04o})"


class Bind(Call):
    """Bind; the mode is that of the node a UNIX path leaves in the file system."""

    call = "bind"
    action = "bind"
    address: Address
    mode: int | None = None

    def __str__(self) -> str:
        return f"bind({self.address})" + (f" (mode {self.mode:04o})" if self.mode is not None else "")


class StartListening(Call):
    call = "listen"
    action = "listen on"
    backlog: int

    def __str__(self) -> str:
        return f"listen({self.backlog})"


class OpenFifo(Call):
    """Create a FIFO unless it is there, and open it for reading and writing, so that it never reports end of file."""

    call = "open"
    action = "open"
    path: str
    mode: int

    def __str__(self) -> str:
        return f"mkfifo({self.path}, {self.mode:04o}); open({self.path}, O_RDWR|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC)"


class SetOwner(Call):
    call = "chown"
    action = "set the owner of"
    path: str
    user: str | None
    group: str | None

    def __str__(self) -> str:
        return f"chown({self.path}, {self.user or '-'}, {self.group or '-'})"


class Port(Record):
    """One descriptor to be: what it listens on, its protocol, its name for LISTEN_FDNAMES, and how it is made."""

    listen: Listen
    protocol: Protocol | None
    fd_name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """The port as logs name it: `mptcp [::]:8080`, `unix stream /run/web.sock`."""
        family = self.listen.address.family
        if self.protocol is None or family is None:
            return f"{self.listen.kind} {self.listen.address}"
        unusual = self.listen.kind not in (STREAM, DATAGRAM) or not self.protocol.selectable
        return f"{self.protocol.name} {self.listen.kind + ' ' if unusual else ''}{self.listen.address}"

    @property
    def node(self) -> str | None:
        """The node in the file system that the port leaves behind."""
        return self.listen.address.node


def accepts(listen: Listen) -> bool:
    """Whether accept(2) works there. SCTP one-to-many listens and yet never accepts: its messages come in like datagrams."""
    return listen.kind == STREAM or (listen.kind == SEQPACKET and listen.address.family in ("unix", "vsock"))


def fd_name(unit: SocketUnit) -> str:
    return unit.socket.fd_name or ("connection" if unit.socket.accept else unit.name)


def plan(unit: SocketUnit) -> tuple[Port, ...]:
    """The ports of a socket unit that was found free of errors."""
    name = fd_name(unit)
    ports = []
    for listen in unit.socket.listen:
        protocol = choose(listen, unit.socket.protocol)
        assert not isinstance(protocol, Invalid), "a unit with errors is not planned"
        ports.append(Port(listen, protocol, name, _steps(unit, listen, protocol)))
    return tuple(ports)


def _steps(unit: SocketUnit, listen: Listen, protocol: Protocol | None) -> tuple[Step, ...]:
    settings, address = unit.socket, listen.address
    path = address.node
    steps: list[Step] = [MakeParents(path, settings.directory_mode)] if path else []
    if protocol is None:
        steps.append(OpenFifo(str(path), settings.socket_mode))
    else:
        # Unless a protocol is asked for, 0 leaves the choice to the kernel, as every server does.
        steps += [OpenSocket(str(address.family), listen.kind, protocol.number if settings.protocol else 0)]
        steps += [SetOption("SOL_SOCKET", "SO_REUSEADDR", 1, fatal=True), *options(unit, listen, protocol)]
        steps += [Bind(address, settings.socket_mode if path else None)]
    if path and (settings.socket_user or settings.socket_group):
        # Before listen(2): nobody connects while the node still belongs to us.
        steps.append(SetOwner(path, settings.socket_user, settings.socket_group))
    if listen.kind in (STREAM, SEQPACKET):
        steps.append(StartListening(min(settings.backlog, 0x7FFFFFFF)))
    return tuple(steps)


def options(unit: SocketUnit, listen: Listen, protocol: Protocol) -> list[SetOption]:
    """The options of the unit that this port's protocol speaks, with their values, in the order of the table."""
    section = unit.socket
    return [
        SetOption(option.level, option.name, value, option.fatal, option.forced)
        for field, row in section.rows()
        for option in row.options
        if applies(option, listen, protocol) and (value := option.encode(section.value(field))) is not None
    ]


def applies(option: Option, listen: Listen, protocol: Protocol) -> bool:
    """Whether an option exists for a port: its protocol speaks the level and has the option, family and kind fit."""
    families = option.families or ANCILLARY_LEVELS.get(option.level)
    return (
        option.level in protocol.levels
        and option.name not in protocol.lacks
        and (not families or listen.address.family in families)
        and (not option.kinds or listen.kind in option.kinds)
    )


def identity(port_listen: Listen, protocol: Protocol | None) -> object:
    """What two ports must not have in common. A path exists once in the file system, an abstract name once for each type
    of socket, a vsock port once for all that listen; TCP and Multipath TCP share one space of ports."""
    if port_listen.address.node:
        return port_listen.address.node
    if protocol is None or not protocol.selectable:
        listens = port_listen.kind != DATAGRAM and port_listen.address.family == "vsock"
        return port_listen.address, "connections" if listens else port_listen.kind
    return port_listen.address, "tcp" if protocol.name == "mptcp" else protocol.name
