"""What a service does: its commands, starting, running, reloading, stopping in steps, waiting to be restarted, ended.

The states and their names are those of systemd.service(5). Two processes may run at once: the main one, and a control one,
which runs the Exec…= commands of the state, one after the other. The end of both is not the end of the service while others
are left over: those are asked to go, then killed; or, with ExitType=cgroup, they are the service. There is one timer, which a
transition into another state clears and an ARM_… effect sets.
"""

from __future__ import annotations

from sockact.lifecycle.limits import SUCCESS
from sockact.lifecycle.machine import Machine, Row
from sockact.record import TYPE_CHECKING, Enum, Record

if TYPE_CHECKING:
    from collections.abc import Callable


class State(Enum):
    DEAD = "dead"
    CONDITION = "condition"
    START_PRE = "start-pre"
    START = "start"
    START_POST = "start-post"
    RUNNING = "running"
    EXITED = "exited"
    RELOAD = "reload"
    RELOAD_SIGNAL = "reload-signal"
    RELOAD_NOTIFY = "reload-notify"
    RELOAD_POST = "reload-post"
    STOP = "stop"
    STOP_WATCHDOG = "stop-watchdog"
    STOP_SIGTERM = "stop-sigterm"
    STOP_SIGKILL = "stop-sigkill"
    STOP_POST = "stop-post"
    FINAL_WATCHDOG = "final-watchdog"
    FINAL_SIGTERM = "final-sigterm"
    FINAL_SIGKILL = "final-sigkill"
    AUTO_RESTART = "auto-restart"
    FAILED = "failed"


class Event(Enum):
    START = "start"
    DONE = "all commands of the state have run"
    EXECUTED = "the program runs"
    READY = "READY=1"
    RELOADING = "RELOADING=1"
    STOPPING = "STOPPING=1"
    MAIN_EXITED = "the main process ended"
    CONTROL_EXITED = "the control process ended"
    GROUP_GONE = "no process is left"
    TIMEOUT = "the timer ran out"
    WATCHDOG = "no WATCHDOG=1 came in time"
    OOM_KILLED = "the kernel has killed a process for want of memory"
    RELOAD = "reload"
    STOP = "stop"
    HURRY = "stop at once"


class Effect(Enum):
    BEGIN = "forget the last run"
    RUN = "run the commands of the state, with the timer set for each"
    RUN_NEXT = "run the next command of the state"
    SPAWN = "run the first ExecStart= command"
    SPAWN_NEXT = "run the next ExecStart= command"
    ARM_START = "set the timer to TimeoutStartSec="
    ARM_RUNTIME = "set the timer to what is left of RuntimeMaxSec="
    ARM_STOP = "set the timer to TimeoutStopSec="
    ARM_ABORT = "set the timer to TimeoutAbortSec="
    ARM_RESTART = "set the timer to RestartSec="
    KILL = "send KillSignal= to whom KillMode= says"
    KILL_LEFTOVERS = "send KillSignal= to the processes left over"
    KILL_WATCHDOG = "send WatchdogSignal= to whom KillMode= says"
    KILL_HARD = "send FinalKillSignal= to all that KillMode= reaches"
    KILL_CONTROL = "give up the control process"
    SEND_RELOAD = "send ReloadSignal= to the main process"
    FAIL_TIMEOUT = "the result is a timeout"
    FAIL_WATCHDOG = "the result is the watchdog"
    FAIL_PROTOCOL = "the result is a breach of protocol"
    REPORT_UNMET = "say which condition does not hold"
    REPORT_RELOADED = "say that the service has reloaded"
    REPORT_RELOAD_FAILED = "say that the reload failed"
    REPORT_NO_RELOAD = "say that the service cannot be reloaded"
    TELL_UP = "tell the sockets that the service has them"
    TELL_DOWN = "tell the sockets that the service ended"
    TELL_LIMIT = "tell the sockets that the start limit was hit"


