"""Carries out the effects of service units: their processes, timers, signals, and telling the sockets."""

from __future__ import annotations

from functools import partial

from sockact.lifecycle import child, connection, limits
from sockact.lifecycle.limits import SUCCESS, Exit
from sockact.lifecycle.service import Effect, Event, State
from sockact.lifecycle.socket import Event as SocketEvent
from sockact.net import linux
from sockact.net.plan import fd_name
from sockact.record import TYPE_CHECKING, assert_never
from sockact.runtime.log import DEBUG, ERROR, INFO, WARNING
from sockact.runtime.mainpid import MainProcesses
from sockact.runtime.processes import told
from sockact.runtime.units import CONTROL, MAIN
from sockact.runtime.work import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from sockact.runtime.units import Service
    from sockact.runtime.work import Work
    from sockact.unit.commands import Command

    Killing = Literal[
        Effect.KILL, Effect.KILL_LEFTOVERS, Effect.KILL_WATCHDOG, Effect.KILL_HARD, Effect.KILL_CONTROL, Effect.SEND_RELOAD
    ]
    Saying = Literal[
        Effect.FAIL_TIMEOUT,
        Effect.FAIL_WATCHDOG,
        Effect.FAIL_PROTOCOL,
        Effect.REPORT_UNMET,
        Effect.REPORT_RELOADED,
        Effect.REPORT_RELOAD_FAILED,
        Effect.REPORT_NO_RELOAD,
    ]

SIGHUP = linux.SIGNALS["HUP"]


