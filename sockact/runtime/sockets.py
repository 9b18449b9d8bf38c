"""Carries out the effects of socket units: opening, watching, accepting, their commands."""

from __future__ import annotations

from sockact.lifecycle import child, connection, limits
from sockact.lifecycle.service import Event as ServiceEvent
from sockact.lifecycle.socket import Effect, Event, State
from sockact.net.plan import fd_name, network, options_of_connections, plan
from sockact.record import TYPE_CHECKING, assert_never
from sockact.runtime import listeners
from sockact.runtime.log import DEBUG, ERROR, INFO, WARNING
from sockact.runtime.loop import READABLE
from sockact.runtime.processes import told
from sockact.runtime.trees import SIGKILL
from sockact.runtime.units import CONTROL, Accepted, Service, Socket
from sockact.unit.specifiers import split_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from sockact.lifecycle.limits import Exit
    from sockact.runtime.listeners import OpenPort
    from sockact.runtime.work import Work


class Sockets:
    """The hand for socket units."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.kernel = work.kernel
        self.loop = work.loop
        self.log = work.log
        self.complete = False
        """Whether all units have come to listen."""

    def do(self, socket: Socket, effect: Effect, detail: object, before: State) -> None:
        """Carry out one effect; `detail` is what its event brought along."""
        settings = socket.unit.socket
        match effect:
            case Effect.RUN:
                self.work.processes.let_go(socket, CONTROL)
                socket.commands, socket.index = socket.commands_of(socket.state), -1
                socket.invocation = socket.invocation or self.kernel.invocation_id()
                self._run_next(socket)
            case Effect.RUN_NEXT:
                self._run_next(socket)
            case Effect.ARM:
                self.work.arm(socket, settings.timeout, Event.TIMEOUT)
            case Effect.ARM_PAUSE:
                rest = socket.window.began + settings.trigger_limit_interval - self.kernel.now()
                self.work.arm(socket, max(0.0, rest), Event.TIMEOUT)
            case Effect.KILL:
                self.work.processes.kill(socket, settings.kill_signal, whole=settings.kill_mode == "control-group")
            case Effect.KILL_HARD:
                self.work.processes.kill(socket, SIGKILL, whole=settings.kill_mode in ("control-group", "mixed"))
            case Effect.OPEN:
                self._open(socket)
            case Effect.FLUSH:
                self._flush(socket)
            case Effect.WATCH:
                self._watch(socket)
            case Effect.UNWATCH:
                for port in socket.ports:
                    self.loop.unwatch(port.fd)
            case Effect.CLOSE:
                self.close(socket)
            case Effect.START_SERVICE:
                self._start_triggered(socket)
            case Effect.ACCEPT:
                assert isinstance(detail, listeners.OpenPort)
                self._accept(socket, detail)
            case Effect.SERVE | Effect.REFUSE:
                assert isinstance(detail, Accepted)
                (self._serve if effect is Effect.SERVE else self._refuse)(socket, detail)
            case _:
                self._note(socket, effect, before)

    def _note(
        self,
        socket: Socket,
        effect: Literal[
            Effect.FAIL_RESOURCES,
            Effect.FAIL_TIMEOUT,
            Effect.FAIL_TRIGGER_LIMIT,
            Effect.FAIL_SERVICE_LIMIT,
            Effect.REPORT_BROKEN,
            Effect.REPORT_PAUSE,
        ],
        before: State,
    ) -> None:
        """Say what went wrong, and keep it as the result."""
        match effect:
            case Effect.FAIL_RESOURCES:
                socket.fail(limits.RESOURCES)
            case Effect.FAIL_TIMEOUT:
                self.log(WARNING, socket.name, f"timeout in state {before.value} (TimeoutSec=)")
                socket.fail(limits.TIMEOUT)
            case Effect.FAIL_TRIGGER_LIMIT:
                self.log(ERROR, socket.name, f"failed: more activations than TriggerLimitBurst= allows ({_rate(socket)})")
                socket.fail(limits.TRIGGER_LIMIT)
            case Effect.FAIL_SERVICE_LIMIT:
                self.log(ERROR, socket.name, "failed: its service hit the start limit")
                socket.result = limits.SERVICE_LIMIT
            case Effect.REPORT_BROKEN:
                self.log(ERROR, socket.name, "failed: a socket is no longer readable (did a service call shutdown() on it?)")
            case Effect.REPORT_PAUSE:
                self.log(WARNING, socket.name, f"paused: more activations than TriggerLimitBurst= allows ({_rate(socket)})")
            case _:
                assert_never(effect)

    # Ports

    def begin(self) -> None:
        """All units listen: what has come in the meantime is taken now."""
        self.complete = True
        for socket in self.work.sockets.values():
            if socket.state is State.LISTENING:
                self._watch(socket)

    def _open(self, socket: Socket) -> None:
        try:
            ports, where = plan(socket.unit), network(socket.unit)
            opened = listeners.open_ports(self.kernel, ports, lambda text: self.log(WARNING, socket.name, text), where)
        except listeners.OpenFailed as error:
            self.log(ERROR, socket.name, str(error))
            self.work.post(socket, Event.OPEN_FAILED)
            return
        accepts = socket.unit.socket.accept
        socket.ports = [p.replace(on_accept=options_of_connections(socket.unit, p.port)) if accepts else p for p in opened]
        for port in socket.ports:
            self.log(INFO, socket.name, f"listening on {port.port}")
        self.work.post(socket, Event.OPENED)

    def close(self, socket: Socket) -> None:
        """Close the ports; as if they had never been opened, if not all units have come to listen."""
        ports, socket.ports = socket.ports, []
        if not self.complete:
            listeners.abandon(self.kernel, ports)
            return
        remove = socket.unit.socket.remove_on_stop
        listeners.close_ports(self.kernel, ports, remove, lambda text: self.log(WARNING, socket.name, text))

    def _flush(self, socket: Socket) -> None:
        count = sum(self.kernel.flush(port.fd) for port in socket.ports)
        if count:
            self.log(
                INFO, socket.name, f"FlushPending=: {count} waiting connection{'' if count == 1 else 's'} or messages dropped"
            )

    def _watch(self, socket: Socket) -> None:
        """Watch the ports; not before all units listen, for a service may get sockets of several."""
        for port in socket.ports if self.complete else ():
            self._watch_port(socket, port)

    def _watch_port(self, socket: Socket, port: OpenPort) -> None:
        settings = socket.unit.socket
        limit = (settings.poll_limit_interval, settings.poll_limit_burst)
        try:
            self.loop.watch(port.fd, self._on_traffic(socket, port), limit)
        except PermissionError as error:
            self.log(ERROR, socket.name, f"cannot watch {port.port}: {error.strerror}: it never tells of traffic (epoll_ctl(2))")
            self.work.post(socket, Event.BROKEN, port)
        except OSError as error:
            self._try_later(socket, port, f"cannot watch {port.port}: {error.strerror}")

    def _try_later(self, socket: Socket, port: OpenPort, why: str) -> None:
        """What is used up may be free in a while; until then all that comes waits in the kernel."""
        self.log(WARNING, socket.name, f"{why}; trying again in a second")
        self.loop.after(1.0, lambda: self._watch_again(socket, port))

    def _on_traffic(self, socket: Socket, port: OpenPort) -> Callable[[int], None]:
        def note(events: int) -> None:
            readable = events == READABLE or port.port.protocol is None
            self.work.post(socket, Event.READABLE if readable else Event.BROKEN, port)

        return note

    # Services and connections

    def _start_triggered(self, socket: Socket) -> None:
        unit = self.work.units.service_of(socket.unit)
        assert unit is not None, "verified when loading"
        self.log(DEBUG, socket.name, f"traffic: starting {unit.name}")
        self.work.start(self.work.services[unit.name])

    def _accept(self, socket: Socket, port: OpenPort) -> None:
        try:
            fd = self.kernel.accept(port.fd)
        except OSError as error:
            self.loop.unwatch(port.fd)
            self._try_later(socket, port, f"cannot accept on {port.port}: {error.strerror}")
            return
        if fd is None:
            return
        try:
            peer = self.kernel.peer(fd)
        except OSError:
            self.log(DEBUG, socket.name, "a connection was gone before it could be served")
            self.kernel.close(fd)
            return
        self.work.post(socket, Event.CONNECTED, Accepted(fd, peer, port))

    def _watch_again(self, socket: Socket, port: OpenPort) -> None:
        if socket.state is State.LISTENING and port in socket.ports:
            self.loop.unwatch(port.fd)
            self._watch_port(socket, port)

    def _refuse(self, socket: Socket, accepted: Accepted) -> None:
        self.log(INFO, socket.name, f"connection from {connection.who(accepted.peer)} refused: {len(socket.sources)} are open")
        self.kernel.close(accepted.fd)

    def _serve(self, socket: Socket, accepted: Accepted) -> None:
        assert socket.template is not None
        self._set_options(socket, accepted)
        prefix = split_name(socket.name)[0]
        name = f"{prefix}@{connection.instance(socket.accepted, accepted.peer)}.service"
        socket.accepted += 1
        unit, wrong = socket.template.instance(name)
        if wrong:
            self.log(ERROR, name, f"not started: {wrong[0].message}")
            self.kernel.close(accepted.fd)
            return
        service = Service(unit, socket, accepted)
        self.work.services[name] = service
        socket.sources[name] = connection.source(accepted.peer)
        self.work.post(service, ServiceEvent.START)

    def _set_options(self, socket: Socket, accepted: Accepted) -> None:
        for step in accepted.port.on_accept:
            try:
                self.kernel.setsockopt(accepted.fd, step.level, step.name, step.value)
            except OSError as error:
                self.log(DEBUG, socket.name, f"{step.name} is not set on a connection: {error.strerror}")

    # Commands

    def _run_next(self, socket: Socket) -> None:
        socket.index += 1
        if socket.index == len(socket.commands):
            self.work.disarm(socket)
            self.work.post(socket, Event.DONE, socket.state)
            return
        self.log(DEBUG, socket.name, f"running {socket.command.source}")
        self.work.arm(socket, socket.unit.socket.timeout, Event.TIMEOUT)
        self.work.processes.start(socket, CONTROL, self._child_plan(socket))

    def ended(self, socket: Socket, how: Exit) -> None:
        """A command has ended."""
        socket.command_ended = how
        if socket.command_result != limits.SUCCESS:
            self.log(WARNING, socket.name, f"{socket.command.source}: {told(how)}")
            socket.fail(socket.command_result)
        self.work.post(socket, Event.EXITED, socket.state)

    def _child_plan(self, socket: Socket) -> child.ChildPlan:
        settings = socket.unit.socket
        handed = settings.pass_to_exec and socket.state is not State.START_PRE
        name = fd_name(socket.unit)
        descriptors = tuple((port.fd, name) for port in socket.ports) if handed else ()
        # Where connections are accepted, they are accepted by us: the sockets stay as they are.
        facts = {"INVOCATION_ID": socket.invocation}
        return child.plan(settings, socket.command, descriptors, self.work.environment, facts, non_blocking=settings.accept)


def _rate(socket: Socket) -> str:
    settings = socket.unit.socket
    return f"{settings.trigger_limit_burst} in {settings.trigger_limit_interval:g} s"
