"""What a socket unit does: closed, opening, listening, waiting while its service runs, stopping, failed.

A port is watched for traffic in LISTENING only. The names of states are those of systemd.socket(5) as far as both have them.
"""

from __future__ import annotations

from enum import Enum

from sockact.lifecycle.machine import Machine, Row
from sockact.record import Record


class State(Enum):
    DEAD = "dead"
    OPENING = "start-open"
    LISTENING = "listening"
    RUNNING = "running"
    STOPPING = "stop-pre"
    FAILED = "failed"


class Event(Enum):
    START = "start"
    OPENED = "opened"
    OPEN_FAILED = "open failed"
    READABLE = "a port is readable"
    CONNECTED = "a connection was accepted"
    BROKEN = "a port reports an error"
    SERVICE_UP = "the service runs"
    SERVICE_DOWN = "the service ended"
    SERVICE_LIMIT = "the service hit its start limit"
    STOP = "stop"
    RELEASE = "all services have ended"


class Effect(Enum):
    OPEN = "open the ports"
    WATCH = "watch the ports"
    UNWATCH = "watch the ports no more"
    CLOSE = "close the ports"
    ACCEPT = "accept a connection"
    SERVE = "start an instance for the connection"
    REFUSE = "close the connection"
    START_SERVICE = "start the service"
    REPORT_TRIGGER_LIMIT = "say that the trigger limit was hit"
    REPORT_SERVICE_LIMIT = "say that the service hit its start limit"
    REPORT_BROKEN = "say that a port reports an error"


class Facts(Record):
    """What the guards may know."""

    accept: bool
    limited: bool = False
    connections: int = 0
    most: int = 0
    from_source: int = 0
    most_from_source: int = 0


def trigger_limit_hit(facts: Facts) -> bool:
    return facts.limited


def accepts(facts: Facts) -> bool:
    return facts.accept


def crowded(facts: Facts) -> bool:
    """Too many connections, in all or from this source."""
    return facts.connections >= facts.most or 0 < facts.most_from_source <= facts.from_source


_S, _E, _F = State, Event, Effect
_SHUT = (_F.UNWATCH, _F.CLOSE)
_OPEN_STATES = (_S.LISTENING, _S.RUNNING)
_CLOSED_STATES = (_S.DEAD, _S.FAILED)

ROWS = (
    Row(_CLOSED_STATES, _E.START, _S.OPENING, (_F.OPEN,)),
    Row(_S.OPENING, _E.OPENED, _S.LISTENING, (_F.WATCH,)),
    Row(_S.OPENING, _E.OPEN_FAILED, _S.FAILED),
    # Traffic. With Accept=yes the limit counts connections, otherwise activations; hitting it fails the unit.
    Row(_S.LISTENING, _E.READABLE, None, (_F.ACCEPT,), guard=accepts),
    Row(_S.LISTENING, _E.READABLE, _S.FAILED, (_F.REPORT_TRIGGER_LIMIT, *_SHUT), guard=trigger_limit_hit),
    Row(_S.LISTENING, _E.READABLE, _S.RUNNING, (_F.UNWATCH, _F.START_SERVICE)),
    Row(_S.LISTENING, _E.CONNECTED, _S.FAILED, (_F.REFUSE, _F.REPORT_TRIGGER_LIMIT, *_SHUT), guard=trigger_limit_hit),
    Row(_S.LISTENING, _E.CONNECTED, None, (_F.REFUSE,), guard=crowded),
    Row(_S.LISTENING, _E.CONNECTED, None, (_F.SERVE,)),
    Row(_S.LISTENING, _E.BROKEN, _S.FAILED, (_F.REPORT_BROKEN, *_SHUT)),
    # Two ports may become readable at once: the second one's event comes when the first has been answered.
    Row((_S.RUNNING, _S.STOPPING, *_CLOSED_STATES), (_E.READABLE, _E.BROKEN)),
    Row(_S.STOPPING, _E.CONNECTED, None, (_F.REFUSE,)),
    # The service, started by this socket, by another one, or by hand.
    Row(_S.LISTENING, _E.SERVICE_UP, _S.RUNNING, (_F.UNWATCH,)),
    Row(_S.RUNNING, _E.SERVICE_UP),
    Row(_S.RUNNING, _E.SERVICE_DOWN, _S.LISTENING, (_F.WATCH,)),
    Row(_S.LISTENING, _E.SERVICE_DOWN),
    Row(_OPEN_STATES, _E.SERVICE_LIMIT, _S.FAILED, (_F.REPORT_SERVICE_LIMIT, *_SHUT)),
    Row((_S.STOPPING, *_CLOSED_STATES), (_E.SERVICE_UP, _E.SERVICE_DOWN, _E.SERVICE_LIMIT)),
    # Stopping: no more traffic, but the ports stay open until the services have ended.
    Row(_OPEN_STATES, _E.STOP, _S.STOPPING, (_F.UNWATCH,)),
    Row(_S.STOPPING, _E.RELEASE, _S.DEAD, (_F.CLOSE,)),
    Row((_S.STOPPING, *_CLOSED_STATES), _E.STOP),
    Row(_CLOSED_STATES, _E.RELEASE),
)

_OPENING_IS_SHORT = "opening is decided before any other event is looked at"
IMPOSSIBLE: dict[tuple[State, Event], str] = {
    **{(_S.OPENING, event): _OPENING_IS_SHORT for event in _E if event not in (_E.OPENED, _E.OPEN_FAILED)},
    **{(state, _E.START): "an open socket is not started again" for state in (*_OPEN_STATES, _S.STOPPING)},
    **{(state, event): "nothing was opened" for state in _S if state is not _S.OPENING for event in (_E.OPENED, _E.OPEN_FAILED)},
    **{(state, _E.CONNECTED): "connections are accepted while listening" for state in (_S.RUNNING, *_CLOSED_STATES)},
    **{(state, _E.RELEASE): "released after STOP only" for state in _OPEN_STATES},
}

MACHINE = Machine(ROWS, IMPOSSIBLE)


def step(state: State, event: Event, facts: Facts) -> tuple[State, tuple[Effect, ...]]:
    """The state after the event, and what is to be done."""
    return MACHINE.step(state, event, facts)
