"""Carries out the plan of a socket unit: all its ports open, or none.

The one thing decided here is what to do about a node that is already there: it goes only if it is a socket nobody answers
on. systemd removes whatever it can, a live listener's socket included.
"""

from __future__ import annotations

import errno
from functools import partial

from sockact.net import linux
from sockact.net.addresses import KINDS
from sockact.net.plan import (
    PRIVATE,
    Bind,
    MakeLink,
    MakeParents,
    OpenFifo,
    OpenQueue,
    OpenSocket,
    OpenSpecial,
    Port,
    SetOption,
    SetOwner,
    SetPipeSize,
    StartListening,
)
from sockact.record import TYPE_CHECKING, Record, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.net.plan import Step, Value
    from sockact.runtime.filesystem import Node
    from sockact.runtime.kernel import Kernel

    Warn = Callable[[str], None]


class OpenPort(Record):
    """A port, its descriptor, which node in the file system is its own, and how to undo what opening it has made: directories,
    then the node, then links."""

    port: Port
    fd: int
    node: Node | None = None
    undo: tuple[Callable[[], None], ...] = ()
    on_accept: tuple[SetOption, ...] = ()
    """What its connections do not have from it."""


class OpenFailed(Exception):  # noqa: N818 - named by what happened
    """A port could not be opened; the text names address, step, errno and what that means. Nothing was left behind."""

    def __init__(self, text: str, *, lacking: bool = False) -> None:
        super().__init__(text)
        self.lacking = lacking
        """Whether the kernel has no such protocol, so that another one may do."""


LACKING = {errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT}
"""What socket(2) reports when the protocol is not there; EINVAL of Multipath TCP before Linux 5.6."""


def open_ports(kernel: Kernel, ports: tuple[Port, ...], warn: Warn, network: str = "") -> list[OpenPort]:
    """Open all ports in order, in a network namespace. OpenFailed undoes what was opened, nodes included."""
    opened: list[OpenPort] = []
    place = _enter(kernel, network) if network else -1
    try:
        for port in ports:
            opened.append(_open(kernel, port, warn, place))  # noqa: PERF401 - what was opened before a failure counts
    except OpenFailed:
        abandon(kernel, opened)
        raise
    finally:
        if place >= 0:
            kernel.close(place)
    return opened


def _enter(kernel: Kernel, network: str) -> int:
    try:
        return kernel.network("" if network == PRIVATE else network)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        what = "make a network namespace" if network == PRIVATE else f"enter the network namespace {network}"
        raise OpenFailed(f"cannot {what}: {error.strerror} ({name})") from error


def _open(kernel: Kernel, port: Port, warn: Warn, place: int) -> OpenPort:
    """Open a port, or what it falls back to on a kernel without its protocol."""
    try:
        return _Opening(kernel, port, warn, place).run()
    except OpenFailed as failed:
        if not failed.lacking or port.fallback is None:
            raise
        warn(f"{failed}; ProtocolFallback= makes it {port.fallback}")
        return _open(kernel, port.fallback, warn, place)


def abandon(kernel: Kernel, opened: list[OpenPort]) -> None:
    """Close ports and remove all that opening them has made, as if it had never been tried."""
    for port in reversed(opened):
        if port.fd >= 0:
            kernel.close(port.fd)
        for undo in reversed(port.undo):
            try:
                undo()
            except OSError:
                pass  # it stays; why it had to go is told by the caller


def close_ports(kernel: Kernel, opened: list[OpenPort], remove: bool, warn: Warn) -> None:
    """Close ports; if asked to, remove what they left behind: what is still theirs, not what others put in its place."""
    for port in opened:
        kernel.close(port.fd)
        for name, removal in _removals(kernel, port) if remove else ():
            try:
                removal()
            except OSError as error:
                warn(f"cannot remove {name}: {error.strerror}")


def _removals(kernel: Kernel, port: OpenPort) -> list[tuple[str, Callable[[], None]]]:
    found: list[tuple[str, Callable[[], None]]] = []
    for step in port.port.steps:
        if isinstance(step, MakeLink) and kernel.is_link(step.path, step.target):
            found.append((step.path, partial(kernel.unlink, step.path)))
        elif isinstance(step, OpenQueue):
            found.append((step.name, partial(kernel.remove_queue, step.name)))
    path = port.port.node
    if path and kernel.node(path) == port.node:
        found.append((path, partial(kernel.remove, path)))
    return found


