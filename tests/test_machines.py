"""The state machines: every pair of state and event is decided, every row is of use, and says what its line here says.

What the machines do to a world of processes, clients and failures is for `tests.simulation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from random import Random
from typing import Any

import pytest

from sockact.lifecycle import limits, service, socket
from sockact.lifecycle.limits import CORE_DUMP, EXIT_CODE, SIGNAL, SUCCESS, Exit
from sockact.lifecycle.machine import Machine, Row
from sockact.runtime.units import FIND
from sockact.unit.statuses import ExitStatus

MACHINES = [pytest.param(module, id=module.__name__.rpartition(".")[2]) for module in (socket, service)]
FACTS = {socket: socket.Facts(False, most=1), service: service.Facts("simple", "control-group")}
VALUES: dict[str, tuple[object, ...]] = {
    "type": ("simple", "exec", "forking", "oneshot", "notify", "notify-reload", "idle"),
    "kill_mode": ("control-group", "mixed", "process", "none"),
    "timeout_mode": ("terminate", "abort", "kill"),
    "oom_policy": ("continue", "stop", "kill"),
    "result": (SUCCESS, EXIT_CODE, "exec-condition"),
    "reload": ("", "commands", "signal", "both"),
    "says": ("", "stopping", "reloading"),
    **dict.fromkeys(("connections", "most", "from_source", "most_from_source"), (0, 1)),
}
"""What facts may be that are not just so or not."""


def test_each_fact_about_a_service_can_be_found() -> None:
    assert FIND.keys() == service.Facts.names


# The tables


@pytest.mark.parametrize("module", MACHINES)
def test_every_state_and_event_is_decided_or_impossible_and_never_both(module: Any) -> None:
    table, impossible = module.MACHINE.table, module.MACHINE.impossible
    assert table.keys() | impossible.keys() == set(product(module.State, module.Event))
    assert not table.keys() & impossible.keys()
    assert all(impossible.values()), "each impossible pair has its reason"


@pytest.mark.parametrize("module", MACHINES)
def test_no_pair_is_left_undecided_by_its_guards(module: Any) -> None:
    undecided = [pair for pair, rows in module.MACHINE.table.items() if rows[-1].guard]
    assert not undecided, "the last row must take what the others leave"


class Asked:
    """Facts that note which of them are read; a fact that nobody has heard of yet is drawn."""

    def __init__(self, random: Random, read: set[str]) -> None:
        self.random = random
        self.read = read

    def __getattr__(self, name: str) -> object:
        self.read.add(name)
        value = self.random.choice(VALUES.get(name, (False, True)))
        setattr(self, name, value)
        return value


@pytest.mark.parametrize("module", MACHINES)
def test_every_row_is_the_first_to_match_for_some_facts(module: Any) -> None:
    random, read = Random(1), set[str]()
    for pair, rows in module.MACHINE.table.items():
        left = set(range(len(rows)))
        for _ in range(5000):
            facts = Asked(random, read)
            left.discard(next(number for number, row in enumerate(rows) if row.guard is None or row.guard(facts)))
            if not left:
                break
        assert not left, f"{pair}: these rows are never reached: {[rows[number] for number in left]}"
    assert read == set(module.Facts.fields), "each fact is of use to a guard"


@pytest.mark.parametrize("module", MACHINES)
def test_every_state_event_and_effect_is_used(module: Any) -> None:
    rows = [row for rows in module.MACHINE.table.values() for row in rows]
    assert {effect for row in rows for effect in row.effects} == set(module.Effect)
    assert {event for _, event in module.MACHINE.table} == set(module.Event)
    assert {row.to for row in rows if row.to} | {module.State.DEAD} == set(module.State)


def test_the_first_row_that_matches_wins_and_a_row_may_stay_where_it_is() -> None:
    table = Machine(
        (
            Row("a", "go", "b", ("one",), guard=bool),
            Row(("a", "b"), "go", None, ("two",)),
            Row("b", ("stop", "halt"), "a"),
        ),
        {("a", "stop"): "why not"},
    )
    assert table.step("a", "go", lambda: True) == ("b", ("one",))
    assert table.step("a", "go", lambda: False) == ("a", ("two",))
    assert table.step("b", "go", lambda: True) == ("b", ("two",))
    assert table.step("b", "halt", lambda: None) == ("a", ())
    with pytest.raises(LookupError, match="why not"):
        table.step("a", "stop", lambda: None)
    with pytest.raises(LookupError, match="no row"):
        table.step("a", "halt", lambda: None)


# What a row means, said once for each


def lines(text: str, *entries: str, before: str = "") -> list[str]:
    """The lines of a text: `STATE EVENT fact fact=value -> STATE: EFFECT EFFECT`. What several states have in common is said
    once; `entries` tell by which state and event one comes to it, `before` which effects are first."""
    found = []
    for line in filter(str.strip, (line.partition("#")[0] for line in text.splitlines())):
        to, _, effects = line.partition(":")
        found.append(f"{to}: {before} {effects}")
    return [f"{entry} {line}" for entry in entries or ("",) for line in found]


ENDS = """
                                        restarts -> AUTO_RESTART: ARM_RESTART TELL_DOWN
                                result=exit-code -> FAILED: TELL_DOWN
                           result=exec-condition -> DEAD: TELL_DOWN
                                                 -> DEAD: TELL_DOWN
                             restarts stop_asked -> DEAD: TELL_DOWN
