"""Units at work: the state of a socket or service while it runs, and the facts its machine decides by.

Plain holders without a system call: what they know, those have told them who carry out the effects.
"""

from __future__ import annotations

from sockact.lifecycle import connection, limits
from sockact.lifecycle import service as service_machine
from sockact.lifecycle import socket as socket_machine
from sockact.lifecycle.limits import SUCCESS, Exit, Window
from sockact.lifecycle.service import Event as ServiceEvent
from sockact.lifecycle.service import State as ServiceState
from sockact.lifecycle.socket import Event as SocketEvent
from sockact.lifecycle.socket import State as SocketState
from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.runtime.listeners import OpenPort
    from sockact.runtime.loop import Timer
    from sockact.unit.commands import Command
    from sockact.unit.directives.service import ServiceSection
    from sockact.unit.directives.socket import SocketSection
    from sockact.unit.gather import Template
    from sockact.unit.load import ServiceUnit, SocketUnit


MAIN, CONTROL = "main", "control"
"""What a process is for its unit: the one that does the work, or the one that runs its other commands."""
UP = (
    *(ServiceState.RUNNING, ServiceState.EXITED),
    *(ServiceState.RELOAD, ServiceState.RELOAD_SIGNAL, ServiceState.RELOAD_NOTIFY, ServiceState.RELOAD_POST),
)
"""States in which a service has started."""


class Accepted(Record):
    """A connection that waits to be served or refused."""

    fd: int
    peer: connection.Peer
    port: OpenPort


class Stored(Record):
    """A descriptor that a service left with us (sd_notify(3), FDSTORE=1)."""

    name: str
    fd: int
    polled: bool


class Unit:
    """What sockets and services have in common: processes, commands that run one after the other, a timer, a result."""

    name: str

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        """The processes that are its commands, by what they are: main, control."""
        self.invocation = ""
        """The name of this start, which all its processes have in their environment."""
        self.commands: tuple[Command, ...] = ()
        """The commands of the state, which the control process runs."""
        self.index = 0
        """Which of them runs."""
        self.command_ended = Exit()
        self.result = SUCCESS
        self.timer: Timer | None = None
        self.starved = False
        """Whether no process could be made for want of something that others may give back."""

    @property
    def command(self) -> Command:
        return self.commands[self.index]

    @property
    def command_result(self) -> str:
        """What the end of the last command stands for."""
        return limits.result_of(self.command_ended, "-" in self.command.prefixes)

    def fail(self, result: str) -> None:
        """Note what went wrong, if nothing has before."""
        if self.result == SUCCESS:
            self.result = result


class Socket(Unit):
    """A socket unit at work."""

    def __init__(self, unit: SocketUnit, template: Template | None) -> None:
        super().__init__()
        self.unit = unit
        self.name = unit.name
        self.template = template
        self.state = SocketState.DEAD
        self.ports: list[OpenPort] = []
        self.window = Window()
        self.sources: dict[str, object] = {}
        """The instances at work, and whom their connections count for."""
        self.accepted = 0

    @property
    def section(self) -> SocketSection:
        """What its commands run in, and how they are ended."""
        return self.unit.socket

    @property
    def over(self) -> bool:
        return self.state in (SocketState.DEAD, SocketState.FAILED)

    @property
    def settled(self) -> bool:
        """Whether it waits for the world, and not for itself."""
        return self.over or self.state in (SocketState.LISTENING, SocketState.RUNNING, SocketState.PAUSED, SocketState.STOPPING)

    def commands_of(self, state: SocketState) -> tuple[Command, ...]:
        settings = self.unit.socket
        return {
            SocketState.START_PRE: settings.exec_start_pre,
            SocketState.START_POST: settings.exec_start_post,
            SocketState.STOP_PRE: settings.exec_stop_pre,
            SocketState.STOP_POST: settings.exec_stop_post,
        }[state]

    def facts(self, event: SocketEvent, accepted: Accepted | None, leftovers: bool, now: float) -> socket_machine.Facts:
        """What the guards may know at this event, which is counted if the trigger limit counts such events."""
        settings = self.unit.socket
        source = connection.source(accepted.peer) if accepted else None
        return socket_machine.Facts(
            accept=settings.accept,
            limited=self._limited(event, now),
            pauses=self.unit.own.trigger_limit_action == "pause",
            connections=len(self.sources),
            most=settings.max_connections,
            from_source=sum(other == source for other in self.sources.values()) if settings.max_connections_per_source else 0,
            most_from_source=settings.max_connections_per_source,
            flushes=settings.flush_pending,
            hands_over=settings.pass_to_exec and bool(settings.exec_stop_post),
            command_failed=event is SocketEvent.EXITED and self.command_result != SUCCESS,
            leftovers=leftovers and settings.kill_mode in ("control-group", "mixed"),
            failed=self.result != SUCCESS,
        )

    def _limited(self, event: SocketEvent, now: float) -> bool:
        settings = self.unit.socket
        counted = SocketEvent.CONNECTED if settings.accept else SocketEvent.READABLE
        if event is not counted or self.state is not SocketState.LISTENING:
            return False
        burst = settings.trigger_limit_burst
        limited, self.window = limits.count(self.window, now, settings.trigger_limit_interval, burst)
        if settings.accept and self.unit.own.trigger_limit_action == "pause":
            # What is accepted has to be served: the pause begins with the last one that is allowed.
            return 0 < burst <= self.window.count
        return limited


