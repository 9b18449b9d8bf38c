"""Carries out the plan of a socket unit: all its ports open, or none.

The one thing decided here is what to do about a node that is already there: it goes only if it is a socket nobody answers
on. systemd removes whatever it can, a live listener's socket included.
"""

from __future__ import annotations

import errno

from sockact.net import linux
from sockact.net.plan import Bind, MakeParents, OpenFifo, OpenSocket, Port, SetOption, SetOwner, StartListening
from sockact.record import TYPE_CHECKING, Record, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.net.plan import Step
    from sockact.runtime.kernel import Kernel, Node

    Warn = Callable[[str], None]


class OpenPort(Record):
    """A port, its descriptor, which node in the file system is its own, and what did not exist there before: directories,
    then the node."""

    port: Port
    fd: int
    node: Node | None = None
    made: tuple[str, ...] = ()


class OpenFailed(Exception):  # noqa: N818 - named by what happened
    """A port could not be opened; the text names address, step, errno and what that means. Nothing was left behind."""


def open_ports(kernel: Kernel, ports: tuple[Port, ...], warn: Warn) -> list[OpenPort]:
    """Open all ports in order. OpenFailed undoes what was opened, nodes included."""
    opened: list[OpenPort] = []
    try:
        for port in ports:
            opened.append(_Opening(kernel, port, warn).run())  # noqa: PERF401 - what was opened before a failure counts
    except OpenFailed:
        abandon(kernel, opened)
        raise
    return opened


def abandon(kernel: Kernel, opened: list[OpenPort]) -> None:
    """Close ports and remove all that opening them has made, as if it had never been tried."""
    for port in reversed(opened):
        if port.fd >= 0:
            kernel.close(port.fd)
        for path in reversed(port.made):
            kernel.remove(path)


def close_ports(kernel: Kernel, opened: list[OpenPort], remove: bool, warn: Warn) -> None:
    """Close ports, and remove their nodes if asked to: those that are still theirs, not what others put in their place."""
    for port in opened:
        kernel.close(port.fd)
        path = port.port.node
        if remove and path and kernel.node(path) == port.node:
            try:
                kernel.remove(path)
            except OSError as error:
                warn(f"cannot remove {path}: {error.strerror}")


class _Opening:
    """One port on its way: its descriptor so far, and what was made in the file system."""

    def __init__(self, kernel: Kernel, port: Port, warn: Warn) -> None:
        self.kernel = kernel
        self.port = port
        self.warn = warn
        self.fd = -1
        self.made: list[str] = []

    def run(self) -> OpenPort:
        for step in self.port.steps:
            try:
                self._do(step)
            except (OSError, KeyError) as error:
                self._undo()
                raise OpenFailed(self._explain(step, error)) from error
        node = self.kernel.node(self.port.node) if self.port.node else None
        return OpenPort(self.port, self.fd, node, tuple(self.made))

    def _undo(self) -> None:
        abandon(self.kernel, [OpenPort(self.port, self.fd, None, tuple(self.made))])

    def _explain(self, step: Step, error: OSError | KeyError) -> str:
        what = f"cannot {step.action} {self.port}"
        if isinstance(step, SetOption):
            what += f" ({step.name})"
        if isinstance(error, KeyError):
            return f"{what}: {error.args[0]}"
        protocol = self.port.protocol.name if self.port.protocol else ""
        known = linux.meaning(step.call, protocol, error.errno or 0)
        return f"{what}: {error.strerror} ({known})"

    def _do(self, step: Step) -> None:
        match step:
            case OpenSocket():
                self.fd = self.kernel.socket(step.family, step.kind, step.protocol)
            case SetOption():
                self._set(step)
            case MakeParents():
                self.kernel.make_parents(step.path, step.mode, self.made)
            case Bind():
                self._bind(step)
            case StartListening():
                self.kernel.listen(self.fd, step.backlog)
            case OpenFifo():
                self._open_fifo(step)
            case SetOwner():
                self._own(step)
            case _:
                assert_never(step)

    def _open_fifo(self, step: OpenFifo) -> None:
        """A FIFO that is there already is taken over only if it is one we would have made."""
        if self.kernel.make_fifo(step.path, step.mode):
            self.made.append(step.path)
        self.fd = self.kernel.open_fifo(step.path)
        owner, group, mode = self.kernel.node_access(step.path)
        ours = [self._account(other) for other in self.port.steps if isinstance(other, SetOwner)]
        if mode != step.mode or (owner, group) not in (self.kernel.ids(), *ours):
            raise FileExistsError(errno.EEXIST, f"a FIFO of other access is there: owner {owner}:{group}, mode {mode:04o}")

    def _set(self, step: SetOption) -> None:
        try:
            self.kernel.setsockopt(self.fd, step.level, step.name, step.value)
            if step.forced and self.kernel.getsockopt(self.fd, step.level, step.name) < 2 * int(step.value):
                self.kernel.setsockopt(self.fd, step.level, step.forced, step.value)
        except OSError as error:
            if step.fatal:
                raise
            name = errno.errorcode.get(error.errno or 0, "")
            self.warn(f"{step.name}={step.value} is not set on {self.port}: {error.strerror} ({name})")

    def _bind(self, step: Bind) -> None:
        try:
            self.kernel.bind(self.fd, step.address, step.mode)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or self.port.node is None:
                raise
            self._clear(self.port.node)
            self.kernel.bind(self.fd, step.address, step.mode)
        self.made += [self.port.node] if self.port.node else []

    def _clear(self, path: str) -> None:
        """Remove a leftover socket node, and nothing else."""
        if not self.kernel.is_socket_node(path):
            raise OSError(errno.EADDRINUSE, "something that is no socket is there; remove it, or choose another path")
        if self.kernel.answers(self.port.listen.kind, path):
            raise OSError(errno.EADDRINUSE, "another process listens there")
        self.kernel.unlink(path)

    def _own(self, step: SetOwner) -> None:
        self.kernel.chown(step.path, *self._account(step))

    def _account(self, step: SetOwner) -> tuple[int, int]:
        gid = self.kernel.group_id(step.group) if step.group else None
        account = self.kernel.account(step.user, gid)
        return account.uid, account.gid
