"""The plan: what a socket unit asks of the kernel, as data, before anything is done.

One `Port` for each `Listen…=` line, in file order, with the steps that make it, in the order in which the kernel wants them:
options before bind(2) and listen(2), so that no connection ever escapes them. `sockact show --plan` prints the same steps
that `sockact start` executes.
"""

from __future__ import annotations

from operator import eq

from sockact.net.addresses import DATAGRAM, FIFO, KINDS, QUEUE, SEQPACKET, SPECIAL, STREAM, Listen
from sockact.net.protocols import IP, IPV6, Protocol, by_name, choose
from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, TypeAlias

    from sockact.net.addresses import Address
    from sockact.unit.directives import Option
    from sockact.unit.load import SocketUnit

    Value: TypeAlias = int | str | tuple[int, int]
    """What setsockopt(2) takes: a number, a name, or a structure of two numbers."""
    Step: TypeAlias = (
        "OpenSocket | SetOption | MakeParents | Bind | StartListening | OpenFifo | SetPipeSize | OpenSpecial | OpenQueue"
        " | SetOwner | MakeLink"
    )

PRIVATE = "PrivateNetwork"
"""Stands for a network namespace that is made for the unit."""
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
    """As socket(2) names it."""
    kind: str
    """The type, as socket(2) names it."""
    protocol: int
    network: str = ""
    """The network namespace to open it in, by path; nothing for our own."""

    def __str__(self) -> str:
        where = f" in {self.network}" if self.network else ""
        return f"socket({self.family}, {self.kind}|SOCK_NONBLOCK|SOCK_CLOEXEC, {self.protocol}){where}"


class SetOption(Call):
    """Set an option, and see that the kernel took it: `holds` tells whether what it reports is what was asked for."""

    call = "setsockopt"
    action = "set an option of"
    level: str
    name: str
    value: Value
    fatal: bool = False
    forced: str = ""
    inherited: bool = True
    holds: Callable[[Value, Value], bool] = eq

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


class SetPipeSize(Call):
    call = "fcntl"
    action = "set the size of"
    size: int

    def __str__(self) -> str:
        return f"fcntl(F_SETPIPE_SZ, {self.size})"


class OpenSpecial(Call):
    """Open a device or a file of the kernel, which has to be there."""

    call = "open"
    action = "open"
    path: str
    writable: bool

    def __str__(self) -> str:
        return f"open({self.path}, {'O_RDWR' if self.writable else 'O_RDONLY'}|O_NONBLOCK|O_NOCTTY|O_NOFOLLOW|O_CLOEXEC)"


class OpenQueue(Call):
    """Create a message queue unless it is there, and open it for reading; sizes of 0 are the kernel's own."""

    call = "mq_open"
    action = "open"
    name: str
    mode: int
    messages: int
    size: int

    def __str__(self) -> str:
        sizes = f", {self.messages} messages of {self.size} bytes" if self.messages else ""
        return f"mq_open({self.name}, O_RDONLY|O_CREAT|O_NONBLOCK|O_CLOEXEC, {self.mode:04o}{sizes})"


class SetOwner(Call):
    """Give what was made to a user and group: a node by its path, a message queue by its descriptor."""

    call = "chown"
    action = "set the owner of"
    path: str | None
    user: str | None
    group: str | None

    def __str__(self) -> str:
        return f"{'chown' if self.path else 'fchown'}({self.path or 'the queue'}, {self.user or '-'}, {self.group or '-'})"


class MakeLink(Call):
    """Make a symbolic link; with `replace` another file in its place goes."""

    call = "symlink"
    action = "make a link to"
    target: str
    path: str
    replace_other: bool

    def __str__(self) -> str:
        return f"symlink({self.target}, {self.path})"


class Port(Record):
    """One descriptor to be: what it listens on, its protocol, its name for LISTEN_FDNAMES, and how it is made."""

    listen: Listen
    protocol: Protocol | None
    fd_name: str
    steps: tuple[Step, ...]
    fallback: Port | None = None
    """What to open instead on a kernel without the protocol."""

    def __str__(self) -> str:
        """The port as logs name it: `mptcp [::]:8080`, `unix stream /run/web.sock`."""
        family = self.listen.address.family
        if self.protocol is None or family is None or self.protocol.name == self.listen.kind:
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
    return tuple(_port(unit, listen) for listen in unit.socket.listen)


def _port(unit: SocketUnit, listen: Listen) -> Port:
    protocol, name = choose(listen, unit.socket.protocol), fd_name(unit)
    assert not isinstance(protocol, Invalid), "a unit with errors is not planned"
    port = Port(listen, protocol, name, _steps(unit, listen, protocol))
    other = by_name(unit.own.protocol_fallback)
    if protocol is None or other is None or protocol is other or choose(listen, other) is not other:
        return port
    return port.replace(fallback=Port(listen, other, name, _steps(unit, listen, other)))