class Facts(Record):
    """What the guards may know. `result` is the first thing that went wrong, or success."""

    type: str
    kill_mode: str
    timeout_mode: str = "terminate"
    """What is done when the time is up: TimeoutStartFailureMode= or TimeoutStopFailureMode=, as the state is."""
    result: str = SUCCESS
    oom_policy: str = "stop"
    restarts: bool = False
    """Whether Restart= wants it, after this result."""
    unmet: bool = False
    """Whether a condition of [Unit] does not hold."""
    limited: bool = False
    main: bool = False
    main_known: bool = False
    """Whether it has, or had, a main process that we know."""
    control: bool = False
    leftovers: bool = False
    exits_last: bool = False
    """ExitType=cgroup: it runs until the last of its processes has ended."""
    command_failed: bool = False
    more_commands: bool = False
    without_main: bool = False
    """No ExecStart= at all."""
    says: str = ""
    """What it has said it is about to do, while something else was awaited: reloading, stopping."""
    remains: bool = False
    kills_hard: bool = True
    """SendSIGKILL=."""
    reload: str = ""
    """How it reloads: by `commands`, by `signal`, by the first and then the second (`both`), or not at all."""
    stop_asked: bool = False
    hurried: bool = False


def start_limit_hit(facts: Facts) -> bool:
    return facts.limited


def condition_unmet(facts: Facts) -> bool:
    return facts.unmet


def runs_nothing(facts: Facts) -> bool:
    return facts.without_main


def runs_at_once(facts: Facts) -> bool:
    return facts.type in ("simple", "idle")


def runs_when_executed(facts: Facts) -> bool:
    return facts.type == "exec"


def runs_when_ready(facts: Facts) -> bool:
    return facts.type in ("notify", "notify-reload")


def runs_when_forked(facts: Facts) -> bool:
    return facts.type == "forking" and not facts.command_failed


def command_succeeded(facts: Facts) -> bool:
    return not facts.command_failed


def goes_on(facts: Facts) -> bool:
    """A oneshot service with commands still to run."""
    return facts.type == "oneshot" and facts.more_commands and facts.result == SUCCESS


def has_done_its_work(facts: Facts) -> bool:
    return facts.type == "oneshot" and facts.result == SUCCESS


def is_alive(facts: Facts) -> bool:
    """Whether it may be called running; where nobody knows the main process, or all count, any process will do."""
    any_will_do = facts.exits_last or (facts.type == "forking" and not facts.main_known)
    return facts.main or (any_will_do and facts.leftovers)


def is_outlived(facts: Facts) -> bool:
    """Whether the service goes on without its main process."""
    return facts.exits_last and facts.leftovers


def may_yet_be_ready(facts: Facts) -> bool:
    return runs_when_ready(facts) and is_outlived(facts)


def never_ready(facts: Facts) -> bool:
    """Whether nobody is left to say READY=1."""
    return runs_when_ready(facts) and not anything_left(facts)


def stops_soon(facts: Facts) -> bool:
    return is_alive(facts) and facts.says == "stopping"


def reloads_soon(facts: Facts) -> bool:
    return is_alive(facts) and facts.says == "reloading"


def has_failed(facts: Facts) -> bool:
    return facts.result != SUCCESS


def remains(facts: Facts) -> bool:
    return facts.remains and facts.result == SUCCESS


def has_processes(facts: Facts) -> bool:
    """Whether a process is left that ends the wait when it ends."""
    return facts.main or facts.control


def anything_left(facts: Facts) -> bool:
    return facts.main or facts.control or facts.leftovers


def nobody_to_kill(facts: Facts) -> bool:
    reached = facts.main or facts.control or (facts.leftovers and facts.kill_mode == "control-group")
    return facts.kill_mode == "none" or not reached


def leaves_processes(facts: Facts) -> bool:
    return facts.leftovers and facts.kill_mode == "control-group"


def leaves_processes_to_kill(facts: Facts) -> bool:
    return facts.leftovers and facts.kill_mode == "mixed" and facts.kills_hard


def only_leftovers_to_kill(facts: Facts) -> bool:
    """Nobody to ask, where only the main process is asked."""
    return not facts.main and not facts.control and leaves_processes_to_kill(facts)