"""
FINISHES = f"""
                                       leftovers -> FINAL_SIGTERM: KILL_LEFTOVERS ARM_STOP
                       leftovers kill_mode=mixed -> FINAL_SIGKILL: KILL_HARD ARM_STOP
         leftovers kill_mode=mixed kills_hard=no -> DEAD: TELL_DOWN
                     leftovers kill_mode=process -> DEAD: TELL_DOWN
{ENDS}"""
"""Who has ended, and what it leaves behind."""

UNREACHED = """
                       leftovers kill_mode=mixed -> STOP_SIGKILL: KILL_HARD ARM_STOP
                     leftovers kill_mode=process -> STOP_POST: RUN
                             main kill_mode=none -> STOP_POST: RUN
                                                 -> STOP_POST: RUN
"""
"""Whom a signal does not reach: who is left over is killed, or nobody."""

ABORTS = f"""
                                            main -> STOP_WATCHDOG: KILL_WATCHDOG ARM_ABORT
                  main leftovers kill_mode=mixed -> STOP_WATCHDOG: KILL_WATCHDOG ARM_ABORT
{UNREACHED}"""
"""Who dies of WatchdogSignal=."""

KILLS_HARD = f"""
                                         control -> STOP_SIGKILL: KILL_HARD ARM_STOP
                                       leftovers -> STOP_SIGKILL: KILL_HARD ARM_STOP
{UNREACHED}"""
"""Who is killed at once."""

KILLS = f"""
                                            main -> STOP_SIGTERM: KILL ARM_STOP
                                         control -> STOP_SIGTERM: KILL ARM_STOP
                                       leftovers -> STOP_SIGTERM: KILL ARM_STOP
                  main leftovers kill_mode=mixed -> STOP_SIGTERM: KILL ARM_STOP
{UNREACHED}"""
"""Who is asked to go."""

SETTLES = """
                                            main -> RUNNING: ARM_RUNTIME
                          leftovers type=forking -> RUNNING: ARM_RUNTIME
                                       leftovers -> STOP: RUN
                                         remains -> EXITED
                              main says=stopping -> STOP_SIGTERM: ARM_STOP
                             main says=reloading -> RELOAD_NOTIFY: ARM_START
                           main result=exit-code -> STOP_SIGTERM: KILL ARM_STOP
                        remains result=exit-code -> STOP_POST: RUN
      leftovers result=exit-code kill_mode=mixed -> STOP_SIGKILL: KILL_HARD ARM_STOP
                                                 -> STOP: RUN
"""
"""Who has come up, or is still there."""

SERVICE = [
    *lines("""
