"""What a service does: starting, running, stopping in steps, waiting to be restarted, ended.

The end of the main process is not the end of the service while other processes of it are left: those are asked to go, then
killed. Names of states are those of systemd.service(5) as far as both have them. There is one timer, which a transition
into another state clears and an ARM_… effect sets.
"""

from __future__ import annotations

from enum import Enum

from sockact.lifecycle.limits import PROTOCOL, RESTARTS, SUCCESS
from sockact.lifecycle.machine import Machine, Row
from sockact.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockact.lifecycle.limits import Exit


class State(Enum):
    DEAD = "dead"
    START = "start"
    RUNNING = "running"
    STOP_SIGTERM = "stop-sigterm"
    STOP_SIGKILL = "stop-sigkill"
    FINAL_SIGTERM = "final-sigterm"
    FINAL_SIGKILL = "final-sigkill"
    AUTO_RESTART = "auto-restart"
    FAILED = "failed"


class Event(Enum):
    START = "start"
    EXECUTED = "the program runs"
    READY = "READY=1"
    STOPPING = "STOPPING=1"
    EXITED = "the main process ended"
    GROUP_GONE = "no process is left"
    TIMEOUT = "the timer ran out"
    STOP = "stop"
    HURRY = "stop at once"


class Effect(Enum):
    SPAWN = "run the first command"
    SPAWN_NEXT = "run the next command"
    ARM_START = "set the timer to TimeoutStartSec="
    ARM_STOP = "set the timer to TimeoutStopSec="
    ARM_RESTART = "set the timer to RestartSec="
    KILL = "send KillSignal= to whom KillMode= says"
    KILL_LEFTOVERS = "send KillSignal= to the processes left over"
    KILL_HARD = "send SIGKILL to all that KillMode= reaches"
    FAIL_TIMEOUT = "the result is a timeout"
    TELL_UP = "tell the sockets that the service runs"
    TELL_DOWN = "tell the sockets that the service ended"
    TELL_LIMIT = "tell the sockets that the start limit was hit"


class Facts(Record):
    """What the guards may know. `result` is the first thing that went wrong, or success."""

    type: str
    restart: str
    kill_mode: str
    result: str = SUCCESS
    limited: bool = False
    leftovers: bool = False
    more_commands: bool = False
    stop_asked: bool = False


def result_of(ended: Exit, state: State, type: str, forgiven: bool) -> str:
    """The result that the end of the main process stands for. A notify service that ends well before it said READY=1
    broke the protocol; a command written with `-` cannot fail."""
    if state is State.START and type == "notify" and ended.result == SUCCESS:
        return PROTOCOL
    return SUCCESS if forgiven else ended.result


def start_limit_hit(facts: Facts) -> bool:
    return facts.limited


def runs_at_once(facts: Facts) -> bool:
    return facts.type == "simple"


def runs_when_executed(facts: Facts) -> bool:
    return facts.type == "exec"


def runs_when_ready(facts: Facts) -> bool:
    return facts.type == "notify"


def goes_on(facts: Facts) -> bool:
    """A oneshot service with commands still to run."""
    return facts.more_commands and facts.result == SUCCESS


def leaves_processes(facts: Facts) -> bool:
    return facts.leftovers and facts.kill_mode == "control-group"


def leaves_processes_to_kill(facts: Facts) -> bool:
    return facts.leftovers and facts.kill_mode == "mixed"


def stays_untouched(facts: Facts) -> bool:
    return facts.kill_mode == "none"


def restarts(facts: Facts) -> bool:
    return not facts.stop_asked and facts.result in RESTARTS[facts.restart]


def failed(facts: Facts) -> bool:
    return facts.result != SUCCESS


_S, _E, _F = State, Event, Effect


def _starts(state: object, event: Event) -> tuple[Row, ...]:
    """The rows by which a service starts, or may not start any more."""
    return (
        Row(state, event, _S.FAILED, (_F.TELL_LIMIT,), guard=start_limit_hit),
        Row(state, event, _S.RUNNING, (_F.SPAWN, _F.TELL_UP), guard=runs_at_once),
        Row(state, event, _S.START, (_F.SPAWN, _F.ARM_START)),
    )


