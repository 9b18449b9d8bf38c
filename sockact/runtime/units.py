"""Units at work: the state of a socket or service while it runs, and the facts its machine decides by.

Plain holders without a system call: what they know, the supervisor has told them.
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
    from sockact.runtime.listeners import OpenPort
    from sockact.runtime.loop import Timer
    from sockact.unit.gather import Template
    from sockact.unit.load import ServiceUnit, SocketUnit
    from sockact.unit.values import Command


class Accepted(Record):
    """A connection that waits to be served or refused."""

    fd: int
    peer: connection.Peer
    port: OpenPort


class Socket:
    """A socket unit at work."""

    def __init__(self, unit: SocketUnit, template: Template | None) -> None:
        self.unit = unit
        self.template = template
        self.state = SocketState.DEAD
        self.ports: list[OpenPort] = []
        self.window = Window()
        self.sources: dict[str, object] = {}
        """The instances at work, and whom their connections count for."""
        self.accepted = 0

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def over(self) -> bool:
        return self.state in (SocketState.DEAD, SocketState.FAILED)

    def facts(self, event: SocketEvent, accepted: Accepted | None, now: float) -> socket_machine.Facts:
        """What the guards may know at this event, which is counted if the trigger limit counts such events."""
        settings = self.unit.socket
        source = connection.source(accepted.peer) if accepted else None
        return socket_machine.Facts(
            settings.accept,
            self._limited(event, now),
            len(self.sources),
            settings.max_connections,
            sum(other == source for other in self.sources.values()) if settings.max_connections_per_source else 0,
            settings.max_connections_per_source,
        )

    def _limited(self, event: SocketEvent, now: float) -> bool:
        settings = self.unit.socket
        counted = SocketEvent.CONNECTED if settings.accept else SocketEvent.READABLE
        if event is not counted or self.state is not SocketState.LISTENING:
            return False
        limited, self.window = limits.count(self.window, now, settings.trigger_limit_interval, settings.trigger_limit_burst)
        return limited


class Service:
    """A service at work: one of a unit, or the instance for one connection."""

    def __init__(self, unit: ServiceUnit, socket: Socket | None = None, accepted: Accepted | None = None) -> None:
        self.unit = unit
        self.socket = socket
        self.accepted = accepted
        self.state = ServiceState.DEAD
        self.window = Window()
        self.index = 0
        """Which of its commands runs."""
        self.pid = 0
        self.group = 0
        """The process group, which may outlive the main process."""
        self.result = SUCCESS
        self.ended = Exit()
        self.failure = Exit()
        self.timer: Timer | None = None
        self.stop_asked = False

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def command(self) -> Command:
        return self.unit.service.exec_start[self.index]

    @property
    def has_more_commands(self) -> bool:
        return self.index + 1 < len(self.unit.service.exec_start)

    @property
    def over(self) -> bool:
        return self.state in (ServiceState.DEAD, ServiceState.FAILED)

    def facts(self, event: ServiceEvent, leftovers: bool, now: float) -> service_machine.Facts:
        """What the guards may know at this event, which is counted if the start limit counts such events."""
        settings = self.unit.service
        if event is ServiceEvent.EXITED and self.result == SUCCESS:
            self.result = service_machine.result_of(self.ended, self.state, settings.type, "-" in self.command.prefixes)
        return service_machine.Facts(
            settings.type,
            settings.restart,
            settings.kill_mode,
            self.result,
            self._limited(event, now),
            leftovers,
            self.has_more_commands,
            self.stop_asked,
        )

    def _limited(self, event: ServiceEvent, now: float) -> bool:
        restarts = event is ServiceEvent.TIMEOUT and self.state is ServiceState.AUTO_RESTART
        if not restarts and not (event is ServiceEvent.START and self.over):
            return False
        unit = self.unit.unit
        limited, self.window = limits.count(self.window, now, unit.start_limit_interval, unit.start_limit_burst)
        return limited