def _steps(unit: SocketUnit, listen: Listen, protocol: Protocol | None) -> tuple[Step, ...]:
    settings, path = unit.socket, listen.address.node
    steps: list[Step] = [MakeParents(path, settings.directory_mode)] if path else []
    steps += _opening(unit, listen, protocol)
    if (path or listen.kind == QUEUE) and (settings.socket_user or settings.socket_group):
        # Before listen(2): nobody connects while the node still belongs to us.
        steps.append(SetOwner(path, settings.socket_user, settings.socket_group))
    if KINDS[listen.kind].listens:
        steps.append(StartListening(min(settings.backlog, 0x7FFFFFFF)))
    for link in settings.symlinks if path else ():
        steps += [MakeParents(link, settings.directory_mode), MakeLink(str(path), link, settings.remove_on_stop)]
    return tuple(steps)


def _opening(unit: SocketUnit, listen: Listen, protocol: Protocol | None) -> list[Step]:
    """The steps that make the descriptor and bind it."""
    settings, address = unit.socket, listen.address
    if listen.kind == FIFO:
        size: list[Step] = [SetPipeSize(settings.pipe_size)] if settings.pipe_size else []
        return [OpenFifo(str(address.node), settings.socket_mode), *size]
    if listen.kind == SPECIAL:
        return [OpenSpecial(str(address), settings.writable)]
    if listen.kind == QUEUE:
        sizes = (settings.queue_messages, settings.queue_message_size)
        return [OpenQueue(str(address), settings.socket_mode, *(sizes if all(sizes) else (0, 0)))]
    assert protocol is not None, "every socket has a protocol"
    # Unless a protocol is asked for, 0 leaves the choice to the kernel, as every server does.
    number = protocol.number if settings.protocol else address.protocol
    return [
        OpenSocket(address.constant, KINDS[listen.kind].constant, number, network(unit)),
        SetOption("SOL_SOCKET", "SO_REUSEADDR", 1, fatal=True),
        *options(unit, listen, protocol),
        Bind(address, settings.socket_mode if address.node else None),
    ]


def options(unit: SocketUnit, listen: Listen, protocol: Protocol) -> list[SetOption]:
    """The options of the unit that this port's protocol speaks, with their values, in the order of the table."""
    strict = unit.own.option_failure == "fail"
    return [
        SetOption(option.level, option.name, value, option.fatal or strict, option.forced, option.inherited, option.holds)
        for section in unit.sections
        for field, row in section.rows()
        for option in row.options
        if applies(option, listen, protocol) and (value := option.encode(section.value(field))) is not None
    ]


def options_of_connections(unit: SocketUnit, port: Port) -> tuple[SetOption, ...]:
    """The options that a connection does not inherit: TCP, Multipath TCP and SCTP pass on most of them, UNIX and vsock none."""
    if port.protocol is None:
        return ()
    found = options(unit, port.listen, port.protocol)
    return tuple(step for step in found if not (step.inherited and port.protocol.selectable))


def applies(option: Option, listen: Listen, protocol: Protocol) -> bool:
    """Whether an option exists for a port: its protocol speaks the level and has the option, family and kind fit."""
    families = option.families or ANCILLARY_LEVELS.get(option.level)
    return (
        option.level in protocol.levels
        and option.name not in protocol.lacks
        and (not families or listen.address.family in families)
        and (not option.kinds or listen.kind in option.kinds)
    )


def network(unit: SocketUnit) -> str:
    """The network namespace of the unit's sockets; nothing for our own."""
    return PRIVATE if unit.socket.private_network else unit.socket.network_namespace or ""


def identity(unit: SocketUnit, listen: Listen, protocol: Protocol | None) -> object:
    """What two ports must not have in common; None for what may be had several times. A path exists once in the file system,
    an abstract name once for each type of socket, a vsock port once for all that listen; TCP and Multipath TCP share one space
    of ports, in which the kernel chooses a free one where 0 stands. Every network namespace has all but the paths anew."""
    address = listen.address
    if address.node:
        return address.node
    if listen.kind == SPECIAL or address.family == "netlink" or (protocol and protocol.selectable and address.wire[1] == 0):
        return None
    where = unit.name if unit.socket.private_network else network(unit)
    if protocol is None or not protocol.selectable:
        listens = listen.kind != DATAGRAM and address.family == "vsock"
        return where if address.family == "unix" else "", address, "connections" if listens else listen.kind
    return where, address, "tcp" if protocol.name == "mptcp" else protocol.name