def _ends(state: object, event: Event, guard: Callable[[Facts], bool] | None = None) -> tuple[Row, ...]:
    """The rows by which a service ends: restarted later, failed, or dead."""

    def also(test: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
        return test if guard is None else lambda facts: guard(facts) and test(facts)

    return (
        Row(state, event, _S.AUTO_RESTART, (_F.ARM_RESTART, _F.TELL_DOWN), guard=also(restarts)),
        Row(state, event, _S.FAILED, (_F.TELL_DOWN,), guard=also(failed)),
        Row(state, event, _S.DEAD, (_F.TELL_DOWN,), guard=guard),
    )


_ENDED = (_S.DEAD, _S.FAILED)
_ALIVE = (_S.START, _S.RUNNING)
_FINAL = (_S.FINAL_SIGTERM, _S.FINAL_SIGKILL)
_STOPPING = (_S.STOP_SIGTERM, _S.STOP_SIGKILL)

ROWS = (
    *_starts(_ENDED, _E.START),
    *_starts(_S.AUTO_RESTART, _E.TIMEOUT),
    # Traffic does not shorten RestartSec=, and does not start what is starting.
    Row((_S.AUTO_RESTART, *_ALIVE, *_STOPPING, *_FINAL), _E.START),
    # Started, by the measure of Type=.
    Row(_S.START, _E.EXECUTED, _S.RUNNING, (_F.TELL_UP,), guard=runs_when_executed),
    Row(_S.START, _E.READY, _S.RUNNING, (_F.TELL_UP,), guard=runs_when_ready),
    Row(_S.START, (_E.EXECUTED, _E.READY)),
    Row((_S.RUNNING, *_STOPPING, *_FINAL, *_ENDED, _S.AUTO_RESTART), (_E.EXECUTED, _E.READY)),
    Row(_S.START, _E.TIMEOUT, _S.STOP_SIGTERM, (_F.FAIL_TIMEOUT, _F.KILL, _F.ARM_STOP)),
    # The main process ended by itself.
    Row(_S.START, _E.EXITED, None, (_F.SPAWN_NEXT, _F.ARM_START), guard=goes_on),
    Row((*_ALIVE, _S.STOP_SIGTERM), _E.EXITED, _S.FINAL_SIGTERM, (_F.KILL_LEFTOVERS, _F.ARM_STOP), guard=leaves_processes),
    Row((*_ALIVE, _S.STOP_SIGTERM), _E.EXITED, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP), guard=leaves_processes_to_kill),
    Row(_S.STOP_SIGKILL, _E.EXITED, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP), guard=leaves_processes),
    *_ends((*_ALIVE, *_STOPPING), _E.EXITED),
    *_ends(_FINAL, _E.GROUP_GONE),
    # Stopping: ask, wait, kill.
    *_ends(_ALIVE, _E.STOP, guard=stays_untouched),
    Row(_ALIVE, _E.STOP, _S.STOP_SIGTERM, (_F.KILL, _F.ARM_STOP)),
    Row(_S.RUNNING, _E.STOPPING, _S.STOP_SIGTERM, (_F.ARM_STOP,)),
    Row((_S.START, *_STOPPING, *_FINAL, *_ENDED, _S.AUTO_RESTART), _E.STOPPING),
    Row(_S.STOP_SIGTERM, _E.TIMEOUT, _S.STOP_SIGKILL, (_F.FAIL_TIMEOUT, _F.KILL_HARD, _F.ARM_STOP)),
    Row(_S.FINAL_SIGTERM, _E.TIMEOUT, _S.FINAL_SIGKILL, (_F.FAIL_TIMEOUT, _F.KILL_HARD, _F.ARM_STOP)),
    # What survives SIGKILL hangs in the kernel; waiting on would help nobody.
    *_ends((_S.STOP_SIGKILL, _S.FINAL_SIGKILL), _E.TIMEOUT),
    Row(_S.AUTO_RESTART, (_E.STOP, _E.HURRY), _S.DEAD),
    Row((*_STOPPING, *_FINAL, *_ENDED), _E.STOP),
    Row((*_ALIVE, _S.STOP_SIGTERM), _E.HURRY, _S.STOP_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP)),
    Row(_S.FINAL_SIGTERM, _E.HURRY, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP)),
    Row((_S.STOP_SIGKILL, _S.FINAL_SIGKILL, *_ENDED), _E.HURRY),
)

_NO_PROCESS = "there is no main process"
IMPOSSIBLE: dict[tuple[State, Event], str] = {
    **{(state, _E.EXITED): _NO_PROCESS for state in (*_ENDED, *_FINAL, _S.AUTO_RESTART)},
    **{(state, _E.GROUP_GONE): "asked for after the main process only" for state in _S if state not in _FINAL},
    **{(state, _E.TIMEOUT): "no timer is set" for state in (*_ENDED, _S.RUNNING)},
}

MACHINE = Machine(ROWS, IMPOSSIBLE)


def step(state: State, event: Event, facts: Facts) -> tuple[State, tuple[Effect, ...]]:
    """The state after the event, and what is to be done."""
    return MACHINE.step(state, event, facts)
