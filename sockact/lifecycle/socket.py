"""What a socket unit does: its commands, opening, listening, waiting while its service runs, stopping, failed.

A port is watched for traffic in LISTENING only. The states and their names are those of systemd.socket(5), with two more:
STOPPING, in which the ports stay open until the services have ended, and PAUSED, which is TriggerLimitAction=pause. There is
one timer, which a transition into another state clears and an ARM_… effect sets.
"""

from __future__ import annotations

from sockact.lifecycle.machine import Machine, Row
from sockact.record import TYPE_CHECKING, Enum, Record

if TYPE_CHECKING:
    from collections.abc import Callable


class State(Enum):
    DEAD = "dead"
    START_PRE = "start-pre"
    OPENING = "start-open"
    START_POST = "start-post"
    LISTENING = "listening"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOP_PRE = "stop-pre"
    STOP_PRE_SIGTERM = "stop-pre-sigterm"
    STOP_PRE_SIGKILL = "stop-pre-sigkill"
    STOP_POST = "stop-post"
    FINAL_SIGTERM = "final-sigterm"
    FINAL_SIGKILL = "final-sigkill"
    FAILED = "failed"


class Event(Enum):
    START = "start"
    OPENED = "opened"
    OPEN_FAILED = "open failed"
    EXITED = "a command ended"
    DONE = "all commands have run"
    GROUP_GONE = "no process is left"
    TIMEOUT = "the timer ran out"
    READABLE = "a port is readable"
    CONNECTED = "a connection was accepted"
    BROKEN = "a port reports an error"
    SERVICE_UP = "the service runs"
    SERVICE_DOWN = "the service ended"
    SERVICE_LIMIT = "the service hit its start limit"
    STOP = "stop"
    HURRY = "stop at once"
    RELEASE = "all services have ended"


class Effect(Enum):
    RUN = "run the commands of the state"
    RUN_NEXT = "run the next command"
    ARM = "set the timer to TimeoutSec="
    ARM_PAUSE = "set the timer to the end of the trigger limit's window"
    KILL = "send KillSignal= to the command"
    KILL_HARD = "send SIGKILL to the command"
    OPEN = "open the ports"
    FLUSH = "drop what waits at the ports"
    WATCH = "watch the ports"
    UNWATCH = "watch the ports no more"
    CLOSE = "close the ports"
    ACCEPT = "accept a connection"
    SERVE = "start an instance for the connection"
    REFUSE = "close the connection"
    START_SERVICE = "start the service"
    FAIL_RESOURCES = "the result is resources"
    FAIL_TIMEOUT = "the result is a timeout"
    FAIL_TRIGGER_LIMIT = "the result is trigger-limit-hit"
    FAIL_SERVICE_LIMIT = "the result is service-start-limit-hit"
    REPORT_BROKEN = "say that a port reports an error"
    REPORT_PAUSE = "say that the trigger limit was hit"


class Facts(Record):
    """What the guards may know."""

    accept: bool
    limited: bool = False
    pauses: bool = False
    connections: int = 0
    most: int = 0
    from_source: int = 0
    most_from_source: int = 0
    flushes: bool = False
    hands_over: bool = False
    """Whether the commands get the sockets."""
    command_failed: bool = False
    leftovers: bool = False
    failed: bool = False


def trigger_limit_hit(facts: Facts) -> bool:
    return facts.limited and not facts.pauses


def trigger_limit_pauses(facts: Facts) -> bool:
    return facts.limited and facts.pauses


def accepts(facts: Facts) -> bool:
    return facts.accept


def crowded(facts: Facts) -> bool:
    """Too many connections, in all or from this source."""
    return facts.connections >= facts.most or 0 < facts.most_from_source <= facts.from_source


def flushes(facts: Facts) -> bool:
    return facts.flushes and not facts.accept


def hands_over(facts: Facts) -> bool:
    return facts.hands_over


def succeeded(facts: Facts) -> bool:
    return not facts.command_failed


def leaves_processes(facts: Facts) -> bool:
    return facts.leftovers


def failed(facts: Facts) -> bool:
    return facts.failed


_S, _E, _F = State, Event, Effect
_OPEN = (_S.LISTENING, _S.RUNNING, _S.PAUSED)
_OVER = (_S.DEAD, _S.FAILED)
_STARTING = (_S.START_PRE, _S.OPENING, _S.START_POST)
_COMMANDS = (_S.START_PRE, _S.START_POST, _S.STOP_PRE, _S.STOP_POST)
_KILLING = (_S.STOP_PRE_SIGTERM, _S.STOP_PRE_SIGKILL)
_FINAL = (_S.FINAL_SIGTERM, _S.FINAL_SIGKILL)
_ENDING = (_S.STOP_PRE, *_KILLING, _S.STOP_POST, *_FINAL)
_DEAF = (*_STARTING, _S.STOPPING, *_ENDING, *_OVER)
"""States in which neither traffic nor services change anything."""


