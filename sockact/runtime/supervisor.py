"""The one place that sees both the state machines and the kernel.

What happens becomes an event in a queue; the machine of the unit answers with its next state and with effects; the effects
are carried out, and may cause more events. Everything runs to completion before the loop waits again, and units talk to
each other by events only.
"""

from __future__ import annotations

from collections import deque

from sockact.lifecycle import child, connection, limits
from sockact.lifecycle import service as service_machine
from sockact.lifecycle import socket as socket_machine
from sockact.lifecycle.limits import SUCCESS, Exit
from sockact.lifecycle.service import Effect as ServiceEffect
from sockact.lifecycle.service import Event as ServiceEvent
from sockact.lifecycle.service import State as ServiceState
from sockact.lifecycle.socket import Effect as SocketEffect
from sockact.lifecycle.socket import Event as SocketEvent
from sockact.lifecycle.socket import State as SocketState
from sockact.net import linux
from sockact.net.plan import fd_name, options, plan
from sockact.record import TYPE_CHECKING, assert_never
from sockact.runtime import listeners, spawn
from sockact.runtime.loop import READABLE, Loop
from sockact.runtime.notify import Message, Notifications
from sockact.runtime.units import Accepted, Service, Socket
from sockact.unit.specifiers import split_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sockact.runtime.kernel import Kernel
    from sockact.runtime.listeners import OpenPort
    from sockact.unit.gather import UnitSet

    Log = Callable[[str, str, str], None]
    """level, who, what"""

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
STOP_SIGNALS = tuple(linux.SIGNALS[name] for name in ("TERM", "INT", "HUP", "QUIT"))
SIGCHLD = linux.SIGNALS["CHLD"]
SIGKILL = linux.SIGNALS["KILL"]
SIGCONT = linux.SIGNALS["CONT"]
"""A stopped process takes no SIGTERM; systemd sends SIGCONT along, too."""