class Service(Unit):
    """A service at work: one of a unit, or the instance for one connection."""

    def __init__(self, unit: ServiceUnit, socket: Socket | None = None, accepted: Accepted | None = None) -> None:
        super().__init__()
        self.unit = unit
        self.name = unit.name
        self.socket = socket
        self.accepted = accepted
        self.state = ServiceState.DEAD
        self.window = Window()
        self.restarts = 0
        """How often in a row it was restarted by itself, or since it has said that this is to be forgotten."""
        self.debugs = False
        """Whether it is being restarted to be looked at (RestartMode=debug)."""
        self.began = 0.0
        self.main_index = 0
        """Which of the ExecStart= commands runs."""
        self.ended: Exit | None = None
        """How the main process ended."""
        self.cause: Exit | None = None
        """The first end of a process that was a failure."""
        self.failure = Exit()
        self.main_known = False
        self.alien = -1
        """A pidfd of a main process that is no child of ours."""
        self.reload_began = 0.0
        """When it was told to reload, by CLOCK_MONOTONIC, in microseconds."""
        self.says = ""
        """What it has announced last: reloading, stopping."""
        self.heard_instead = ""
        """Whose messages are heard by its own word (NOTIFYACCESS=), until it ends."""
        self.called_for: dict[str, str] = {}
        """How the unit ended for whose end it was started, for the environment."""
        self.watchdog: Timer | None = None
        self.watchdog_interval = 0.0
        self.stored: list[Stored] = []
        self.unmet = ""
        """The condition of [Unit] that does not hold."""
        self.is_asserted = False
        """Whether that is a failure."""
        self.stop_asked = False
        self.hurried = False

    @property
    def section(self) -> ServiceSection:
        """What its commands run in, and how they are ended."""
        return self.unit.service

    @property
    def over(self) -> bool:
        return self.state in (ServiceState.DEAD, ServiceState.FAILED)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended for others, for good or to be restarted. To try again for want of a process is no end."""
        passes = self.unit.service.restart_mode != "direct" and not self.starved
        return self.over or (self.state is ServiceState.AUTO_RESTART and passes)

    @property
    def has_failed(self) -> bool:
        """Whether that end was a failure."""
        failed = self.result not in (SUCCESS, limits.CONDITION)
        return self.state is ServiceState.FAILED or (self.has_ended and not self.over and failed)

    @property
    def has_run(self) -> bool:
        """Whether it has got as far as to do what it is there for; without ExecStart=, that is to have been started."""
        begun = self.ended is not None or not self.unit.service.exec_start
        return begun and not self.unmet and self.result != limits.CONDITION

    @property
    def heard(self) -> str:
        """Whose messages are heard, as NotifyAccess= names them."""
        return self.heard_instead or self.unit.service.heard

    @property
    def command_result(self) -> str:
        settings, forks = self.unit.service, self.state is ServiceState.START
        return limits.result_of(self.command_ended, "-" in self.command.prefixes, settings.success_statuses, daemon=forks)

    @property
    def main_command(self) -> Command:
        return self.unit.service.exec_start[self.main_index]

    @property
    def has_more_commands(self) -> bool:
        return self.main_index + 1 < len(self.unit.service.exec_start)

    def commands_of(self, state: ServiceState) -> tuple[Command, ...]:
        settings = self.unit.service
        return {
            ServiceState.CONDITION: settings.exec_condition,
            ServiceState.START_PRE: settings.exec_start_pre,
            ServiceState.START_POST: settings.exec_start_post,
            ServiceState.RELOAD: settings.exec_reload,
            ServiceState.RELOAD_POST: settings.exec_reload_post,
            ServiceState.STOP: settings.exec_stop,
            ServiceState.STOP_POST: settings.exec_stop_post,
        }[state]

    @property
    def reload(self) -> str:
        """How it reloads, if it can."""
        settings = self.unit.service
        if settings.type == "notify-reload":
            return "both" if settings.exec_reload else "signal"
        return "commands" if settings.exec_reload else ""

    @property
    def timeout_mode(self) -> str:
        """What is done when the time of its state is up."""
        settings = self.unit.service
        return settings.timeout_start_mode if self.state in service_machine.STARTING else settings.timeout_stop_mode

    @property
    def restarts_itself(self) -> bool:
        """Whether it is started again after its result."""
        settings = self.unit.service
        # A oneshot service whose success starts it again would never be done.
        force = () if settings.type == "oneshot" and self.result == SUCCESS else settings.restart_force
        return self.starved or limits.restarts(settings.restart, self.result, self.ended, settings.restart_prevent, force)

    def starts(self, event: ServiceEvent) -> bool:
        """Whether this event is to start it, by itself or by somebody else."""
        again = event is ServiceEvent.TIMEOUT and self.state is ServiceState.AUTO_RESTART
        return again or (event is ServiceEvent.START and self.over)

    def limited(self, event: ServiceEvent, now: float) -> bool:
        """Count the event, if the start limit counts such events; whether it is one too many."""
        if self.unmet or self.starved or not self.starts(event):
            return False
        unit = self.unit.unit
        limited, self.window = limits.count(self.window, now, unit.start_limit_interval, unit.start_limit_burst)
        return limited


class Findings:
    """The facts about a service at an event. Most guards ask for one or two; each is found out when it is asked for, once."""

    def __init__(
        self, service: Service, event: ServiceEvent, leftovers: Callable[[Service], bool], now: Callable[[], float]
    ) -> None:
        self.service = service
        self.settings = service.unit.service
        self.event = event
        self.find_leftovers = leftovers
        self.now = now

    def __getattr__(self, name: str) -> object:
        found = self.__dict__[name] = FIND[name](self)
        return found


FIND: dict[str, Callable[[Findings], object]] = {
    "type": lambda at: at.settings.type,
    "kill_mode": lambda at: at.settings.kill_mode,
    "timeout_mode": lambda at: at.service.timeout_mode,
    "result": lambda at: at.service.result,
    "oom_policy": lambda at: at.settings.oom_policy,
    "restarts": lambda at: at.service.restarts_itself,
    "unmet": lambda at: bool(at.service.unmet),
    "limited": lambda at: at.service.limited(at.event, at.now()),
    "main": lambda at: MAIN in at.service.pids,
    "main_known": lambda at: at.service.main_known,
    "control": lambda at: CONTROL in at.service.pids,
    "leftovers": lambda at: at.find_leftovers(at.service),
    "exits_last": lambda at: at.settings.exit_type == "cgroup",
    "command_failed": lambda at: at.event is ServiceEvent.CONTROL_EXITED and at.service.command_result != SUCCESS,
    "more_commands": lambda at: at.service.has_more_commands,
    "without_main": lambda at: not at.settings.exec_start,
    "says": lambda at: at.service.says,
    "remains": lambda at: at.settings.remains,
    "kills_hard": lambda at: at.settings.send_sigkill,
    "reload": lambda at: at.service.reload,
    "stop_asked": lambda at: at.service.stop_asked,
    "hurried": lambda at: at.service.hurried,
}
"""How each of the facts is found."""