# Starting: conditions, commands, the main process, commands. A limit counts only what would start.
DEAD START unmet limited -> DEAD: REPORT_UNMET TELL_DOWN
FAILED START limited -> FAILED: TELL_LIMIT
FAILED START -> CONDITION: BEGIN RUN
AUTO_RESTART TIMEOUT unmet -> DEAD: REPORT_UNMET TELL_DOWN
AUTO_RESTART TIMEOUT limited -> FAILED: TELL_LIMIT
AUTO_RESTART TIMEOUT -> CONDITION: BEGIN RUN
AUTO_RESTART START -> AUTO_RESTART   # traffic does not shorten RestartSec=
RUNNING START -> RUNNING
STOP_POST CONTROL_EXITED -> STOP_POST: RUN_NEXT
CONDITION DONE -> START_PRE: RUN
START_PRE DONE -> START_POST: SPAWN TELL_UP RUN
START_PRE DONE type=notify -> START: SPAWN TELL_UP ARM_START
START_PRE DONE without_main -> START_POST: TELL_UP RUN
# Started, by the measure of Type=.
START EXECUTED type=exec -> START_POST: RUN
START EXECUTED type=notify -> START
START READY type=notify -> START_POST: RUN
START READY type=notify-reload -> START_POST: RUN
START READY type=oneshot -> START
START CONTROL_EXITED type=forking -> START_POST: RUN
START MAIN_EXITED type=oneshot more_commands -> START: SPAWN_NEXT ARM_START
START MAIN_EXITED type=oneshot more_commands result=exit-code -> STOP_POST: RUN
START MAIN_EXITED type=oneshot -> START_POST: RUN
# The main process may end while a command runs; that is looked at when the command has ended.
START_POST MAIN_EXITED -> START_POST
"""),
    *lines(SETTLES, "START_POST DONE"),
    # What does not come up ends without ExecStop=.
    *lines(KILLS, "CONDITION CONTROL_EXITED command_failed", "START MAIN_EXITED", "START_POST STOP"),
    *lines(KILLS, "START MAIN_EXITED type=notify", before="FAIL_PROTOCOL"),
    *lines("""
START MAIN_EXITED type=notify leftovers exits_last -> START   # one of those left may say READY=1
START GROUP_GONE type=notify-reload -> STOP_POST: FAIL_PROTOCOL RUN
START GROUP_GONE type=notify main -> START
"""),
    *lines(KILLS, "START TIMEOUT", "STOP TIMEOUT", before="FAIL_TIMEOUT"),
    *lines(ABORTS, "CONDITION TIMEOUT timeout_mode=abort", "STOP TIMEOUT timeout_mode=abort", before="FAIL_TIMEOUT"),
    *lines(KILLS_HARD, "START_PRE TIMEOUT timeout_mode=kill", "STOP TIMEOUT timeout_mode=kill", before="FAIL_TIMEOUT"),
    *lines("STOP TIMEOUT timeout_mode=kill kills_hard=no main -> STOP_POST: FAIL_TIMEOUT RUN"),
    # Running.
    *lines(SETTLES, "RUNNING MAIN_EXITED", "RELOAD_NOTIFY GROUP_GONE", "RUNNING GROUP_GONE"),
    *lines("""
