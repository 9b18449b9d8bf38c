"""Runs units: what happens becomes an event in a queue, the machine of the unit answers with its next state and with effects,
and the effects are carried out (`sockets`, `services`), which may cause more events.

Everything runs to completion before the loop waits again, and units talk to each other by events only.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from sockact.lifecycle import service as service_machine
from sockact.lifecycle import socket as socket_machine
from sockact.lifecycle.limits import START_LIMIT
from sockact.lifecycle.service import Event as ServiceEvent
from sockact.lifecycle.service import State as ServiceState
from sockact.lifecycle.socket import Event as SocketEvent
from sockact.lifecycle.socket import State as SocketState
from sockact.net import linux
from sockact.record import TYPE_CHECKING
from sockact.runtime.hearing import Hearing
from sockact.runtime.jobs import Jobs
from sockact.runtime.log import ERROR, INFO
from sockact.runtime.loop import Loop
from sockact.runtime.notify import Notifications
from sockact.runtime.orders import FIRST, Orders
from sockact.runtime.processes import Processes
from sockact.runtime.services import Services
from sockact.runtime.sockets import Sockets
from sockact.runtime.trees import SIGKILL
from sockact.runtime.units import MAIN, UP, Accepted, Findings, Service, Socket
from sockact.runtime.work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockact.lifecycle.limits import Exit
    from sockact.runtime.kernel import Kernel
    from sockact.runtime.log import Log
    from sockact.runtime.units import Unit
    from sockact.unit.directives.unit import UnitSection
    from sockact.unit.gather import UnitSet

STOP_SIGNALS = tuple(linux.SIGNALS[name] for name in ("TERM", "INT", "QUIT"))
SIGHUP = linux.SIGNALS["HUP"]
SIGCHLD = linux.SIGNALS["CHLD"]


class Supervisor:
    """Runs a set of units until they are stopped or all have ended."""

    def __init__(self, kernel: Kernel, units: UnitSet, environment: Mapping[str, str], log: Log) -> None:
        self.kernel = kernel
        self.log = log
        self.queue: deque[tuple[Unit, object, object]] = deque()
        self.work = work = Work(kernel, units, environment, log, lambda *event: self.queue.append(event))
        work.loop = Loop(kernel, self._drain, self._complain)
        work.processes = Processes(
            kernel, work.loop, log, ended=self._ended, gone=self._gone, oom_killed=self._oom_killed, settle=self._drain
        )
        work.sockets = {name: Socket(unit, units.templates.get(name)) for name, unit in units.sockets.items()}
        work.services = {name: Service(unit) for name, unit in units.services.items()}
        self.sockets = Sockets(work)
        self.services = Services(work)
        self.jobs = Jobs(work, self.services)
        work.start = self.jobs.start
        work.notifications = Notifications(kernel, work.loop, Hearing(work, self.services, self._drain).hear, self._drain)
        self.stops = 0
        self.ending = False
        self.asserted = False
        """Whether an assertion kept a unit from starting."""
        self.orders = Orders()
        self.status: int | None = None
        """The exit status, when a unit has decided it."""

    # From outside

    def run(self, orders: Orders) -> int:
        """Open all sockets, or none; supervise until told to stop or nothing is left to do; return the exit status."""
        work = self.work
        self.orders = orders
        forwarded = {forward.signal for forward in orders.forwards}
        try:
            work.loop.signals(tuple(forwarded | {*STOP_SIGNALS, SIGHUP, SIGCHLD}), self._signalled)
        except OSError as error:
            self.log(ERROR, "sockact", f"cannot start: {error.strerror}")
            return 1
        opened = self._open_all()
        if opened:
            self._begin(orders.now)
        else:
            self._end_all()
            self._drain()
        while not self._finished():
            work.loop.turn()
        self._close_all()
        work.processes.end()
        # From here to the end no signal changes anything; CPython restores their deadly defaults before it exits.
        self.kernel.block_signals()
        return self._status() if opened or self.stops or self.status is not None else 1

    def _open_all(self) -> bool:
        """Start all sockets, and see them through their commands; False when one does not come to listen."""
        for socket in self.work.sockets.values():
            unmet, is_assert = self._unmet(socket.unit.unit)
            if unmet:
                self.log(ERROR if is_assert else INFO, socket.name, f"not started: {unmet}")
            if is_assert:
                return False
            if unmet:
                continue
            self.work.post(socket, SocketEvent.START)
            self._drain()
            while not socket.settled:
                self.work.loop.turn()
            if socket.over or self.ending:
                return False
        self.sockets.begin()
        return True

    def _begin(self, now: bool) -> None:
        work = self.work
        work.processes.get_ready()
        self.jobs.begin(service for name, service in work.services.items() if name in work.units.requested or now)
        self._drain()
        self.log(INFO, "sockact", f"ready: {self._count()}")

    def _count(self) -> str:
        ports, services = sum(len(socket.ports) for socket in self.work.sockets.values()), len(self.work.services)
        return f"{ports} socket{'' if ports == 1 else 's'}, {services} service{'' if services == 1 else 's'}"

    def _signalled(self, number: int) -> None:
        if number == SIGCHLD:
            # Last words first.
            self.work.notifications.drain()
            self._drain()
            self.work.processes.reap()
        elif self._forward(number):
            return
        elif number == SIGHUP and not self.kernel.hangs_on_terminal():
            self._reload()
        else:
            self._stop(number)

    def _forward(self, number: int) -> bool:
        """Pass a signal on to main processes, as it was ordered; whether it was."""
        wanted = [forward for forward in self.orders.forwards if forward.signal == number]
        for forward in wanted:
            for service in self.work.services.values():
                pid = service.pids.get(MAIN)
                if pid and forward.unit in ("", service.name):
                    self.kernel.kill(pid, forward.sent)
        return bool(wanted)

    def _reload(self) -> None:
        """Have all services reload that can."""
        self.log(INFO, "sockact", "SIGHUP: reloading")
        for service in self.work.services.values():
            self.work.post(service, ServiceEvent.RELOAD)

    def _stop(self, number: int) -> None:
        """The first request asks the services to end; another one ends them."""
        self.stops += 1
        how = "stopping" if self.stops == 1 else "stopping at once"
        self.log(INFO, "sockact", f"{linux.signal_name(number)}: {how}")
        self._end_all(at_once=self.stops > 1)

    def _end_all(self, *, at_once: bool = False) -> None:
        self.ending = True
        for socket in self.work.sockets.values():
            self.work.post(socket, SocketEvent.HURRY if at_once else SocketEvent.STOP)
        self.jobs.close()
        if at_once:
            for service in self.work.services.values():
                service.stop_asked = True
                self.work.post(service, ServiceEvent.HURRY)
        else:
            self.jobs.stop_all()

    def _finished(self) -> bool:
        refused = next((name for name in self.jobs.refused if self.orders.exit in (FIRST, name)), None)
        if refused and not self.ending:
            self._exit(refused, f"--exit={self.orders.exit}", 1)
            self._drain()
        ended = all(service.over for service in self.work.services.values())
        return ended and (self.ending or all(socket.over for socket in self.work.sockets.values()))

    def _close_all(self) -> None:
        sockets = self.work.sockets.values()
        for socket in sockets:
            self.work.post(socket, SocketEvent.RELEASE)
        self._drain()
        while not all(socket.over for socket in sockets):
            self.work.loop.turn()

    def _status(self) -> int:
        """What a unit has decided; else 0 after a stop; else that of the service whose failure left nothing to do."""
        if self.status is not None:
            return self.status
        if self.stops:
            return 0
        failed = [service for service in self.work.services.values() if service.state is ServiceState.FAILED]
        sockets = [1 for socket in self.work.sockets.values() if socket.state is SocketState.FAILED]
        return next(iter([service.failure.status for service in failed] + sockets), int(self.asserted or bool(self.jobs.refused)))

    # The queue

    def _drain(self) -> None:
        while self.queue:
            unit, event, detail = self.queue.popleft()
            try:
                if isinstance(unit, Socket):
                    self._step_socket(unit, event, detail)
                elif isinstance(unit, Service):
                    self._step_service(unit, event, detail)
            except Exception as error:  # a bug of ours in one unit must not take the others down
                self.log(ERROR, unit.name, f"internal error at {event}: {type(error).__name__}: {error}; the unit fails")
                self._abandon(unit)

    def _complain(self, error: Exception) -> None:
        self.log(ERROR, "sockact", f"internal error: {type(error).__name__}: {error}")

    def _abandon(self, unit: Unit) -> None:
        """Fail a unit whose machine cannot be trusted any more; what it held is let go."""
        self.work.disarm(unit)
        self.work.processes.kill(unit, SIGKILL, whole=True)
        if isinstance(unit, Socket):
            for port in unit.ports:
                self.work.loop.unwatch(port.fd)
            self.sockets.close(unit)
            unit.state = SocketState.FAILED
            self.work.processes.forget(unit)
            self.work.release(unit, restarts=False)
        elif isinstance(unit, Service):
            unit.state = ServiceState.FAILED
            self.services.tell(unit, SocketEvent.SERVICE_LIMIT)
            self.services.entered(unit)

    def _step_socket(self, socket: Socket, event: object, detail: object) -> None:
        assert isinstance(event, SocketEvent)
        if isinstance(detail, SocketState) and detail is not socket.state:
            return  # the end of what belonged to a state that it has left
        before, accepted = socket.state, detail if isinstance(detail, Accepted) else None
        find = partial(self._socket_facts, socket, event, accepted)
        socket.state, effects = socket_machine.step(before, event, find)
        if socket.state is not before:
            self.work.disarm(socket)
        for effect in effects:
            self.sockets.do(socket, effect, detail, before)
        if socket.over and socket.state is not before:
            self.work.processes.forget(socket)
            self.work.release(socket, restarts=False)
            self._over(socket, socket.state is SocketState.FAILED)

    def _step_service(self, service: Service, event: object, detail: object) -> None:
        assert isinstance(event, ServiceEvent)
        if detail is not None and detail is not service.state:
            return  # the end of what belonged to a state that it has left
        before = service.state
        service.hurried = service.hurried or event is ServiceEvent.HURRY
        starts = service.starts(event)
        if starts:
            service.unmet, service.is_asserted = self._unmet(service.unit.unit)
            self.asserted = self.asserted or service.is_asserted
        service.state, effects = service_machine.step(before, event, partial(self._service_facts, service, event))
        if service.state is not before:
            self.work.disarm(service)
        for effect in effects:
            self.services.do(service, effect, before)
        if service.state is not before or (starts and service.over):
            self.services.entered(service)
            ended = service.has_ended
            if ended and service.state is not before:
                self._over(service, service.has_failed)
            if ended or service.state in UP:
                self.jobs.settled(service)

    def _socket_facts(self, socket: Socket, event: SocketEvent, accepted: Accepted | None) -> socket_machine.Facts:
        return socket.facts(event, accepted, self.work.processes.leftovers(socket), self.kernel.now())

    def _service_facts(self, service: Service, event: ServiceEvent) -> Findings:
        return Findings(service, event, self.work.processes.leftovers, self.kernel.now)

    def _unmet(self, unit: UnitSection) -> tuple[str, bool]:
        """The condition that does not hold, and whether that is a failure."""
        if not unit.conditions and not unit.asserts:
            return "", False
        from sockact.runtime import conditions

        return conditions.unmet(unit, self.work.environment)

    def _over(self, unit: Socket | Service, failed: bool) -> None:
        """A unit has ended: others end with it, or everything does."""
        ran = isinstance(unit, Service) and unit.has_run
        ended = unit.ended if isinstance(unit, Service) and ran else None
        status = unit.failure.status if isinstance(unit, Service) and failed else ended.status if ended else int(failed)
        self.jobs.ended(unit, failed, ran and unit.result != START_LIMIT)
        if self.ending:
            return
        action, wanted = _action(unit, failed, ran)
        if action != "none":
            self._exit(unit.name, f"its end is {action} for all", status if wanted is None else wanted, action)
        elif unit.over and (ran or failed) and self.orders.exit in (FIRST, unit.name):
            self._exit(unit.name, f"--exit={self.orders.exit}", status)

    def _exit(self, name: str, why: str, status: int, action: str = "exit") -> None:
        """End everything, with this exit status."""
        self.log(INFO, name, f"{why}: ending with status {status}")
        self.status = status
        self._end_all(at_once=action != "exit")

    # Processes

    def _ended(self, unit: Unit, role: str, how: Exit) -> None:
        if isinstance(unit, Service):
            self.services.ended(unit, role, how)
        elif isinstance(unit, Socket):
            self.sockets.ended(unit, how)

    def _gone(self, unit: Unit) -> None:
        self.work.post(unit, ServiceEvent.GROUP_GONE if isinstance(unit, Service) else SocketEvent.GROUP_GONE)

    def _oom_killed(self, unit: Unit) -> None:
        if isinstance(unit, Service):
            self.services.oom_killed(unit)
        elif isinstance(unit, Socket):
            self.work.report_oom(unit)


def _action(unit: Socket | Service, failed: bool, ran: bool) -> tuple[str, int | None]:
    """What the end of a unit is for all others (none, exit, exit-force), and the exit status if one is given."""
    section = unit.unit.unit
    if failed:
        limited = unit.result == START_LIMIT and section.failure_action == "none"
        return section.start_limit_action if limited else section.failure_action, section.failure_action_status
    return (section.success_action, section.success_action_status) if ran else ("none", None)