def spares(facts: Facts) -> bool:
    """SendSIGKILL=no."""
    return not facts.kills_hard


def aborts(facts: Facts) -> bool:
    return facts.timeout_mode == "abort"


def kills_at_once(facts: Facts) -> bool:
    return facts.timeout_mode == "kill"


def spares_at_once(facts: Facts) -> bool:
    return kills_at_once(facts) and spares(facts)


def goes_on_without(facts: Facts) -> bool:
    """Whether the kernel may kill its processes one by one."""
    return facts.oom_policy == "continue"


def dies_as_a_whole(facts: Facts) -> bool:
    return facts.oom_policy == "kill"


def hurried(facts: Facts) -> bool:
    return facts.hurried


def reloads_by_commands(facts: Facts) -> bool:
    return facts.reload in ("commands", "both")


def signal_follows(facts: Facts) -> bool:
    return facts.reload == "both" and facts.main


def reloads_by_signal(facts: Facts) -> bool:
    return facts.reload == "signal"


def restarts(facts: Facts) -> bool:
    return facts.restarts and not facts.stop_asked


def failed(facts: Facts) -> bool:
    return facts.result not in (SUCCESS, "exec-condition")


_S, _E, _F = State, Event, Effect
_OVER = (_S.DEAD, _S.FAILED)
_IDLE = (*_OVER, _S.AUTO_RESTART)
_RELOAD = (_S.RELOAD, _S.RELOAD_POST)
_COMMANDS = (_S.CONDITION, _S.START_PRE, _S.START_POST, *_RELOAD, _S.STOP, _S.STOP_POST)
STARTING = (_S.CONDITION, _S.START_PRE, _S.START, _S.START_POST)
_RELOADING = (_S.RELOAD_SIGNAL, _S.RELOAD_NOTIFY)
_UP = (_S.RUNNING, *_RELOAD, *_RELOADING)
_KILLING = (_S.STOP_WATCHDOG, _S.STOP_SIGTERM, _S.STOP_SIGKILL)
_FINAL_ASKING = (_S.FINAL_WATCHDOG, _S.FINAL_SIGTERM)
_FINAL = (*_FINAL_ASKING, _S.FINAL_SIGKILL)
_WAITING = (*STARTING, *_UP, _S.STOP, _S.STOP_WATCHDOG, _S.STOP_SIGTERM)
_ENDING = (_S.STOP, *_KILLING, _S.STOP_POST, *_FINAL)
_CLEANING_UP = (_S.STOP_POST, *_FINAL_ASKING)
_GONE = (_E.MAIN_EXITED, _E.CONTROL_EXITED, _E.GROUP_GONE)

# How processes are made to go: the state to be in, the signal, the timer.
_TERMINATE = (_S.STOP_SIGTERM, _F.KILL, _F.ARM_STOP)
_ABORT = (_S.STOP_WATCHDOG, _F.KILL_WATCHDOG, _F.ARM_ABORT)
_KILL = (_S.STOP_SIGKILL, _F.KILL_HARD, _F.ARM_STOP)