RUNNING TIMEOUT -> STOP: FAIL_TIMEOUT RUN   # RuntimeMaxSec=
EXITED STOP -> STOP: RUN
RUNNING STOPPING -> STOP_SIGTERM: ARM_STOP
RUNNING MAIN_EXITED leftovers exits_last -> RUNNING   # ExitType=cgroup
RUNNING GROUP_GONE leftovers exits_last result=exit-code -> RUNNING   # another group is left
START_POST DONE leftovers exits_last -> RUNNING: ARM_RUNTIME
START_POST DONE leftovers exits_last says=stopping -> STOP_SIGTERM: ARM_STOP
RELOAD_NOTIFY MAIN_EXITED leftovers exits_last result=exit-code -> RELOAD_NOTIFY
# Reloading: by commands, by a signal, or of its own accord.
RUNNING RELOAD reload=commands -> RELOAD: RUN
RUNNING RELOAD reload=signal -> RELOAD_SIGNAL: SEND_RELOAD ARM_START
RUNNING RELOAD -> RUNNING: REPORT_NO_RELOAD
EXITED RELOAD reload=commands -> RELOAD: RUN
RUNNING RELOADING -> RELOAD_NOTIFY: ARM_START
RELOAD_SIGNAL RELOADING -> RELOAD_NOTIFY: ARM_START
RELOAD DONE main reload=both -> RELOAD_SIGNAL: SEND_RELOAD ARM_START
RELOAD DONE main -> RELOAD_POST: RUN
RELOAD_SIGNAL READY -> RELOAD_SIGNAL
RELOAD_NOTIFY READY -> RELOAD_POST: RUN
RELOAD_NOTIFY TIMEOUT -> RUNNING: REPORT_RELOAD_FAILED ARM_RUNTIME
RELOAD STOP -> STOP: KILL_CONTROL RUN
RELOAD STOPPING main -> STOP_SIGTERM: KILL_CONTROL ARM_STOP
RELOAD STOPPING -> RELOAD
RELOAD_POST MAIN_EXITED control -> RELOAD_POST
"""),
    *lines(ABORTS, "START WATCHDOG", "START_POST WATCHDOG", "RELOAD_POST WATCHDOG", before="FAIL_WATCHDOG"),
    *lines(SETTLES, "RELOAD_POST DONE", before="REPORT_RELOADED"),
    *lines(SETTLES, "RELOAD CONTROL_EXITED command_failed", before="REPORT_RELOAD_FAILED"),
    *lines(SETTLES, "RELOAD TIMEOUT", before="KILL_CONTROL REPORT_RELOAD_FAILED"),
    # One of its processes was killed for want of memory: as OOMPolicy= says.
    *lines(KILLS, "START_PRE OOM_KILLED", "START OOM_KILLED", "STOP OOM_KILLED"),
    *lines(
        KILLS_HARD,
        *("START_POST OOM_KILLED oom_policy=kill", "RUNNING OOM_KILLED oom_policy=kill", "EXITED OOM_KILLED oom_policy=kill"),
        *("RELOAD OOM_KILLED oom_policy=kill", "STOP OOM_KILLED oom_policy=kill"),
        *("STOP_SIGTERM OOM_KILLED", "STOP_WATCHDOG OOM_KILLED", "STOP_SIGTERM OOM_KILLED oom_policy=kill"),
    ),
    *lines("""
RUNNING OOM_KILLED main -> STOP: RUN
RUNNING OOM_KILLED -> STOP: RUN
EXITED OOM_KILLED -> STOP: RUN
RELOAD_NOTIFY OOM_KILLED -> STOP: RUN
RELOAD OOM_KILLED control -> STOP: KILL_CONTROL RUN
START OOM_KILLED main oom_policy=continue -> START
RUNNING OOM_KILLED main oom_policy=continue -> RUNNING
RELOAD OOM_KILLED main oom_policy=continue -> RELOAD
STOP_SIGTERM OOM_KILLED main oom_policy=continue -> STOP_SIGTERM
FINAL_WATCHDOG OOM_KILLED main oom_policy=continue -> FINAL_WATCHDOG
STOP_POST OOM_KILLED control -> FINAL_SIGKILL: KILL_HARD ARM_STOP
FINAL_SIGTERM OOM_KILLED leftovers -> FINAL_SIGKILL: KILL_HARD ARM_STOP
FINAL_SIGTERM OOM_KILLED leftovers kill_mode=mixed -> FINAL_SIGKILL: KILL_HARD ARM_STOP
STOP_SIGKILL OOM_KILLED main oom_policy=kill -> STOP_SIGKILL
FINAL_SIGKILL OOM_KILLED main -> FINAL_SIGKILL
AUTO_RESTART OOM_KILLED -> AUTO_RESTART
"""),
    *lines(ENDS, "STOP_POST OOM_KILLED", "FINAL_SIGTERM OOM_KILLED leftovers kill_mode=process"),
    # Stopping: commands, ask, wait, kill, commands.
    *lines(KILLS, "STOP DONE", "STOP CONTROL_EXITED command_failed"),
    *lines(ABORTS, "STOP_SIGTERM TIMEOUT timeout_mode=abort", before="FAIL_TIMEOUT"),
    *lines("""