class Supervisor:
    """Runs a set of units until they are stopped or all have ended."""

    def __init__(self, kernel: Kernel, units: UnitSet, environment: Mapping[str, str], log: Log) -> None:
        self.kernel = kernel
        self.units = units
        self.environment = environment
        self.log = log
        self.loop = Loop(kernel, self._drain, self._complain)
        self.notifications = Notifications(kernel, self.loop, self._notified)
        self.sockets = {name: Socket(unit, units.templates.get(name)) for name, unit in units.sockets.items()}
        self.services = {name: Service(unit) for name, unit in units.services.items()}
        self.main_pids: dict[int, Service] = {}
        self.execute: spawn.Execute
        self.queue: deque[tuple[Socket | Service, object, object]] = deque()
        self.stops = 0

    # From outside

    def run(self, now: bool) -> int:
        """Open all sockets, or none and return 1; supervise; return the exit status."""
        self.loop.signals((*STOP_SIGNALS, SIGCHLD), self._signalled)
        if not self._open_all():
            return 1
        self.execute = spawn.executor(self.kernel, self.kernel.not_default())
        if not self.kernel.become_subreaper():
            text = "cannot adopt orphaned processes (prctl); the end of what a service leaves behind is not noticed"
            self.log(WARNING, "sockact", text)
        for name, service in self.services.items():
            if name in self.units.requested or now:
                self._post(service, ServiceEvent.START)
        self._drain()
        self.log(INFO, "sockact", f"ready: {self._count()}")
        while not self._finished():
            self.loop.turn()
        self._close_all()
        # From here to the end no signal changes anything; CPython restores their deadly defaults before it exits.
        self.kernel.block_signals()
        return self._status()

    def _count(self) -> str:
        ports = sum(len(socket.ports) for socket in self.sockets.values())
        return f"{ports} socket{'' if ports == 1 else 's'}, {len(self.services)} service{'' if len(self.services) == 1 else 's'}"

    def _open_all(self) -> bool:
        for socket in self.sockets.values():
            self._post(socket, SocketEvent.START)
            self._drain()
            if socket.state is SocketState.FAILED:
                for other in self.sockets.values():
                    listeners.abandon(self.kernel, other.ports)
                return False
        return True

    def _signalled(self, number: int) -> None:
        if number == SIGCHLD:
            self._reap()
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        """The first request asks the services to end; another one ends them."""
        self.stops += 1
        how = "stopping" if self.stops == 1 else "stopping at once"
        self.log(INFO, "sockact", f"{linux.signal_name(number)}: {how}")
        for socket in self.sockets.values():
            self._post(socket, SocketEvent.STOP)
        for service in list(self.services.values()):
            service.stop_asked = True
            self._post(service, ServiceEvent.STOP if self.stops == 1 else ServiceEvent.HURRY)

    def _finished(self) -> bool:
        ended = all(service.over for service in self.services.values())
        return ended and (self.stops > 0 or all(socket.over for socket in self.sockets.values()))

    def _close_all(self) -> None:
        for socket in self.sockets.values():
            self._post(socket, SocketEvent.RELEASE)
        self._drain()

    def _status(self) -> int:
        """0 after a stop; else that of the service whose failure left nothing to do."""
        if self.stops:
            return 0
        statuses = [service.failure.status for service in self.services.values() if service.state is ServiceState.FAILED]
        sockets = [1 for socket in self.sockets.values() if socket.state is SocketState.FAILED]
        return next(iter(statuses + sockets), 0)

    # The queue

    def _post(self, unit: Socket | Service, event: object, detail: object = None) -> None:
        self.queue.append((unit, event, detail))

    def _drain(self) -> None:
        while self.queue:
            unit, event, detail = self.queue.popleft()
            try:
                if isinstance(unit, Socket):
                    self._step_socket(unit, event, detail)
                else:
                    self._step_service(unit, event)
            except Exception as error:  # a bug of ours in one unit must not take the others down
                self.log(ERROR, unit.name, f"internal error at {event}: {type(error).__name__}: {error}; the unit fails")
                self._abandon(unit)

    def _complain(self, error: Exception) -> None:
        self.log(ERROR, "sockact", f"internal error: {type(error).__name__}: {error}")

    def _abandon(self, unit: Socket | Service) -> None:
        """Fail a unit whose machine cannot be trusted any more; what it held is let go."""
        if isinstance(unit, Socket):
            for port in unit.ports:
                self.loop.unwatch(port.fd)
            self._close(unit)
            unit.state = SocketState.FAILED
        else:
            self._clear_timer(unit)
            self._kill(unit, SIGKILL, whole=True)
            unit.state = ServiceState.FAILED
            self._tell(unit, SocketEvent.SERVICE_LIMIT)
            self._entered(unit)

    def _step_socket(self, socket: Socket, event: object, detail: object) -> None:
        assert isinstance(event, SocketEvent)
        facts = socket.facts(event, detail if isinstance(detail, Accepted) else None, self.kernel.now())
        socket.state, effects = socket_machine.step(socket.state, event, facts)
        for effect in effects:
            self._do_for_socket(socket, effect, detail)

    def _step_service(self, service: Service, event: object) -> None:
        assert isinstance(event, ServiceEvent)
        before = service.state
        leftovers = event is ServiceEvent.EXITED and service.group > 0 and self.kernel.kill_group(service.group, 0)
        service.state, effects = service_machine.step(before, event, service.facts(event, leftovers, self.kernel.now()))
        if service.state is not before:
            self._clear_timer(service)
        for effect in effects:
            self._do_for_service(service, effect, before)
        if service.state is not before:
            self._entered(service)

    # Sockets

    def _do_for_socket(self, socket: Socket, effect: SocketEffect, detail: object) -> None:
        match effect:
            case SocketEffect.OPEN:
                self._open(socket)
            case SocketEffect.WATCH:
                for port in socket.ports:
                    self.loop.watch(port.fd, self._on_traffic(socket, port))
            case SocketEffect.UNWATCH:
                for port in socket.ports:
                    self.loop.unwatch(port.fd)
            case SocketEffect.CLOSE:
                self._close(socket)
            case SocketEffect.START_SERVICE:
                self._start_triggered(socket)
            case SocketEffect.ACCEPT:
                assert isinstance(detail, listeners.OpenPort)
                self._accept(socket, detail)
            case SocketEffect.SERVE:
                assert isinstance(detail, Accepted)
                self._serve(socket, detail)
            case SocketEffect.REFUSE:
                assert isinstance(detail, Accepted)
                self.log(INFO, socket.name, f"connection from {_who(detail.peer)} refused: {len(socket.sources)} are open")
                self.kernel.close(detail.fd)
            case SocketEffect.REPORT_TRIGGER_LIMIT:
                self._report_trigger_limit(socket)
            case SocketEffect.REPORT_SERVICE_LIMIT:
                self.log(ERROR, socket.name, "failed: its service hit the start limit")
            case SocketEffect.REPORT_BROKEN:
                self.log(ERROR, socket.name, "failed: a socket is no longer readable (did a service call shutdown() on it?)")
            case _:
                assert_never(effect)

    def _open(self, socket: Socket) -> None:
        try:
            ports = plan(socket.unit)
            socket.ports = listeners.open_ports(self.kernel, ports, lambda text: self.log(WARNING, socket.name, text))
        except listeners.OpenFailed as error:
            self.log(ERROR, socket.name, str(error))
            self._post(socket, SocketEvent.OPEN_FAILED)
            return
        for port in socket.ports:
            self.log(INFO, socket.name, f"listening on {port.port}")
        self._post(socket, SocketEvent.OPENED)

    def _close(self, socket: Socket) -> None:
        ports, socket.ports = socket.ports, []
        remove = socket.unit.socket.remove_on_stop
        listeners.close_ports(self.kernel, ports, remove, lambda text: self.log(WARNING, socket.name, text))

    def _on_traffic(self, socket: Socket, port: OpenPort) -> Callable[[int], None]:
        def note(events: int) -> None:
            readable = events == READABLE or port.port.protocol is None
            event = SocketEvent.READABLE if readable else SocketEvent.BROKEN
            self._post(socket, event, port)

        return note

    def _report_trigger_limit(self, socket: Socket) -> None:
        settings = socket.unit.socket
        rate = f"{settings.trigger_limit_burst} in {settings.trigger_limit_interval:g} s"
        self.log(ERROR, socket.name, f"failed: more activations than TriggerLimitBurst= allows ({rate})")

    def _start_triggered(self, socket: Socket) -> None:
        service = self.services[self._service_name(socket)]
        self.log(DEBUG, socket.name, f"traffic: starting {service.name}")
        self._post(service, ServiceEvent.START)

    def _service_name(self, socket: Socket) -> str:
        unit = self.units.service_of(socket.unit)
        assert unit is not None, "verified when loading"
        return unit.name

    def _accept(self, socket: Socket, port: OpenPort) -> None:
        try:
            fd = self.kernel.accept(port.fd)
        except OSError as error:
            self._cannot_accept(socket, port, error)
            return
        if fd is None:
            return
        try:
            peer = self.kernel.peer(fd)
        except OSError:
            self.log(DEBUG, socket.name, "a connection was gone before it could be served")
            self.kernel.close(fd)
            return
        self._post(socket, SocketEvent.CONNECTED, Accepted(fd, peer, port))

    def _cannot_accept(self, socket: Socket, port: OpenPort, error: OSError) -> None:
        """Out of descriptors or memory: the connection stays in the backlog, and we look again when some may be free."""
        self.log(WARNING, socket.name, f"cannot accept on {port.port}: {error.strerror}; trying again in a second")
        self.loop.unwatch(port.fd)
        self.loop.after(1.0, lambda: self._watch_again(socket, port))

    def _watch_again(self, socket: Socket, port: OpenPort) -> None:
        if socket.state is SocketState.LISTENING:
            self.loop.unwatch(port.fd)
            self.loop.watch(port.fd, self._on_traffic(socket, port))

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
        self.services[name] = service
        socket.sources[name] = connection.source(accepted.peer)
        self._post(service, ServiceEvent.START)

    def _set_options(self, socket: Socket, accepted: Accepted) -> None:
        """TCP, MPTCP and SCTP connections inherit the listener's options; UNIX and vsock ones do not."""
        port = accepted.port.port
        if port.protocol is None or port.protocol.selectable:
            return
        for step in options(socket.unit, port.listen, port.protocol):
            try:
                self.kernel.setsockopt(accepted.fd, step.level, step.name, step.value)
            except OSError as error:
                self.log(DEBUG, socket.name, f"{step.name} is not set on a connection: {error.strerror}")

    # Services

    def _do_for_service(self, service: Service, effect: ServiceEffect, before: ServiceState) -> None:
        settings = service.unit.service
        match effect:
            case ServiceEffect.SPAWN:
                service.index, service.result = 0, SUCCESS
                self._spawn(service)
            case ServiceEffect.SPAWN_NEXT:
                service.index += 1
                self._spawn(service)
            case ServiceEffect.ARM_START:
                self._arm(service, settings.timeout_start)
            case ServiceEffect.ARM_STOP:
                self._arm(service, settings.timeout_stop)
            case ServiceEffect.ARM_RESTART:
                self.log(INFO, service.name, f"restarting in {settings.restart_delay:g} s")
                self._arm(service, settings.restart_delay)
            case ServiceEffect.KILL:
                self._kill(service, settings.kill_signal, whole=settings.kill_mode == "control-group")
            case ServiceEffect.KILL_LEFTOVERS:
                self._kill(service, settings.kill_signal, whole=True)
            case ServiceEffect.KILL_HARD:
                self._kill(service, SIGKILL, whole=settings.kill_mode in ("control-group", "mixed"))
            case ServiceEffect.FAIL_TIMEOUT:
                self.log(WARNING, service.name, f"timeout in state {before.value}")
                service.result = limits.TIMEOUT if service.result == SUCCESS else service.result
            case ServiceEffect.TELL_UP:
                self._tell(service, SocketEvent.SERVICE_UP)
            case ServiceEffect.TELL_DOWN:
                self._tell(service, SocketEvent.SERVICE_DOWN)
            case ServiceEffect.TELL_LIMIT:
                unit = service.unit.unit
                rate = f"{unit.start_limit_burst} in {unit.start_limit_interval:g} s"
                self.log(ERROR, service.name, f"failed: started more often than StartLimitBurst= allows ({rate})")
                self._tell(service, SocketEvent.SERVICE_LIMIT)
            case _:
                assert_never(effect)

    def _tell(self, service: Service, event: SocketEvent) -> None:
        for unit in self.units.sockets_of(service.unit) if service.socket is None else ():
            self._post(self.sockets[unit.name], event)

    def _spawn(self, service: Service) -> None:
        service.ended = Exit()
        try:
            pid, failure = spawn.spawn(self.kernel, self._child_plan(service), self.execute)
        except spawn.NotPreparedError as error:
            self._not_started(service, error.failure)
            self._ended(service, Exit(error.failure.status))
            return
        except OSError as error:
            self.log(ERROR, service.name, f"cannot make a process: {error.strerror}")
            self._ended(service, Exit(1))
            return
        service.pid = service.group = pid
        self.main_pids[pid] = service
        if service.unit.service.restart == "no" and not service.has_more_commands:
            self._release_connection(service)
        if failure:
            self._not_started(service, failure)
        else:
            self.log(INFO, service.name, f"started, pid {pid}{self._for_whom(service)}")
            self._post(service, ServiceEvent.EXECUTED)

    def _not_started(self, service: Service, failure: spawn.Failure) -> None:
        self.log(ERROR, service.name, f"{failure.step} failed ({service.command.program}): {failure.why}")

    def _for_whom(self, service: Service) -> str:
        return f", for {_who(service.accepted.peer)}" if service.accepted else ""

    def _child_plan(self, service: Service) -> child.ChildPlan:
        handed: dict[str, str] = {}
        if service.accepted:
            handed |= connection.environment(service.accepted.peer)
        if service.unit.service.is_heard:
            handed["NOTIFY_SOCKET"] = self.notifications.address()
        return child.plan(service.unit, service.index, tuple(self._descriptors(service)), self.environment, handed)

    def _descriptors(self, service: Service) -> Iterator[tuple[int, str]]:
        """Descriptors and their names, in the order of the units and of the lines in them."""
        if service.accepted and service.socket:
            yield service.accepted.fd, fd_name(service.socket.unit)
        elif service.socket is None:
            for unit in self.units.sockets_of(service.unit):
                for port in self.sockets[unit.name].ports:
                    yield port.fd, port.port.fd_name

    def _arm(self, service: Service, seconds: float) -> None:
        self._clear_timer(service)
        if seconds != float("inf"):
            service.timer = self.loop.after(seconds, lambda: self._post(service, ServiceEvent.TIMEOUT))

    def _clear_timer(self, service: Service) -> None:
        if service.timer:
            service.timer.cancel()
            service.timer = None

    def _kill(self, service: Service, number: int, whole: bool) -> None:
        """Signal the process group, or only the main process."""
        for signal_number in (number, SIGCONT) if number != SIGKILL else (number,):
            reached = whole and service.group and self.kernel.kill_group(service.group, signal_number)
            if not reached and service.pid:
                self.kernel.kill(service.pid, signal_number)

    def _entered(self, service: Service) -> None:
        """What every arrival in a state brings with it."""
        if service.state is ServiceState.FAILED:
            service.failure = service.ended if service.ended.status else Exit(code=1)
        if service.state in (ServiceState.FINAL_SIGTERM, ServiceState.FINAL_SIGKILL):
            self._look_for_leftovers(service)
        elif service.over or service.state is ServiceState.AUTO_RESTART:
            service.group = 0
            self.main_pids.pop(service.pid, None)
            if service.over and service.accepted:
                self._forget(service)

    def _look_for_leftovers(self, service: Service) -> None:
        if not self.kernel.kill_group(service.group, 0):
            self._post(service, ServiceEvent.GROUP_GONE)

    def _forget(self, service: Service) -> None:
        """An instance ends with its connection."""
        self._release_connection(service)
        assert service.socket is not None
        service.socket.sources.pop(service.name, None)
        self.services.pop(service.name, None)

    def _release_connection(self, service: Service) -> None:
        if service.accepted and service.accepted.fd >= 0:
            self.kernel.close(service.accepted.fd)
            service.accepted = service.accepted.replace(fd=-1)

    # Processes

    def _reap(self) -> None:
        """Collect every child that ended, orphans included; their last words first."""
        self.notifications.drain()
        self._drain()
        while ended := self.kernel.reap():
            service = self.main_pids.pop(ended[0], None)
            if service:
                self._ended(service, ended[1])
        for service in self.services.values():
            if service.state in (ServiceState.FINAL_SIGTERM, ServiceState.FINAL_SIGKILL):
                self._look_for_leftovers(service)

    def _ended(self, service: Service, ended: Exit) -> None:
        """The main process ended; one that never was has done so with the status that stands for the reason."""
        service.pid, service.ended = 0, ended
        how = f"killed by {linux.signal_name(ended.signal)}" if ended.signal else f"exit status {ended.code}"
        self.log(INFO if ended.result == SUCCESS else WARNING, service.name, f"ended: {how}")
        self._post(service, ServiceEvent.EXITED)

    def _notified(self, message: Message) -> None:
        service = self.main_pids.get(message.pid)
        if service is None or not service.unit.service.is_heard:
            self.log(DEBUG, "sockact", f"a notification from pid {message.pid}, which is no main process, is ignored")
            return
        if status := message.said.get("STATUS"):
            self.log(INFO, service.name, f"status: {status}")
        if message.said.get("READY") == "1":
            self.log(INFO, service.name, "ready")
            self._post(service, ServiceEvent.READY)
        if message.said.get("STOPPING") == "1":
            self._post(service, ServiceEvent.STOPPING)


def _who(peer: connection.Peer) -> str:
    """The peer as logs name it."""
    found = connection.environment(peer)
    port = f" port {found['REMOTE_PORT']}" if "REMOTE_PORT" in found else ""
    return f"{found['REMOTE_ADDR']}{port}" if "REMOTE_ADDR" in found else f"pid {peer.pid}"