def _also(guard: Callable[[Facts], bool] | None, test: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
    return test if guard is None else lambda facts: guard(facts) and test(facts)


def _starts(state: object, event: Event, else_to: State | None) -> tuple[Row, ...]:
    """The rows by which a service starts, or may not."""
    return (
        Row(state, event, else_to, (_F.REPORT_UNMET, _F.TELL_DOWN), guard=condition_unmet),
        Row(state, event, _S.FAILED, (_F.TELL_LIMIT,), guard=start_limit_hit),
        Row(state, event, _S.CONDITION, (_F.BEGIN, _F.RUN)),
    )


def _ends(state: object, event: object, *before: Effect, guard: Callable[[Facts], bool] | None = None) -> tuple[Row, ...]:
    """The rows by which a service ends: restarted later, failed, or dead."""
    return (
        Row(state, event, _S.AUTO_RESTART, (*before, _F.ARM_RESTART, _F.TELL_DOWN), guard=_also(guard, restarts)),
        Row(state, event, _S.FAILED, (*before, _F.TELL_DOWN), guard=_also(guard, failed)),
        Row(state, event, _S.DEAD, (*before, _F.TELL_DOWN), guard=guard),
    )


def _finishes(state: object, event: object, *before: Effect, guard: Callable[[Facts], bool] | None = None) -> tuple[Row, ...]:
    """The rows by which a service ends when its last command has: what is left over has to go first."""
    leftovers, mixed = _also(guard, leaves_processes), _also(guard, leaves_processes_to_kill)
    return (
        Row(state, event, _S.FINAL_SIGTERM, (*before, _F.KILL_LEFTOVERS, _F.ARM_STOP), guard=leftovers),
        Row(state, event, _S.FINAL_SIGKILL, (*before, _F.KILL_HARD, _F.ARM_STOP), guard=mixed),
        *_ends(state, event, *before, guard=guard),
    )


def _cleans_up(state: object, event: object, *before: Effect) -> tuple[Row, ...]:
    """The rows to ExecStopPost=, which whoever is in a hurry does not wait for."""
    return (
        *_finishes(state, event, *before, guard=hurried),
        Row(state, event, _S.STOP_POST, (*before, _F.RUN)),
    )


def _kills(
    state: object,
    event: object,
    *before: Effect,
    guard: Callable[[Facts], bool] | None = None,
    way: tuple[State, Effect, Effect] = _TERMINATE,
) -> tuple[Row, ...]:
    """The rows by which the processes are made to go; without any it goes on at once."""
    only_leftovers, nobody = _also(guard, only_leftovers_to_kill), _also(guard, nobody_to_kill)
    to, *signal = way
    return (
        Row(state, event, _S.STOP_SIGKILL, (*before, _F.KILL_HARD, _F.ARM_STOP), guard=only_leftovers),
        Row(state, event, _S.STOP_POST, (*before, _F.RUN), guard=nobody),
        Row(state, event, to, (*before, *signal), guard=guard),
    )


def _times_out(state: object) -> tuple[Row, ...]:
    """The rows by which a start or a stop that takes too long comes to its end."""
    return (
        *_kills(state, _E.TIMEOUT, _F.FAIL_TIMEOUT, guard=aborts, way=_ABORT),
        Row(state, _E.TIMEOUT, _S.STOP_POST, (_F.FAIL_TIMEOUT, _F.RUN), guard=spares_at_once),
        *_kills(state, _E.TIMEOUT, _F.FAIL_TIMEOUT, guard=kills_at_once, way=_KILL),
        *_kills(state, _E.TIMEOUT, _F.FAIL_TIMEOUT),
    )


def _settles(state: object, event: object, *before: Effect) -> tuple[Row, ...]:
    """The rows by which a service runs, if it is alive; what has ended well goes by ExecStop=, what failed does not."""
    return (
        *_kills(state, event, *before, guard=has_failed),
        Row(state, event, _S.STOP_SIGTERM, (*before, _F.ARM_STOP), guard=stops_soon),
        Row(state, event, _S.RELOAD_NOTIFY, (*before, _F.ARM_START), guard=reloads_soon),
        Row(state, event, _S.RUNNING, (*before, _F.ARM_RUNTIME), guard=is_alive),
        Row(state, event, _S.EXITED, before, guard=remains),
        Row(state, event, _S.STOP, (*before, _F.RUN)),
    )


ROWS = (
    # Starting: conditions, commands, the main process, commands.
    *_starts(_OVER, _E.START, None),
    *_starts(_S.AUTO_RESTART, _E.TIMEOUT, _S.DEAD),
    # Traffic does not shorten RestartSec=, and does not start what is starting.
    Row((_S.AUTO_RESTART, *STARTING, *_UP, _S.EXITED, *_ENDING), _E.START),
    Row(_COMMANDS, _E.CONTROL_EXITED, None, (_F.RUN_NEXT,), guard=command_succeeded),
    Row(_S.CONDITION, _E.DONE, _S.START_PRE, (_F.RUN,)),
    Row(_S.START_PRE, _E.DONE, _S.START_POST, (_F.TELL_UP, _F.RUN), guard=runs_nothing),
    Row(_S.START_PRE, _E.DONE, _S.START_POST, (_F.SPAWN, _F.TELL_UP, _F.RUN), guard=runs_at_once),
    Row(_S.START_PRE, _E.DONE, _S.START, (_F.SPAWN, _F.TELL_UP, _F.ARM_START)),
    # Started, by the measure of Type=.
    Row(_S.START, _E.EXECUTED, _S.START_POST, (_F.RUN,), guard=runs_when_executed),
    Row(_S.START, _E.READY, _S.START_POST, (_F.RUN,), guard=runs_when_ready),
    Row(_S.START, _E.CONTROL_EXITED, _S.START_POST, (_F.RUN,), guard=runs_when_forked),
    Row(_S.START, _E.MAIN_EXITED, None, (_F.SPAWN_NEXT, _F.ARM_START), guard=goes_on),
    Row(_S.START, _E.MAIN_EXITED, _S.START_POST, (_F.RUN,), guard=has_done_its_work),
    Row(_S.START, (_E.EXECUTED, _E.READY)),
    *_settles(_S.START_POST, _E.DONE),
    # What does not come up ends without ExecStop=.
    *_kills((_S.CONDITION, _S.START_PRE, _S.START, _S.START_POST), _E.CONTROL_EXITED),
    Row(_S.START, _E.MAIN_EXITED, guard=may_yet_be_ready),
    *_kills(_S.START, _E.MAIN_EXITED, _F.FAIL_PROTOCOL, guard=runs_when_ready),
    Row(_S.START, _E.GROUP_GONE, _S.STOP_POST, (_F.FAIL_PROTOCOL, _F.RUN), guard=never_ready),
    *_kills(_S.START, _E.MAIN_EXITED),
    Row((_S.START_POST, *_RELOAD, _S.STOP, _S.STOP_POST), _E.MAIN_EXITED),
    *_times_out((*STARTING, _S.STOP)),
    # Who has lost a process to the OOM killer goes on, dies, or is stopped; who is being stopped is killed.
    Row((*_WAITING, _S.EXITED, *_CLEANING_UP), _E.OOM_KILLED, guard=goes_on_without),
    *_kills((*STARTING, *_UP, _S.EXITED, _S.STOP), _E.OOM_KILLED, guard=dies_as_a_whole, way=_KILL),
    *_kills(STARTING, (_E.STOP, _E.OOM_KILLED)),
    # Running.
    Row((_S.RUNNING, *_RELOADING), (_E.MAIN_EXITED, _E.GROUP_GONE), guard=is_outlived),
    *_settles((_S.RUNNING, *_RELOADING), (_E.MAIN_EXITED, _E.GROUP_GONE)),
    Row(_S.RUNNING, _E.TIMEOUT, _S.STOP, (_F.FAIL_TIMEOUT, _F.RUN)),
    Row((_S.RUNNING, _S.EXITED, *_RELOADING), (_E.STOP, _E.OOM_KILLED), _S.STOP, (_F.RUN,)),
    Row((_S.RUNNING, *_RELOADING), _E.STOPPING, _S.STOP_SIGTERM, (_F.ARM_STOP,)),
    *_kills((_S.START, _S.START_POST, *_UP), _E.WATCHDOG, _F.FAIL_WATCHDOG, way=_ABORT),
    # Reloading.
    Row((_S.RUNNING, _S.EXITED), _E.RELOAD, _S.RELOAD, (_F.RUN,), guard=reloads_by_commands),
    Row(_S.RUNNING, _E.RELOAD, _S.RELOAD_SIGNAL, (_F.SEND_RELOAD, _F.ARM_START), guard=reloads_by_signal),
    Row((_S.RUNNING, _S.EXITED), _E.RELOAD, None, (_F.REPORT_NO_RELOAD,)),
    Row((_S.RUNNING, _S.RELOAD_SIGNAL), _E.RELOADING, _S.RELOAD_NOTIFY, (_F.ARM_START,)),
    Row(_S.RELOAD_NOTIFY, _E.READY, _S.RELOAD_POST, (_F.RUN,)),
    Row(_RELOADING, _E.TIMEOUT, _S.RUNNING, (_F.REPORT_RELOAD_FAILED, _F.ARM_RUNTIME)),
    Row(_S.RELOAD, _E.DONE, _S.RELOAD_SIGNAL, (_F.SEND_RELOAD, _F.ARM_START), guard=signal_follows),
    Row(_S.RELOAD, _E.DONE, _S.RELOAD_POST, (_F.RUN,)),
    *_settles(_S.RELOAD_POST, _E.DONE, _F.REPORT_RELOADED),
    *_settles(_RELOAD, _E.CONTROL_EXITED, _F.REPORT_RELOAD_FAILED),
    *_settles(_RELOAD, _E.TIMEOUT, _F.KILL_CONTROL, _F.REPORT_RELOAD_FAILED),
    Row(_RELOAD, (_E.STOP, _E.OOM_KILLED), _S.STOP, (_F.KILL_CONTROL, _F.RUN)),
    Row(_RELOAD, _E.STOPPING, _S.STOP_SIGTERM, (_F.KILL_CONTROL, _F.ARM_STOP), guard=is_alive),
    Row(_RELOAD, _E.STOPPING),
    # Stopping: commands, ask, wait, kill, commands.
    *_kills(_S.STOP, (_E.DONE, _E.CONTROL_EXITED, _E.OOM_KILLED)),
    Row(_KILLING, _GONE, guard=has_processes),
    *_cleans_up(_KILLING, _GONE),
    *_kills(_S.STOP_SIGTERM, _E.TIMEOUT, _F.FAIL_TIMEOUT, guard=aborts, way=_ABORT),
    Row((_S.STOP_SIGTERM, _S.STOP_WATCHDOG), _E.TIMEOUT, _S.STOP_POST, (_F.FAIL_TIMEOUT, _F.RUN), guard=spares),
    Row((_S.STOP_SIGTERM, _S.STOP_WATCHDOG), _E.TIMEOUT, _S.STOP_SIGKILL, (_F.FAIL_TIMEOUT, _F.KILL_HARD, _F.ARM_STOP)),
    *_kills((_S.STOP_SIGTERM, _S.STOP_WATCHDOG), _E.OOM_KILLED, way=_KILL),
    # What survives SIGKILL hangs in the kernel; waiting on would help nobody.
    *_cleans_up(_S.STOP_SIGKILL, _E.TIMEOUT, _F.FAIL_TIMEOUT),
    *_finishes(_S.STOP_POST, (_E.DONE, _E.CONTROL_EXITED)),
    Row((_S.STOP_POST, _S.FINAL_SIGTERM), _E.TIMEOUT, _S.FINAL_WATCHDOG, (_F.FAIL_TIMEOUT, *_ABORT[1:]), guard=aborts),
    # Who may not be killed, and has not gone, is not started again beside what is left of him.
    Row(_S.STOP_POST, _E.TIMEOUT, _S.FAILED, (_F.FAIL_TIMEOUT, _F.TELL_DOWN), guard=spares_at_once),
    Row(_S.STOP_POST, _E.TIMEOUT, _S.FINAL_SIGKILL, (_F.FAIL_TIMEOUT, *_KILL[1:]), guard=kills_at_once),
    Row(_S.STOP_POST, _E.TIMEOUT, _S.FINAL_SIGTERM, (_F.FAIL_TIMEOUT, *_TERMINATE[1:])),
    Row(_CLEANING_UP, _E.OOM_KILLED, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP), guard=only_leftovers_to_kill),
    *_ends(_CLEANING_UP, _E.OOM_KILLED, guard=nobody_to_kill),
    Row(_CLEANING_UP, _E.OOM_KILLED, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP)),
    Row(_FINAL_ASKING, _GONE, guard=anything_left),
    # The death of one may be what shows us another.
    Row(_S.FINAL_SIGKILL, _GONE, None, (_F.KILL_HARD,), guard=anything_left),
    *_ends(_FINAL, _GONE),
    Row(_FINAL_ASKING, _E.TIMEOUT, _S.FAILED, (_F.FAIL_TIMEOUT, _F.TELL_DOWN), guard=spares),
    Row(_FINAL_ASKING, _E.TIMEOUT, _S.FINAL_SIGKILL, (_F.FAIL_TIMEOUT, *_KILL[1:])),
    Row(_S.FINAL_SIGKILL, _E.TIMEOUT, _S.AUTO_RESTART, (_F.FAIL_TIMEOUT, _F.ARM_RESTART, _F.TELL_DOWN), guard=restarts),
    Row(_S.FINAL_SIGKILL, _E.TIMEOUT, _S.FAILED, (_F.FAIL_TIMEOUT, _F.TELL_DOWN)),
    # Traffic may have counted on the restart.
    Row(_S.AUTO_RESTART, (_E.STOP, _E.HURRY), _S.DEAD, (_F.TELL_DOWN,)),
    Row((*_ENDING, *_OVER), _E.STOP),
    # In a hurry.
    *_finishes(_S.EXITED, _E.HURRY),
    Row(_WAITING, _E.HURRY, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP), guard=only_leftovers_to_kill),
    *_ends(_WAITING, _E.HURRY, guard=nobody_to_kill),
    Row(_WAITING, _E.HURRY, _S.STOP_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP)),
    Row(_CLEANING_UP, _E.HURRY, _S.FINAL_SIGKILL, (_F.KILL_HARD, _F.ARM_STOP)),
    Row((_S.STOP_SIGKILL, _S.FINAL_SIGKILL, *_OVER), _E.HURRY),
    # Said too early, too late, or for others; and the last of what a command left behind, while something else is awaited.
    Row((*_IDLE, *_UP, _S.CONDITION, _S.START_PRE, _S.START_POST, _S.EXITED, *_ENDING), _E.EXECUTED),
    Row(
        (*_IDLE, _S.RUNNING, *_RELOAD, _S.RELOAD_SIGNAL, _S.CONDITION, _S.START_PRE, _S.START_POST, _S.EXITED, *_ENDING),
        _E.READY,
    ),
    Row((*_IDLE, *STARTING, *_RELOAD, _S.RELOAD_NOTIFY, _S.EXITED, *_ENDING), _E.RELOADING),
    Row((*_IDLE, *STARTING, _S.EXITED, *_ENDING), _E.STOPPING),
    Row((*_IDLE, _S.CONDITION, _S.START_PRE, _S.EXITED, *_ENDING), _E.WATCHDOG),
    Row((*_IDLE, _S.STOP_SIGKILL, _S.FINAL_SIGKILL), _E.OOM_KILLED),
    Row((*_IDLE, *STARTING, *_RELOAD, *_RELOADING, *_ENDING), _E.RELOAD),
    Row((*_IDLE, *STARTING, *_RELOAD, _S.EXITED, _S.STOP, _S.STOP_POST), _E.GROUP_GONE),
)

_NO_PROCESS = "there is no such process"
_NO_COMMAND = "no command runs"
IMPOSSIBLE: dict[tuple[State, Event], str] = {
    **{(state, _E.MAIN_EXITED): _NO_PROCESS for state in (*_IDLE, _S.CONDITION, _S.START_PRE, _S.EXITED)},
    **{(state, _E.CONTROL_EXITED): _NO_PROCESS for state in (*_IDLE, _S.RUNNING, _S.EXITED, *_RELOADING)},
    **{(state, _E.DONE): _NO_COMMAND for state in _S if state not in _COMMANDS},
    **{(state, _E.TIMEOUT): "no timer is set" for state in (*_OVER, _S.EXITED)},
}

MACHINE = Machine(ROWS, IMPOSSIBLE)


def step(state: State, event: Event, find: Callable[[], object]) -> tuple[State, tuple[Effect, ...]]:
    """The state after the event, and what is to be done; the facts, or what has their names, are asked for if that depends on
    them."""
    return MACHINE.step(state, event, find)