STOP_SIGTERM MAIN_EXITED control -> STOP_SIGTERM
STOP_WATCHDOG CONTROL_EXITED main -> STOP_WATCHDOG
STOP_SIGKILL MAIN_EXITED leftovers -> STOP_POST: RUN
STOP_WATCHDOG TIMEOUT -> STOP_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
STOP_WATCHDOG TIMEOUT kills_hard=no -> STOP_POST: FAIL_TIMEOUT RUN
STOP_SIGTERM TIMEOUT -> STOP_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
STOP_SIGTERM TIMEOUT kills_hard=no -> STOP_POST: FAIL_TIMEOUT RUN
STOP_SIGKILL TIMEOUT main -> STOP_POST: FAIL_TIMEOUT RUN   # it hangs in the kernel
STOP_POST TIMEOUT -> FINAL_SIGTERM: FAIL_TIMEOUT KILL ARM_STOP
STOP_POST TIMEOUT timeout_mode=abort -> FINAL_WATCHDOG: FAIL_TIMEOUT KILL_WATCHDOG ARM_ABORT
STOP_POST TIMEOUT timeout_mode=kill -> FINAL_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
STOP_POST TIMEOUT timeout_mode=kill kills_hard=no restarts -> FAILED: FAIL_TIMEOUT TELL_DOWN
FINAL_WATCHDOG MAIN_EXITED control -> FINAL_WATCHDOG
FINAL_SIGTERM CONTROL_EXITED leftovers -> FINAL_SIGTERM
FINAL_SIGKILL CONTROL_EXITED leftovers -> FINAL_SIGKILL: KILL_HARD   # who became visible just now
FINAL_SIGTERM TIMEOUT -> FINAL_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
FINAL_SIGTERM TIMEOUT timeout_mode=abort -> FINAL_WATCHDOG: FAIL_TIMEOUT KILL_WATCHDOG ARM_ABORT
FINAL_SIGTERM TIMEOUT timeout_mode=kill -> FINAL_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
FINAL_WATCHDOG TIMEOUT timeout_mode=abort -> FINAL_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM_STOP
FINAL_WATCHDOG TIMEOUT kills_hard=no restarts -> FAILED: FAIL_TIMEOUT TELL_DOWN
FINAL_SIGTERM TIMEOUT kills_hard=no restarts -> FAILED: FAIL_TIMEOUT TELL_DOWN   # it would run beside what is left
"""),
    *lines(FINISHES, "STOP_POST DONE", "STOP_POST CONTROL_EXITED command_failed"),
    *lines(ENDS, "FINAL_SIGTERM GROUP_GONE", "FINAL_WATCHDOG CONTROL_EXITED", "FINAL_SIGKILL CONTROL_EXITED"),
    *lines("""
FINAL_SIGKILL TIMEOUT restarts -> AUTO_RESTART: FAIL_TIMEOUT ARM_RESTART TELL_DOWN
FINAL_SIGKILL TIMEOUT -> FAILED: FAIL_TIMEOUT TELL_DOWN   # whatever it was before: it hangs in the kernel
"""),
    # In a hurry: no more commands.
    *lines(FINISHES, "STOP_SIGKILL MAIN_EXITED hurried", "STOP_SIGTERM GROUP_GONE hurried", "EXITED HURRY"),
    *lines(FINISHES, "STOP_SIGKILL TIMEOUT hurried", before="FAIL_TIMEOUT"),
    *lines(ENDS, "START_PRE HURRY", "RUNNING HURRY kill_mode=none main"),
    *lines("""
START_PRE HURRY control -> STOP_SIGKILL: KILL_HARD ARM_STOP
RUNNING HURRY main -> STOP_SIGKILL: KILL_HARD ARM_STOP
STOP_SIGTERM HURRY leftovers kill_mode=mixed -> FINAL_SIGKILL: KILL_HARD ARM_STOP
STOP_POST HURRY -> FINAL_SIGKILL: KILL_HARD ARM_STOP
FINAL_WATCHDOG HURRY -> FINAL_SIGKILL: KILL_HARD ARM_STOP
FINAL_SIGKILL HURRY -> FINAL_SIGKILL
AUTO_RESTART STOP -> DEAD: TELL_DOWN
AUTO_RESTART HURRY -> DEAD: TELL_DOWN
STOP_SIGTERM STOP -> STOP_SIGTERM
# Said too early, too late, or for others.
STOP EXECUTED -> STOP
RUNNING READY -> RUNNING
START RELOADING -> START
START STOPPING -> START
STOP WATCHDOG -> STOP
START RELOAD -> START
START GROUP_GONE -> START
"""),
]

CLOSES = """
                                                 -> STOP_POST: CLOSE RUN
                                      hands_over -> STOP_POST: RUN CLOSE
"""
SOCKET_ENDS = """
                                                 -> DEAD
                                          failed -> FAILED
"""
SOCKET = [
    *lines("""