def _listens(state: object, event: object) -> tuple[Row, ...]:
    """The rows by which a socket begins to listen."""
    return (
        Row(state, event, _S.LISTENING, (_F.FLUSH, _F.WATCH), guard=flushes),
        Row(state, event, _S.LISTENING, (_F.WATCH,)),
    )


def _closes(state: object, event: object, *before: Effect) -> tuple[Row, ...]:
    """The rows by which the ports are closed: behind the start of a command that is to have them, else in front of it."""
    return (
        Row(state, event, _S.STOP_POST, (*before, _F.RUN, _F.CLOSE), guard=hands_over),
        Row(state, event, _S.STOP_POST, (*before, _F.CLOSE, _F.RUN)),
    )


def _ends(state: object, event: object) -> tuple[Row, ...]:
    """The rows by which a socket ends, when nothing of its commands is left."""
    return (
        Row(state, event, _S.FAILED, guard=failed),
        Row(state, event, _S.DEAD),
    )


def _ends_clean(state: object, event: object) -> tuple[Row, ...]:
    """The rows by which a socket ends after its last command: what that left behind has to go first."""
    return (Row(state, event, _S.FINAL_SIGTERM, (_F.KILL, _F.ARM), guard=leaves_processes), *_ends(state, event))


ROWS = (
    # Starting: commands, the ports, commands.
    Row(_OVER, _E.START, _S.START_PRE, (_F.RUN,)),
    Row(_COMMANDS, _E.EXITED, None, (_F.RUN_NEXT,), guard=succeeded),
    Row(_S.START_PRE, _E.DONE, _S.OPENING, (_F.OPEN,)),
    *_ends_clean(_S.START_PRE, _E.EXITED),
    Row(_S.START_PRE, _E.TIMEOUT, _S.FINAL_SIGTERM, (_F.FAIL_TIMEOUT, _F.KILL, _F.ARM)),
    Row(_S.OPENING, _E.OPENED, _S.START_POST, (_F.RUN,)),
    Row(_S.OPENING, _E.OPEN_FAILED, _S.STOP_PRE, (_F.FAIL_RESOURCES, _F.RUN)),
    *_listens(_S.START_POST, _E.DONE),
    Row(_S.START_POST, _E.EXITED, _S.STOP_PRE, (_F.RUN,)),
    Row(_S.START_POST, _E.TIMEOUT, _S.STOP_PRE_SIGTERM, (_F.FAIL_TIMEOUT, _F.KILL, _F.ARM)),
    # Traffic. With Accept=yes the limit counts connections, otherwise activations.
    Row(_S.LISTENING, _E.READABLE, None, (_F.ACCEPT,), guard=accepts),
    Row(_S.LISTENING, _E.READABLE, _S.STOP_PRE, (_F.FAIL_TRIGGER_LIMIT, _F.UNWATCH, _F.RUN), guard=trigger_limit_hit),
    Row(_S.LISTENING, _E.READABLE, _S.PAUSED, (_F.REPORT_PAUSE, _F.UNWATCH, _F.ARM_PAUSE), guard=trigger_limit_pauses),
    Row(_S.LISTENING, _E.READABLE, _S.RUNNING, (_F.UNWATCH, _F.START_SERVICE)),
    Row(_S.LISTENING, _E.CONNECTED, _S.STOP_PRE, (_F.REFUSE, _F.FAIL_TRIGGER_LIMIT, _F.UNWATCH, _F.RUN), guard=trigger_limit_hit),
    Row(_S.LISTENING, _E.CONNECTED, None, (_F.REFUSE,), guard=crowded),
    Row(_S.LISTENING, _E.CONNECTED, _S.PAUSED, (_F.SERVE, _F.REPORT_PAUSE, _F.UNWATCH, _F.ARM_PAUSE), guard=trigger_limit_pauses),
    Row(_S.LISTENING, _E.CONNECTED, None, (_F.SERVE,)),
    Row(_S.LISTENING, _E.BROKEN, _S.STOP_PRE, (_F.REPORT_BROKEN, _F.FAIL_RESOURCES, _F.UNWATCH, _F.RUN)),
    # Two ports may become readable at once: the second one's event comes when the first has been answered.
    Row((_S.RUNNING, _S.PAUSED, *_DEAF), (_E.READABLE, _E.BROKEN)),
    Row(_DEAF, _E.CONNECTED, None, (_F.REFUSE,)),
    Row(_S.PAUSED, _E.CONNECTED, None, (_F.SERVE,)),
    Row(_S.PAUSED, _E.TIMEOUT, _S.LISTENING, (_F.WATCH,)),
    # The service, started by this socket, by another one, or by hand.
    Row(_S.LISTENING, _E.SERVICE_UP, _S.RUNNING, (_F.UNWATCH,)),
    Row(_S.PAUSED, _E.SERVICE_UP, _S.RUNNING),
    Row(_S.RUNNING, _E.SERVICE_UP),
    *_listens(_S.RUNNING, _E.SERVICE_DOWN),
    Row((_S.LISTENING, _S.PAUSED), _E.SERVICE_DOWN),
    Row(_OPEN, _E.SERVICE_LIMIT, _S.STOP_PRE, (_F.FAIL_SERVICE_LIMIT, _F.UNWATCH, _F.RUN)),
    Row(_DEAF, (_E.SERVICE_UP, _E.SERVICE_DOWN, _E.SERVICE_LIMIT)),
    # Stopping: no more traffic, but the ports stay open until the services have ended.
    Row(_OPEN, (_E.STOP, _E.HURRY), _S.STOPPING, (_F.UNWATCH,)),
    Row((_S.START_PRE, _S.START_POST), _E.STOP, _S.STOP_PRE_SIGTERM, (_F.KILL, _F.ARM)),
    Row((_S.START_PRE, _S.START_POST), _E.HURRY, _S.STOP_PRE_SIGKILL, (_F.KILL_HARD, _F.ARM)),
    Row(_S.STOPPING, _E.RELEASE, _S.STOP_PRE, (_F.RUN,)),
    Row((*_STARTING, *_ENDING, *_OVER), _E.RELEASE),
    Row((_S.STOPPING, *_ENDING, *_OVER), _E.STOP),
    # Closing: commands, the ports, commands; what fails is noted, and changes nothing.
    *_closes(_S.STOP_PRE, _E.DONE),
    *_closes((_S.STOP_PRE, *_KILLING), _E.EXITED),
    Row(_S.STOP_PRE, _E.TIMEOUT, _S.STOP_PRE_SIGTERM, (_F.FAIL_TIMEOUT, _F.KILL, _F.ARM)),
    Row(_S.STOP_PRE_SIGTERM, _E.TIMEOUT, _S.STOP_PRE_SIGKILL, (_F.FAIL_TIMEOUT, _F.KILL_HARD, _F.ARM)),
    *_closes(_S.STOP_PRE_SIGKILL, _E.TIMEOUT, _F.FAIL_TIMEOUT),
    *_ends_clean(_S.STOP_POST, (_E.EXITED, _E.DONE)),
    Row(_S.STOP_POST, _E.TIMEOUT, _S.FINAL_SIGTERM, (_F.FAIL_TIMEOUT, _F.KILL, _F.ARM)),
    # What the commands have left behind.
    Row(_S.FINAL_SIGTERM, (_E.EXITED, _E.GROUP_GONE), None, guard=leaves_processes),
    # The death of one may be what shows us another.
    Row(_S.FINAL_SIGKILL, (_E.EXITED, _E.GROUP_GONE), None, (_F.KILL_HARD,), guard=leaves_processes),
    *_ends(_FINAL, (_E.EXITED, _E.GROUP_GONE)),
    Row(_S.FINAL_SIGTERM, _E.TIMEOUT, _S.FINAL_SIGKILL, (_F.FAIL_TIMEOUT, _F.KILL_HARD, _F.ARM)),
    # What survives SIGKILL hangs in the kernel; waiting on would help nobody.
    Row(_S.FINAL_SIGKILL, _E.TIMEOUT, _S.FAILED),
    Row((_S.STOP_PRE, _S.STOP_PRE_SIGTERM), _E.HURRY, _S.STOP_PRE_SIGKILL, (_F.KILL_HARD, _F.ARM)),
    Row((_S.STOP_POST, _S.FINAL_SIGTERM), _E.HURRY, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM)),
    Row((_S.STOPPING, _S.STOP_PRE_SIGKILL, _S.FINAL_SIGKILL, *_OVER), _E.HURRY),
    # The last of what a command left behind goes while something else is awaited.
    Row((*_STARTING, *_OPEN, _S.STOPPING, _S.STOP_PRE, *_KILLING, _S.STOP_POST, *_OVER), _E.GROUP_GONE),
)