class Services:
    """The hand for service units."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.kernel = work.kernel
        self.log = work.log
        self.main = MainProcesses(work)

    def do(self, service: Service, effect: Effect, before: State) -> None:
        """Carry out one effect of a transition out of the state `before`."""
        settings, arm = service.unit.service, self.work.arm
        match effect:
            case Effect.BEGIN:
                self._begin(service)
            case Effect.RUN:
                self.work.processes.let_go(service, CONTROL)
                service.commands, service.index = service.commands_of(service.state), -1
                self._run_next(service)
            case Effect.RUN_NEXT:
                self._run_next(service)
            case Effect.SPAWN:
                self._spawn(service, 0)
            case Effect.SPAWN_NEXT:
                self._spawn(service, service.main_index + 1)
            case Effect.ARM_START:
                arm(service, settings.timeout_start, Event.TIMEOUT)
            case Effect.ARM_RUNTIME:
                end = service.began + settings.runtime_most + settings.runtime_spread * limits.share(service.invocation)
                arm(service, max(0.0, end - self.kernel.now()), Event.TIMEOUT)
            case Effect.ARM_STOP:
                arm(service, settings.timeout_stop, Event.TIMEOUT)
            case Effect.ARM_ABORT:
                arm(service, settings.timeout_abort, Event.TIMEOUT)
            case Effect.ARM_RESTART:
                self._arm_restart(service)
            case Effect.TELL_UP:
                self.tell(service, SocketEvent.SERVICE_UP)
            case Effect.TELL_DOWN:
                self.tell(service, SocketEvent.SERVICE_DOWN)
            case Effect.TELL_LIMIT:
                self._report_limit(service)
            case (
                Effect.KILL
                | Effect.KILL_LEFTOVERS
                | Effect.KILL_WATCHDOG
                | Effect.KILL_HARD
                | Effect.KILL_CONTROL
                | Effect.SEND_RELOAD
            ):
                self._signal(service, effect)
            case _:
                self._note(service, effect, before)

    def _signal(self, service: Service, effect: Killing) -> None:
        settings, kill = service.unit.service, self.work.processes.kill
        group = settings.kill_mode == "control-group"
        match effect:
            case Effect.KILL | Effect.KILL_LEFTOVERS:
                whole = group or effect is Effect.KILL_LEFTOVERS
                kill(service, settings.kill_signal, whole)
                if settings.send_sighup:
                    kill(service, SIGHUP, whole)
            case Effect.KILL_WATCHDOG:
                kill(service, settings.watchdog_signal, group)
            case Effect.KILL_HARD:
                kill(service, settings.final_kill_signal, settings.kill_mode in ("control-group", "mixed"))
            case Effect.KILL_CONTROL:
                self.work.processes.give_up(service, CONTROL)
            case Effect.SEND_RELOAD:
                if MAIN in service.pids:
                    service.reload_began = self.kernel.monotonic() * 1e6
                    self.kernel.kill(service.pids[MAIN], settings.reload_signal)
            case _:
                assert_never(effect)

    def _note(self, service: Service, effect: Saying, before: State) -> None:
        """Say what happened, and keep it as the result if it is one."""
        match effect:
            case Effect.FAIL_TIMEOUT:
                self.log(WARNING, service.name, f"timeout in state {before.value}")
                service.fail(limits.TIMEOUT)
            case Effect.FAIL_WATCHDOG:
                self.log(ERROR, service.name, f"no WATCHDOG=1 for {service.watchdog_interval:g} s")
                service.fail(limits.WATCHDOG)
            case Effect.FAIL_PROTOCOL:
                self.log(WARNING, service.name, "nobody is left to say READY=1")
                service.fail(limits.PROTOCOL)
            case Effect.REPORT_UNMET:
                self.log(ERROR if service.is_asserted else INFO, service.name, f"not started: {service.unmet}")
            case Effect.REPORT_RELOADED:
                self.log(INFO, service.name, "reloaded")
            case Effect.REPORT_RELOAD_FAILED:
                self.log(WARNING, service.name, "the reload failed or took too long; it runs on as it is")
            case Effect.REPORT_NO_RELOAD:
                self.log(DEBUG, service.name, "has no ExecReload=, and is not of Type=notify-reload")
            case _:
                assert_never(effect)

    # Starting

    def _begin(self, service: Service) -> None:
        service.result, service.says, service.starved = SUCCESS, "", False
        service.ended = service.cause = None
        service.main_known = False
        service.began, service.invocation = self.kernel.now(), self.kernel.invocation_id()
        service.watchdog_interval = service.unit.service.watchdog

    def _run_next(self, service: Service) -> None:
        service.index += 1
        if service.index == len(service.commands):
            self.work.post(service, Event.DONE, service.state)
            return
        self.log(DEBUG, service.name, f"running {service.command.source}")
        settings = service.unit.service
        stopping = service.state in (State.STOP, State.STOP_POST)
        self.work.arm(service, settings.timeout_stop if stopping else settings.timeout_start, Event.TIMEOUT)
        self._start(service, CONTROL, service.command, CONTROL)

    def _spawn(self, service: Service, index: int) -> None:
        service.main_index = index
        role = CONTROL if service.unit.service.type == "forking" else MAIN
        if role is CONTROL:
            service.commands, service.index = service.unit.service.exec_start, index
        runs = self._start(service, role, service.main_command, MAIN)
        settings = service.unit.service
        later = (
            settings.exec_start_post
            or settings.exec_reload
            or settings.exec_reload_post
            or settings.exec_stop
            or settings.exec_stop_post
            or service.has_more_commands
        )
        if service.pids and settings.restart == "no" and not later:
            self._release_connection(service)
        if runs:
            self.log(INFO, service.name, f"started, pid {service.pids[role]}{_for_whom(service)}")
            self.work.post(service, Event.EXECUTED)

    def _start(self, service: Service, role: str, command: Command, gets: str) -> bool:
        """Start a process; whether the program runs. It gets what a process of the role `gets` is given."""
        try:
            plan = self._child_plan(service, command, gets)
        except OSError as error:
            self.work.processes.starve(service, role, error)
            return False
        return self.work.processes.start(service, role, plan)

    def _child_plan(self, service: Service, command: Command, role: str) -> child.ChildPlan:
        settings = service.unit.service
        # Whose standard input is a socket, has it for all commands.
        sockets = tuple(self._descriptors(service)) if role is MAIN or settings.standard_input.kind == "socket" else ()
        stored = tuple((stored.fd, stored.name) for stored in reversed(service.stored)) if role is MAIN else ()
        if role is CONTROL and settings.privileged_commands:
            command = command.replace(prefixes=f"{command.prefixes}+")
        return child.plan(
            settings,
            command,
            sockets,
            self.work.environment,
            self._facts(service, role),
            non_blocking=settings.non_blocking,
            stored=stored,
        )

    def _facts(self, service: Service, role: str) -> dict[str, str]:
        """The variables that tell a process what it is there for."""
        settings, facts = service.unit.service, {"INVOCATION_ID": service.invocation}
        if service.accepted:
            facts |= connection.environment(service.accepted.peer)
        if service.debugs or service.unit.unit.debug_invocation:
            facts["DEBUG_INVOCATION"] = "1"
        if settings.pid_file:
            facts["PIDFILE"] = settings.pid_file
        if service.heard != "none" and (role is MAIN or service.heard != "main"):
            facts["NOTIFY_SOCKET"] = self.work.notifications.address()
            if self.kernel.pid() != 1:
                # systemd-notify(1) speaks for the process that has called it, unless it is told that this is us.
                facts["MANAGERPID"] = str(self.kernel.pid())
        if role is MAIN and settings.fd_store_most:
            facts["FDSTORE"] = str(settings.fd_store_most)
        if role is MAIN and settings.watchdog:
            facts["WATCHDOG_USEC"] = str(round(settings.watchdog * 1e6))
        if role is MAIN or service.state is State.START_PRE:
            facts |= service.called_for
        if role is CONTROL and MAIN in service.pids:
            facts["MAINPID"] = str(service.pids[MAIN])
        if role is CONTROL and service.state in (State.STOP, State.STOP_POST):
            facts |= outcome(service)
        return facts

    def _descriptors(self, service: Service) -> Iterator[tuple[int, str]]:
        """Descriptors and their names, in the order of the units and of the lines in them."""
        if service.accepted and service.socket and service.accepted.fd >= 0:
            yield service.accepted.fd, fd_name(service.socket.unit)
        elif service.socket is None:
            for unit in self.work.units.sockets_of(service.unit):
                for port in self.work.sockets[unit.name].ports:
                    yield port.fd, port.port.fd_name

    # The end of processes

    def ended(self, service: Service, role: str, how: Exit) -> None:
        """A process has ended: what it was, and what that stands for."""
        settings = service.unit.service
        if role is CONTROL:
            self._command_ended(service, how)
            return
        forgiven, daemon = "-" in service.main_command.prefixes, settings.type != "oneshot"
        result = limits.result_of(how, forgiven, settings.success_statuses, daemon)
        self.log(INFO if result == SUCCESS else WARNING, service.name, f"ended: {told(how)}")
        if self.main.is_replaced(service):
            return
        service.ended = how
        if result != SUCCESS:
            self._fail(service, result, how)
        self.work.post(service, Event.MAIN_EXITED, service.state)

    def oom_killed(self, service: Service) -> None:
        """The kernel has killed a process of it: what that stands for comes before what the end of the process would."""
        self.work.report_oom(service)
        if service.unit.service.oom_policy != "continue":
            service.fail(limits.OOM_KILL)
        self.work.post(service, Event.OOM_KILLED)

    def _fail(self, service: Service, result: str, how: Exit) -> None:
        service.fail(result)
        service.cause = service.cause or (how if how.status else None)

    def _command_ended(self, service: Service, how: Exit) -> None:
        service.command_ended = how
        result = service.command_result
        if result != SUCCESS:
            self.log(WARNING, service.name, f"{service.command.source}: {told(how)}")
            skips = service.state is State.CONDITION and 0 < how.code < 255
            if service.state not in (State.RELOAD, State.RELOAD_POST):
                self._fail(service, limits.CONDITION if skips else result, how)
        elif service.state is State.START:
            self.main.look(service)
            return
        self.work.post(service, Event.CONTROL_EXITED, service.state)

    # States

    def entered(self, service: Service) -> None:
        """What every arrival in a state brings with it."""
        if service.has_failed:
            killed = service.ended if service.ended and service.ended.status else None
            service.failure = service.cause or killed or Exit(code=1)
        if service.state is State.START_POST:
            self.watch_dog(service)
        elif service.state is State.RUNNING:
            self.log(DEBUG, service.name, "is running")
            self.main.look_late(service)
        elif service.over or service.state is State.AUTO_RESTART:
            self._rest(service)

    def _rest(self, service: Service) -> None:
        self.work.processes.forget(service)
        self.work.release(service, restarts=not service.over)
        self.main.forget(service)
        if service.unit.service.pid_file:
            self.main.remove_file(service.unit.service.pid_file)
        self.feed_dog(service, 0.0)
        service.heard_instead = ""
        keeps = service.unit.service.fd_store_preserve
        if keeps == "no" or (keeps == "restart" and service.over):
            self.drop_stored(service)
        if not service.over:
            return
        service.restarts, service.debugs, service.called_for = 0, False, {}
        if service.accepted:
            self._forget(service)

    def _arm_restart(self, service: Service) -> None:
        settings = service.unit.service
        if service.starved:
            self.work.arm(service, 1.0, Event.TIMEOUT)
            return
        service.restarts += 1
        service.debugs = settings.restart_mode == "debug"
        most, steps = settings.restart_delay_most, settings.restart_steps
        seconds = limits.delay(service.restarts, settings.restart_delay, most, steps)
        seconds += settings.restart_spread * limits.share(service.invocation)
        self.log(INFO, service.name, f"restarting in {seconds:g} s")
        self.work.arm(service, seconds, Event.TIMEOUT)

    def _report_limit(self, service: Service) -> None:
        unit = service.unit.unit
        rate = f"{unit.start_limit_burst} in {unit.start_limit_interval:g} s"
        self.log(ERROR, service.name, f"failed: started more often than StartLimitBurst= allows ({rate})")
        service.result = limits.START_LIMIT
        self.tell(service, SocketEvent.SERVICE_LIMIT)

    def tell(self, service: Service, event: SocketEvent) -> None:
        """Tell the sockets of a service; the instance for a connection has none."""
        for unit in self.work.units.sockets_of(service.unit) if service.socket is None else ():
            if event is not SocketEvent.SERVICE_DOWN or not self._is_held(unit.name, service):
                self.work.post(self.work.sockets[unit.name], event)

    def _is_held(self, socket: str, but: Service) -> bool:
        """Whether another service has the socket, too, and runs."""
        others = (self.work.services[name] for name in self.work.units.fed_by(socket) if name != but.name)
        return any(not other.over and other.state is not State.AUTO_RESTART for other in others)

    # Watchdog, stored descriptors, connections

    def watch_dog(self, service: Service) -> None:
        """Wait for the next WATCHDOG=1."""
        self.feed_dog(service, service.watchdog_interval)

    def feed_dog(self, service: Service, seconds: float) -> None:
        if service.watchdog:
            service.watchdog.cancel()
        bite = partial(self.work.post, service, Event.WATCHDOG)
        service.watchdog = self.work.loop.after(seconds, bite) if 0 < seconds < FOREVER else None

    def drop_stored(self, service: Service) -> None:
        """Close what the service has left with us."""
        for stored in service.stored:
            self.work.loop.close(stored.fd)
        service.stored.clear()

    def _forget(self, service: Service) -> None:
        """An instance ends with its connection."""
        self._release_connection(service)
        self.drop_stored(service)
        assert service.socket is not None
        service.socket.sources.pop(service.name, None)
        self.work.services.pop(service.name, None)

    def _release_connection(self, service: Service) -> None:
        if service.accepted and service.accepted.fd >= 0:
            self.kernel.close(service.accepted.fd)
            service.accepted = service.accepted.replace(fd=-1)


def _for_whom(service: Service) -> str:
    return f", for {connection.who(service.accepted.peer)}" if service.accepted else ""


def outcome(service: Service) -> dict[str, str]:
    """How the service ended, for ExecStop= and ExecStopPost= (systemd.exec(5), $SERVICE_RESULT)."""
    found = {"SERVICE_RESULT": service.result}
    ended = service.ended
    if ended:
        found["EXIT_CODE"] = "dumped" if ended.dumped else "killed" if ended.signal else "exited"
        found["EXIT_STATUS"] = linux.signal_name(ended.signal).removeprefix("SIG") if ended.signal else str(ended.code)
    return found