# Reference, 5.2: dead -> start-pre -> start-open -> start-post -> listening
FAILED START -> START_PRE: RUN
START_PRE EXITED -> START_PRE: RUN_NEXT
START_PRE DONE -> OPENING: OPEN
OPENING OPENED -> START_POST: RUN
START_POST DONE -> LISTENING: WATCH
START_POST DONE flushes -> LISTENING: FLUSH WATCH
START_POST DONE flushes accept -> LISTENING: WATCH
# start-pre failure or timeout: final-sigterm, final-sigkill, failed
START_PRE EXITED command_failed leftovers -> FINAL_SIGTERM: KILL ARM
START_PRE TIMEOUT -> FINAL_SIGTERM: FAIL_TIMEOUT KILL ARM
# open failure: the stop-pre chain, result resources; start-post failure likewise
OPENING OPEN_FAILED -> STOP_PRE: FAIL_RESOURCES RUN
START_POST EXITED command_failed -> STOP_PRE: RUN
START_POST TIMEOUT -> STOP_PRE_SIGTERM: FAIL_TIMEOUT KILL ARM
# traffic
LISTENING READABLE -> RUNNING: UNWATCH START_SERVICE
LISTENING READABLE limited -> STOP_PRE: FAIL_TRIGGER_LIMIT UNWATCH RUN
LISTENING READABLE limited pauses -> PAUSED: REPORT_PAUSE UNWATCH ARM_PAUSE
LISTENING READABLE accept limited -> LISTENING: ACCEPT
LISTENING CONNECTED accept -> LISTENING: SERVE
LISTENING CONNECTED accept connections=1 -> LISTENING: REFUSE
LISTENING CONNECTED accept from_source=2 most_from_source=2 -> LISTENING: REFUSE
LISTENING CONNECTED accept from_source=9 most_from_source=0 -> LISTENING: SERVE
LISTENING CONNECTED accept limited -> STOP_PRE: REFUSE FAIL_TRIGGER_LIMIT UNWATCH RUN
LISTENING CONNECTED accept limited pauses -> PAUSED: SERVE REPORT_PAUSE UNWATCH ARM_PAUSE
LISTENING CONNECTED accept limited pauses connections=1 -> LISTENING: REFUSE
LISTENING BROKEN -> STOP_PRE: REPORT_BROKEN FAIL_RESOURCES UNWATCH RUN
RUNNING READABLE -> RUNNING
STOPPING CONNECTED accept -> STOPPING: REFUSE
PAUSED CONNECTED accept -> PAUSED: SERVE
PAUSED TIMEOUT -> LISTENING: WATCH
# running <-> listening, as the service comes and goes
LISTENING SERVICE_UP -> RUNNING: UNWATCH
PAUSED SERVICE_UP -> RUNNING
RUNNING SERVICE_UP -> RUNNING
RUNNING SERVICE_DOWN -> LISTENING: WATCH
RUNNING SERVICE_DOWN flushes -> LISTENING: FLUSH WATCH
PAUSED SERVICE_DOWN -> PAUSED
RUNNING SERVICE_LIMIT -> STOP_PRE: FAIL_SERVICE_LIMIT UNWATCH RUN
PAUSED SERVICE_LIMIT -> STOP_PRE: FAIL_SERVICE_LIMIT UNWATCH RUN
STOPPING SERVICE_DOWN -> STOPPING
# stop: from listening or running; during start-* the command is ended first
LISTENING STOP -> STOPPING: UNWATCH
RUNNING HURRY -> STOPPING: UNWATCH
START_PRE STOP -> STOP_PRE_SIGTERM: KILL ARM
START_POST HURRY -> STOP_PRE_SIGKILL: KILL_HARD ARM
STOPPING STOP -> STOPPING
STOPPING RELEASE -> STOP_PRE: RUN
STOP_PRE RELEASE -> STOP_PRE
STOP_PRE TIMEOUT -> STOP_PRE_SIGTERM: FAIL_TIMEOUT KILL ARM
STOP_PRE_SIGTERM TIMEOUT -> STOP_PRE_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM
STOP_POST DONE leftovers -> FINAL_SIGTERM: KILL ARM
STOP_POST TIMEOUT -> FINAL_SIGTERM: FAIL_TIMEOUT KILL ARM
FINAL_SIGTERM EXITED leftovers -> FINAL_SIGTERM
FINAL_SIGTERM TIMEOUT -> FINAL_SIGKILL: FAIL_TIMEOUT KILL_HARD ARM
FINAL_SIGKILL GROUP_GONE leftovers -> FINAL_SIGKILL: KILL_HARD
FINAL_SIGKILL TIMEOUT -> FAILED
STOP_PRE HURRY -> STOP_PRE_SIGKILL: KILL_HARD ARM
STOP_POST HURRY -> FINAL_SIGKILL: KILL_HARD ARM
FINAL_SIGKILL HURRY -> FINAL_SIGKILL
RUNNING GROUP_GONE -> RUNNING
"""),
    *lines(CLOSES, "STOP_PRE DONE", "STOP_PRE_SIGTERM EXITED command_failed"),
    *lines(CLOSES, "STOP_PRE_SIGKILL TIMEOUT", before="FAIL_TIMEOUT"),
    *lines(SOCKET_ENDS, "START_PRE EXITED command_failed", "STOP_POST DONE", "FINAL_SIGKILL GROUP_GONE"),
]


def read(module: Any, line: str) -> tuple[Any, Any, Any]:
    """State, event and facts of a line."""
    state, event, *words = line.partition("->")[0].split()
    facts: dict[str, object] = {}
    for word in words:
        name, _, value = word.partition("=")
        kind = type(getattr(FACTS[module], name))
        facts[name] = value != "no" if kind is bool else kind(value)
    return module.State[state], module.Event[event], FACTS[module].replace(**facts)


LINES = [(module, line) for module, lines_ in ((service, SERVICE), (socket, SOCKET)) for line in dict.fromkeys(lines_)]


@pytest.mark.parametrize(("module", "line"), LINES, ids=[" ".join(line.split()) for _, line in LINES])
def test_a_unit_goes_where_its_line_says(module: Any, line: str) -> None:
    to, _, effects = line.partition("->")[2].partition(":")
    state, event, facts = read(module, line)
    found, done = module.step(state, event, lambda: facts)
    assert (found.name, [effect.name for effect in done]) == (to.strip(), effects.split())


@pytest.mark.parametrize("module", MACHINES)
def test_every_row_has_its_line(module: Any) -> None:
    said = [first_match(module.MACHINE, *read(module, line)) for owner, line in LINES if owner is module]
    assert not [row for row in module.ROWS if not any(row is other for other in said)]


def first_match(machine: Machine, state: object, event: object, facts: object) -> Row:
    return next(row for row in machine.table[state, event] if row.guard is None or row.guard(facts))


def test_the_names_of_the_states_are_those_of_systemd() -> None:
    assert names(service.State) == {
        *("dead", "condition", "start-pre", "start", "start-post", "running", "exited", "reload", "stop"),
        *("reload-signal", "reload-notify", "reload-post"),
        *("stop-watchdog", "stop-sigterm", "stop-sigkill", "stop-post"),
        *("final-watchdog", "final-sigterm", "final-sigkill", "failed", "auto-restart"),
    }
    assert names(socket.State) - {"stopping", "paused"} == {
        *("dead", "start-pre", "start-open", "start-post", "listening", "running", "stop-pre", "stop-pre-sigterm"),
        *("stop-pre-sigkill", "stop-post", "final-sigterm", "final-sigkill", "failed"),
    }


def names(states: Iterable[Any]) -> set[str]:
    return {state.value for state in states}


@pytest.mark.parametrize(
    ("ended", "how", "result"),
    [
        (Exit(), {}, SUCCESS),
        (Exit(3), {}, EXIT_CODE),
        (Exit(3), {"forgiven": True}, SUCCESS),
        (Exit(3), {"success": (ExitStatus(3),)}, SUCCESS),
        (Exit(signal=15), {}, SIGNAL),
        (Exit(signal=15), {"daemon": True}, SUCCESS),
        (Exit(signal=9), {"daemon": True}, SIGNAL),
        (Exit(signal=9), {"daemon": True, "forgiven": True}, SUCCESS),
        (Exit(signal=11, dumped=True), {"daemon": True}, CORE_DUMP),
        (Exit(signal=11, dumped=True), {}, CORE_DUMP),
    ],
)
def test_the_end_of_a_process_stands_for_a_result(ended: Exit, how: dict[str, Any], result: str) -> None:
    assert limits.result_of(ended, **how) == result