class _Opening:
    """One port on its way: its descriptor so far, and how to undo what was made."""

    def __init__(self, kernel: Kernel, port: Port, warn: Warn, place: int) -> None:
        self.kernel = kernel
        self.port = port
        self.warn = warn
        self.place = place
        self.fd = -1
        self.undo: list[Callable[[], None]] = []

    def run(self) -> OpenPort:
        for step in self.port.steps:
            try:
                self._do(step)
            except (OSError, KeyError) as error:
                abandon(self.kernel, [OpenPort(self.port, self.fd, None, tuple(self.undo))])
                lacking = isinstance(step, OpenSocket) and isinstance(error, OSError) and error.errno in LACKING
                raise OpenFailed(self._explain(step, error), lacking=lacking) from error
        node = self.kernel.node(self.port.node) if self.port.node else None
        return OpenPort(self.port, self.fd, node, tuple(self.undo))

    def _explain(self, step: Step, error: OSError | KeyError) -> str:
        what = f"cannot {step.action} {self.port}"
        if isinstance(step, SetOption):
            what += f" ({step.name})"
        if isinstance(error, KeyError):
            return f"{what}: {error.args[0]}"
        protocol = self.port.protocol.name if self.port.protocol else ""
        known = linux.meaning(step.call, protocol, error.errno or 0)
        return f"{what}: {error.strerror} ({known})" if known else f"{what}: {error.strerror}"

    def _do(self, step: Step) -> None:
        match step:
            case OpenSocket():
                self.fd = self.kernel.socket(step.family, step.kind, step.protocol, self.place)
            case SetOption():
                self._set(step)
            case MakeParents():
                self._make_parents(step)
            case Bind():
                self._bind(step)
            case StartListening():
                self.kernel.listen(self.fd, step.backlog)
            case OpenFifo():
                self._open_fifo(step)
            case SetPipeSize():
                self._set_pipe_size(step)
            case OpenSpecial():
                self.fd = self.kernel.open_special(step.path, step.writable)
            case OpenQueue():
                self._open_queue(step)
            case SetOwner():
                self.kernel.chown(step.path or self.fd, *self._account(step))
            case MakeLink():
                self._link(step)
            case _:
                assert_never(step)

    def _make_parents(self, step: MakeParents) -> None:
        made: list[str] = []
        try:
            self.kernel.make_parents(step.path, step.mode, made)
        finally:
            self.undo += [partial(self.kernel.remove, path) for path in made]

    # Sockets

    def _set(self, step: SetOption) -> None:
        try:
            got = self._try(step, step.name)
        except OSError as error:
            if step.fatal:
                raise
            name = errno.errorcode.get(error.errno or 0, "")
            self.warn(f"{step.name}={step.value} is not set on {self.port}: {error.strerror} ({name})")
            return
        if step.forced and not step.holds(step.value, got):
            try:
                got = self._try(step, step.forced)
            except PermissionError:
                pass  # what we have is as much as we may
        if not step.holds(step.value, got):
            self._changed(step, got)

    def _try(self, step: SetOption, name: str) -> Value:
        """Set the option by this name; what the kernel has made of it."""
        self.kernel.setsockopt(self.fd, step.level, name, step.value)
        return self.kernel.getsockopt(self.fd, step.level, step.name, step.value)

    def _changed(self, step: SetOption, got: object) -> None:
        """The kernel took the option, and made something else of it."""
        text = f"{step.name} is {got}, not {step.value}"
        if step.fatal:
            raise OSError(errno.EINVAL, text)
        self.warn(f"{text}, on {self.port}: so the kernel decided")

    def _bind(self, step: Bind) -> None:
        path = self.port.node
        try:
            self.kernel.bind(self.fd, step.address, step.mode)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or path is None:
                raise
            self._clear(path)
            self.kernel.bind(self.fd, step.address, step.mode)
        if path:
            self.undo.append(partial(self.kernel.remove, path))
        elif getattr(step.address, "port", None) == 0:
            chosen = step.address.replace(port=self.kernel.bound_port(self.fd))
            self.port = self.port.replace(listen=self.port.listen.replace(address=chosen))

    def _clear(self, path: str) -> None:
        """Remove a leftover socket node, and nothing else."""
        if not self.kernel.is_socket_node(path):
            raise OSError(errno.EADDRINUSE, "something that is no socket is there; remove it, or choose another path")
        if self.kernel.answers(KINDS[self.port.listen.kind].constant, path):
            raise OSError(errno.EADDRINUSE, "another process listens there")
        self.kernel.unlink(path)

    # What is no socket

    def _open_fifo(self, step: OpenFifo) -> None:
        if self.kernel.make_fifo(step.path, step.mode):
            self.undo.append(partial(self.kernel.remove, step.path))
        self.fd = self.kernel.open_fifo(step.path)
        self._check_access("FIFO", self.kernel.node_access(step.path), step.mode)

    def _set_pipe_size(self, step: SetPipeSize) -> None:
        try:
            got = self.kernel.set_pipe_size(self.fd, step.size)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            self.warn(f"PipeSize={step.size} is not set on {self.port}: {error.strerror} ({name})")
            return
        if got < step.size:
            self.warn(f"the size of {self.port} is {got}, not {step.size}: so the kernel decided")

    def _open_queue(self, step: OpenQueue) -> None:
        self.fd, made = self.kernel.open_queue(step.name, step.mode, step.messages, step.size)
        if made:
            self.undo.append(partial(self.kernel.remove_queue, step.name))
        self._check_access("message queue", self.kernel.descriptor_access(self.fd), step.mode)
        sizes = self.kernel.queue_sizes(self.fd)
        if step.messages and sizes != (step.messages, step.size):
            self.warn(f"{self.port} was there: it holds {sizes[0]} messages of {sizes[1]} bytes")

    def _check_access(self, noun: str, access: tuple[int, int, int], mode: int) -> None:
        """What is there already is taken over only if it is what we would have made."""
        owner, group, found = access
        ours = [self._account(step) for step in self.port.steps if isinstance(step, SetOwner)]
        if found != mode or (owner, group) not in (self.kernel.ids(), *ours):
            raise FileExistsError(errno.EEXIST, f"a {noun} of other access is there: owner {owner}:{group}, mode {found:04o}")

    def _link(self, step: MakeLink) -> None:
        try:
            if self.kernel.make_link(step.target, step.path, step.replace_other):
                self.undo.append(partial(self.kernel.remove, step.path))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            self.warn(f"no link {step.path} to {step.target}: {error.strerror} ({name})")

    def _account(self, step: SetOwner) -> tuple[int, int]:
        gid = self.kernel.group_id(step.group) if step.group else None
        account = self.kernel.account(step.user, gid)
        return account.uid, account.gid