_OPENING_IS_SHORT = "opening is decided before any other event is looked at"
_NO_COMMAND = "no command runs"
IMPOSSIBLE: dict[tuple[State, Event], str] = {
    **{(state, _E.START): "an open socket is not started again" for state in _S if state not in _OVER},
    **{(state, event): "nothing was opened" for state in _S if state is not _S.OPENING for event in (_E.OPENED, _E.OPEN_FAILED)},
    **{(state, _E.EXITED): _NO_COMMAND for state in (_S.OPENING, *_OPEN, _S.STOPPING, *_OVER)},
    **{(state, _E.DONE): _NO_COMMAND for state in _S if state not in _COMMANDS},
    **{(state, _E.TIMEOUT): "no timer is set" for state in (_S.OPENING, _S.LISTENING, _S.RUNNING, _S.STOPPING, *_OVER)},
    **{(state, _E.CONNECTED): "connections are accepted while listening" for state in (_S.RUNNING,)},
    **{(state, _E.RELEASE): "released after STOP only" for state in _OPEN},
    **{(_S.OPENING, event): _OPENING_IS_SHORT for event in (_E.STOP, _E.HURRY)},
}

MACHINE = Machine(ROWS, IMPOSSIBLE)


def step(state: State, event: Event, find: Callable[[], Facts]) -> tuple[State, tuple[Effect, ...]]:
    """The state after the event, and what is to be done; the facts are asked for if that depends on them."""
    return MACHINE.step(state, event, find)
