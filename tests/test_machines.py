"""The state machines: every pair of state and event is decided, every row is of use, and no order of events breaks a promise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.lifecycle import limits, machine, service, socket
from sockact.lifecycle.limits import CORE_DUMP, EXIT_CODE, PROTOCOL, RESTARTS, SIGNAL, SUCCESS, TIMEOUT, Exit
from sockact.lifecycle.machine import Machine, Row

SocketState, SocketEvent, SocketEffect = socket.State, socket.Event, socket.Effect
State, Event, Effect = service.State, service.Event, service.Effect

SOCKET_FACTS = [
    socket.Facts(accept, limited, connections, 1, from_source, most_from_source)
    for accept, limited, connections, from_source, most_from_source in product(
        (False, True), (False, True), (0, 1), (0, 1), (0, 1)
    )
]
TYPES = ("simple", "exec", "notify", "oneshot")
KILL_MODES = ("control-group", "mixed", "process", "none")
RESULTS = (SUCCESS, EXIT_CODE, SIGNAL, CORE_DUMP, TIMEOUT, PROTOCOL)
FLAGS = (False, True)
SERVICE_FACTS = [service.Facts(*values) for values in product(TYPES, RESTARTS, KILL_MODES, RESULTS, FLAGS, FLAGS, FLAGS, FLAGS)]
MACHINES = [
    pytest.param(socket.MACHINE, SocketState, SocketEvent, SOCKET_FACTS, id="socket"),
    pytest.param(service.MACHINE, State, Event, SERVICE_FACTS, id="service"),
]


# The tables


@pytest.mark.parametrize(("table", "states", "events", "facts"), MACHINES)
def test_every_state_and_event_is_decided_or_impossible_and_never_both(
    table: Machine, states: Any, events: Any, facts: list[Any]
) -> None:
    pairs = set(product(states, events))
    assert set(table.table) | set(table.impossible) == pairs
    assert set(table.table) & set(table.impossible) == set()
    assert all(table.impossible.values()), "each impossible pair has its reason"


@pytest.mark.parametrize(("table", "states", "events", "facts"), MACHINES)
def test_no_pair_is_left_undecided_by_its_guards(table: Machine, states: Any, events: Any, facts: list[Any]) -> None:
    for pair, rows in table.table.items():
        assert rows[-1].guard is None, f"{pair}: the last row must take what the others leave"


@pytest.mark.parametrize(("table", "states", "events", "facts"), MACHINES)
def test_every_row_is_the_first_to_match_for_some_facts(table: Machine, states: Any, events: Any, facts: list[Any]) -> None:
    for pair, rows in table.table.items():
        chosen = set()
        for found in facts:
            chosen.add(next(i for i, row in enumerate(rows) if row.guard is None or row.guard(found)))
            if len(chosen) == len(rows):
                break
        assert chosen == set(range(len(rows))), f"{pair}: a row is never reached"


@pytest.mark.parametrize(("table", "states", "events", "facts"), MACHINES)
def test_every_state_event_and_effect_is_used(table: Machine, states: Any, events: Any, facts: list[Any]) -> None:
    effects: Any = SocketEffect if states is SocketState else Effect
    rows = [row for rows in table.table.values() for row in rows]
    assert {effect for row in rows for effect in row.effects} == set(effects)
    assert {event for _, event in table.table} == set(events)
    assert {row.to for row in rows if row.to} | {states.DEAD} == set(states)


def test_the_first_row_that_matches_wins_and_a_row_may_stay_where_it_is() -> None:
    table = Machine(
        (
            Row("a", "go", "b", ("one",), guard=bool),
            Row(("a", "b"), "go", None, ("two",)),
            Row("b", ("stop", "halt"), "a"),
        ),
        {("a", "stop"): "why not"},
    )
    assert table.step("a", "go", True) == ("b", ("one",))
    assert table.step("a", "go", False) == ("a", ("two",))
    assert table.step("b", "go", True) == ("b", ("two",))
    assert table.step("b", "halt", None) == ("a", ())
    with pytest.raises(LookupError, match="why not"):
        table.step("a", "stop", None)
    with pytest.raises(LookupError, match="no row"):
        table.step("a", "halt", None)
    assert machine.Row is Row


# What a transition means, said once for each


FACTS = service.Facts("simple", "no", "control-group")


@pytest.mark.parametrize(
    ("state", "event", "facts", "to", "effects"),
    [
        ("DEAD", "START", {}, "RUNNING", ["SPAWN", "TELL_UP"]),
        ("DEAD", "START", {"type": "exec"}, "START", ["SPAWN", "ARM_START"]),
        ("FAILED", "START", {"type": "notify"}, "START", ["SPAWN", "ARM_START"]),
        ("DEAD", "START", {"limited": True}, "FAILED", ["TELL_LIMIT"]),
        ("AUTO_RESTART", "TIMEOUT", {"limited": True}, "FAILED", ["TELL_LIMIT"]),
        ("AUTO_RESTART", "TIMEOUT", {}, "RUNNING", ["SPAWN", "TELL_UP"]),
        ("AUTO_RESTART", "START", {}, "AUTO_RESTART", []),
        ("START", "EXECUTED", {"type": "exec"}, "RUNNING", ["TELL_UP"]),
        ("START", "EXECUTED", {"type": "notify"}, "START", []),
        ("START", "READY", {"type": "notify"}, "RUNNING", ["TELL_UP"]),
        ("START", "READY", {"type": "oneshot"}, "START", []),
        ("START", "TIMEOUT", {"type": "notify"}, "STOP_SIGTERM", ["FAIL_TIMEOUT", "KILL", "ARM_STOP"]),
        ("START", "EXITED", {"type": "oneshot", "more_commands": True}, "START", ["SPAWN_NEXT", "ARM_START"]),
        ("START", "EXITED", {"type": "oneshot", "more_commands": True, "result": EXIT_CODE}, "FAILED", ["TELL_DOWN"]),
        ("START", "EXITED", {"type": "oneshot"}, "DEAD", ["TELL_DOWN"]),
        ("RUNNING", "EXITED", {}, "DEAD", ["TELL_DOWN"]),
        ("RUNNING", "EXITED", {"result": SIGNAL}, "FAILED", ["TELL_DOWN"]),
        ("RUNNING", "EXITED", {"result": SIGNAL, "restart": "on-failure"}, "AUTO_RESTART", ["ARM_RESTART", "TELL_DOWN"]),
        ("RUNNING", "EXITED", {"result": SIGNAL, "restart": "always", "stop_asked": True}, "FAILED", ["TELL_DOWN"]),
        ("RUNNING", "EXITED", {"leftovers": True}, "FINAL_SIGTERM", ["KILL_LEFTOVERS", "ARM_STOP"]),
        ("RUNNING", "EXITED", {"leftovers": True, "kill_mode": "mixed"}, "FINAL_SIGKILL", ["KILL_HARD", "ARM_STOP"]),
        ("RUNNING", "EXITED", {"leftovers": True, "kill_mode": "process"}, "DEAD", ["TELL_DOWN"]),
        ("RUNNING", "STOP", {}, "STOP_SIGTERM", ["KILL", "ARM_STOP"]),
        ("RUNNING", "STOP", {"kill_mode": "none", "stop_asked": True}, "DEAD", ["TELL_DOWN"]),
        ("RUNNING", "STOPPING", {}, "STOP_SIGTERM", ["ARM_STOP"]),
        ("STOP_SIGTERM", "TIMEOUT", {}, "STOP_SIGKILL", ["FAIL_TIMEOUT", "KILL_HARD", "ARM_STOP"]),
        ("STOP_SIGTERM", "EXITED", {"stop_asked": True}, "DEAD", ["TELL_DOWN"]),
        ("STOP_SIGKILL", "EXITED", {"result": TIMEOUT, "stop_asked": True}, "FAILED", ["TELL_DOWN"]),
        ("STOP_SIGKILL", "EXITED", {"leftovers": True}, "FINAL_SIGKILL", ["KILL_HARD", "ARM_STOP"]),
        ("FINAL_SIGTERM", "TIMEOUT", {}, "FINAL_SIGKILL", ["FAIL_TIMEOUT", "KILL_HARD", "ARM_STOP"]),
        ("FINAL_SIGTERM", "GROUP_GONE", {}, "DEAD", ["TELL_DOWN"]),
        ("FINAL_SIGKILL", "TIMEOUT", {"result": TIMEOUT}, "FAILED", ["TELL_DOWN"]),
        ("RUNNING", "HURRY", {}, "STOP_SIGKILL", ["KILL_HARD", "ARM_STOP"]),
        ("AUTO_RESTART", "STOP", {}, "DEAD", []),
        ("AUTO_RESTART", "HURRY", {}, "DEAD", []),
    ],
)
def test_a_service_goes_where_systemd_says(state: str, event: str, facts: dict[str, Any], to: str, effects: list[str]) -> None:
    found, done = service.step(State[state], Event[event], FACTS.replace(**facts))
    assert (found.name, [effect.name for effect in done]) == (to, effects)


@pytest.mark.parametrize(
    ("state", "event", "facts", "to", "effects"),
    [
        ("DEAD", "START", {}, "OPENING", ["OPEN"]),
        ("FAILED", "START", {}, "OPENING", ["OPEN"]),
        ("OPENING", "OPENED", {}, "LISTENING", ["WATCH"]),
        ("OPENING", "OPEN_FAILED", {}, "FAILED", []),
        ("LISTENING", "READABLE", {}, "RUNNING", ["UNWATCH", "START_SERVICE"]),
        ("LISTENING", "READABLE", {"limited": True}, "FAILED", ["REPORT_TRIGGER_LIMIT", "UNWATCH", "CLOSE"]),
        ("LISTENING", "READABLE", {"accept": True}, "LISTENING", ["ACCEPT"]),
        ("LISTENING", "CONNECTED", {"accept": True}, "LISTENING", ["SERVE"]),
        ("LISTENING", "CONNECTED", {"accept": True, "connections": 1}, "LISTENING", ["REFUSE"]),
        ("LISTENING", "CONNECTED", {"accept": True, "from_source": 2, "most_from_source": 2}, "LISTENING", ["REFUSE"]),
        ("LISTENING", "CONNECTED", {"accept": True, "from_source": 9, "most_from_source": 0}, "LISTENING", ["SERVE"]),
        (
            "LISTENING",
            "CONNECTED",
            {"accept": True, "limited": True},
            "FAILED",
            ["REFUSE", "REPORT_TRIGGER_LIMIT", "UNWATCH", "CLOSE"],
        ),
        ("LISTENING", "BROKEN", {}, "FAILED", ["REPORT_BROKEN", "UNWATCH", "CLOSE"]),
        ("LISTENING", "SERVICE_UP", {}, "RUNNING", ["UNWATCH"]),
        ("RUNNING", "SERVICE_DOWN", {}, "LISTENING", ["WATCH"]),
        ("RUNNING", "READABLE", {}, "RUNNING", []),
        ("RUNNING", "SERVICE_LIMIT", {}, "FAILED", ["REPORT_SERVICE_LIMIT", "UNWATCH", "CLOSE"]),
        ("LISTENING", "STOP", {}, "STOPPING", ["UNWATCH"]),
        ("RUNNING", "STOP", {}, "STOPPING", ["UNWATCH"]),
        ("STOPPING", "RELEASE", {}, "DEAD", ["CLOSE"]),
        ("STOPPING", "SERVICE_DOWN", {}, "STOPPING", []),
    ],
)
def test_a_socket_goes_where_systemd_says(state: str, event: str, facts: dict[str, Any], to: str, effects: list[str]) -> None:
    known = socket.Facts(False, most=1).replace(**facts)
    found, done = socket.step(SocketState[state], SocketEvent[event], known)
    assert (found.name, [effect.name for effect in done]) == (to, effects)


@pytest.mark.parametrize(
    ("ended", "state", "kind", "forgiven", "result"),
    [
        (Exit(), "RUNNING", "simple", False, SUCCESS),
        (Exit(3), "RUNNING", "simple", False, EXIT_CODE),
        (Exit(3), "RUNNING", "simple", True, SUCCESS),
        (Exit(signal=15), "RUNNING", "simple", False, SUCCESS),
        (Exit(signal=9), "RUNNING", "simple", False, SIGNAL),
        (Exit(signal=9), "RUNNING", "simple", True, SUCCESS),
        (Exit(signal=11, dumped=True), "RUNNING", "simple", False, CORE_DUMP),
        (Exit(), "START", "notify", False, PROTOCOL),
        (Exit(), "START", "notify", True, PROTOCOL),
        (Exit(3), "START", "notify", False, EXIT_CODE),
        (Exit(), "START", "oneshot", False, SUCCESS),
        (Exit(), "RUNNING", "notify", False, SUCCESS),
    ],
)
def test_the_end_of_the_main_process_stands_for_a_result(ended: Exit, state: str, kind: str, forgiven: bool, result: str) -> None:
    assert service.result_of(ended, State[state], kind, forgiven) == result


# Whatever happens


class World:
    """A socket with its service, and a machine they live on: what the supervisor does, without the doing.

    Effects change the world as the supervisor would; every promise is checked where it could be broken.
    """

    TIMED = (State.START, State.STOP_SIGTERM, State.STOP_SIGKILL, State.FINAL_SIGTERM, State.FINAL_SIGKILL, State.AUTO_RESTART)
    OVER = (State.DEAD, State.FAILED)

    def __init__(self, kind: str, restart: str, kill_mode: str, accept: bool, choices: Iterator[int]) -> None:
        self.facts = service.Facts(kind, restart, kill_mode)
        self.accept = accept
        self.choices = choices
        self.queue: deque[Any] = deque()
        self.socket, self.service = SocketState.DEAD, State.DEAD
        self.open = self.watched = self.stopped = False
        self.main = self.group = self.timer = False
        self.result = SUCCESS
        self.commands = 0
        self.up = self.told_up = self.hung = False
        self.post(SocketEvent.START)

    def chance(self, of: int = 2) -> bool:
        return next(self.choices) % of == 0

    def post(self, event: Any) -> None:
        self.queue.append(event)

    def live(self, length: int) -> None:
        """Let that many of the things happen that can happen."""
        for _ in range(length):
            actions = self.possible()
            actions[next(self.choices) % len(actions)]()
            self.settle()

    def settle(self) -> None:
        while self.queue:
            event = self.queue.popleft()
            if isinstance(event, SocketEvent):
                self.step_socket(event)
            else:
                self.step_service(event)
        self.check()

    # The socket

    def step_socket(self, event: Any) -> None:
        facts = socket.Facts(self.accept, limited=self.chance(9), connections=int(self.chance(4)), most=1)
        before = self.socket
        self.socket, effects = socket.step(before, event, facts)
        for effect in effects:
            self.do_socket(effect)
        if event is SocketEvent.CONNECTED:
            fates = [effect for effect in effects if effect in (SocketEffect.SERVE, SocketEffect.REFUSE)]
            assert len(fates) == 1, "a connection is served or closed"
        assert self.watched is (self.socket is SocketState.LISTENING)
        if self.socket is not SocketState.OPENING:
            assert self.open is (self.socket in (SocketState.LISTENING, SocketState.RUNNING, SocketState.STOPPING))

    def do_socket(self, effect: Any) -> None:
        if effect is SocketEffect.OPEN:
            assert not self.open
            self.open = not self.chance(5)
            # The supervisor settles this before it looks at anything else.
            self.queue.appendleft(SocketEvent.OPENED if self.open else SocketEvent.OPEN_FAILED)
        elif effect is SocketEffect.WATCH:
            assert self.open
            assert not self.watched
            self.watched = True
        elif effect is SocketEffect.UNWATCH:
            self.watched = False
        elif effect is SocketEffect.CLOSE:
            assert self.open
            assert not self.watched, "a closed descriptor is never watched"
            self.open = False
        elif effect is SocketEffect.ACCEPT:
            assert self.accept
            if self.chance():
                self.queue.append(SocketEvent.CONNECTED)
        elif effect is SocketEffect.START_SERVICE:
            assert not self.accept
            self.post(Event.START)

    # The service

    def step_service(self, event: Any) -> None:
        if event is Event.EXITED and self.result == SUCCESS:
            ended = (Exit(), Exit(1), Exit(signal=9), Exit(signal=15), Exit(signal=6, dumped=True))[next(self.choices) % 5]
            self.result = service.result_of(ended, self.service, self.facts.type, False)
        counted = event is Event.START and self.service in self.OVER
        counted = counted or (event is Event.TIMEOUT and self.service is State.AUTO_RESTART)
        facts = self.facts.replace(
            result=self.result,
            limited=counted and self.chance(6),
            leftovers=event is Event.EXITED and self.group,
            more_commands=self.commands > 0,
            stop_asked=self.stopped,
        )
        before = self.service
        self.service, effects = service.step(before, event, facts)
        if self.service is not before:
            self.timer = False
        for effect in effects:
            self.do_service(effect)
        if event is Event.EXITED and self.service in (*self.OVER, State.AUTO_RESTART):
            assert not (self.group and self.facts.kill_mode == "control-group"), "who is left is asked to go before the end"
        if self.service is not before:
            self.entered(before, effects)

    def entered(self, before: Any, effects: tuple[Any, ...]) -> None:
        idle = (*self.OVER, State.AUTO_RESTART)
        if self.service in idle and before not in idle:
            assert effects.count(Effect.TELL_DOWN) == 1, "an end is told, once"
        if self.service in idle:
            assert not self.main or self.facts.kill_mode == "none" or self.hung
            self.main = self.hung = self.group = False
        if self.service is State.AUTO_RESTART:
            assert not self.stopped, "who was stopped is not restarted"
        if self.service in (State.FINAL_SIGTERM, State.FINAL_SIGKILL):
            assert not self.main
            if self.chance(3):
                self.group = False
                self.post(Event.GROUP_GONE)

    def do_service(self, effect: Any) -> None:
        if effect in (Effect.SPAWN, Effect.SPAWN_NEXT):
            assert not self.main, "one main process at a time"
            self.main, self.group = True, self.chance(3)
            if effect is Effect.SPAWN:
                assert not self.up, "what was up before was told down"
                self.up, self.told_up, self.result = True, False, SUCCESS
                self.commands = 2 if self.facts.type == "oneshot" else 0
            else:
                assert self.up
                self.commands -= 1
        elif effect in (Effect.ARM_START, Effect.ARM_STOP, Effect.ARM_RESTART):
            self.timer = True
        elif effect is Effect.FAIL_TIMEOUT:
            self.result = TIMEOUT if self.result == SUCCESS else self.result
        elif effect is Effect.TELL_UP:
            assert self.up
            assert not self.told_up
            self.told_up = True
            self.tell(SocketEvent.SERVICE_UP)
        elif effect is Effect.TELL_DOWN:
            assert self.up, "an end is told once"
            self.up = False
            self.tell(SocketEvent.SERVICE_DOWN)
        elif effect is Effect.TELL_LIMIT:
            assert not self.up
            self.tell(SocketEvent.SERVICE_LIMIT)

    def tell(self, event: Any) -> None:
        if not self.accept:
            self.post(event)

    # What may happen next, and what must hold when nothing does

    def possible(self) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        if self.watched:
            found += [partial(self.post, SocketEvent.READABLE)] * 4 + [partial(self.post, SocketEvent.BROKEN)]
        if self.main:
            found += [self.exit] * 3 + [partial(self.post, event) for event in (Event.EXECUTED, Event.READY, Event.STOPPING)]
        if self.timer:
            found += [self.expire] * 2
        if self.service in (State.FINAL_SIGTERM, State.FINAL_SIGKILL):
            found += [self.vanish] * 2
        if not self.stopped:
            found += [partial(self.post, Event.START)]
        return [*found, partial(self.stop, Event.STOP), partial(self.stop, Event.HURRY)]

    def exit(self) -> None:
        self.main = False
        self.post(Event.EXITED)

    def expire(self) -> None:
        self.timer = False
        self.hung = self.service is State.STOP_SIGKILL
        self.post(Event.TIMEOUT)

    def vanish(self) -> None:
        self.group = False
        self.post(Event.GROUP_GONE)

    def stop(self, event: Any) -> None:
        self.stopped = True
        self.post(SocketEvent.STOP)
        self.post(event)

    def check(self) -> None:
        assert self.timer is (self.service in self.TIMED), f"{self.service} would wait for ever, or be woken for nothing"
        assert self.up is (self.service not in (*self.OVER, State.AUTO_RESTART))
        if self.service in (State.RUNNING, State.STOP_SIGTERM, State.STOP_SIGKILL):
            assert self.main
        if self.socket is SocketState.RUNNING:
            assert self.service not in self.OVER, "nobody would ever watch the socket again"


CHOICES = st.lists(st.integers(0, 1 << 16), min_size=20, max_size=300)
WORLDS = st.tuples(st.sampled_from(TYPES), st.sampled_from(sorted(RESTARTS)), st.sampled_from(KILL_MODES), st.booleans())


def endless(choices: list[int]) -> Iterator[int]:
    yield from choices
    number = sum(choices)
    while True:
        number = (number * 1103515245 + 12345) % (1 << 31)
        yield number >> 8


def started(settings_: tuple[str, str, str, bool], choices: list[int], length: int) -> World:
    """A world whose service was started by hand, some time later."""
    world = World(*settings_, endless(choices))
    world.post(Event.START)
    world.settle()
    world.live(length)
    return world


@settings(max_examples=300, deadline=None)
@given(WORLDS, CHOICES, st.integers(1, 60))
def test_no_order_of_events_breaks_a_promise_and_a_stop_ends_everything(
    settings_: tuple[str, str, str, bool], choices: list[int], length: int
) -> None:
    world = World(*settings_, endless(choices))
    world.settle()
    world.live(length)
    was_open = world.open
    world.stop(Event.STOP)
    world.settle()
    for _ in range(12):
        if world.service in World.OVER:
            break
        ending = [world.exit] * world.main + [world.expire] * world.timer + [world.vanish] * (not world.main)
        if world.service not in (State.FINAL_SIGTERM, State.FINAL_SIGKILL):
            ending = [action for action in ending if action != world.vanish]
        ending[next(world.choices) % len(ending)]()
        world.settle()
    assert world.service in World.OVER
    world.post(SocketEvent.RELEASE)
    world.settle()
    assert world.socket in ((SocketState.DEAD,) if was_open else (SocketState.DEAD, SocketState.FAILED))
    assert not world.open


@settings(max_examples=200, deadline=None)
@given(WORLDS, CHOICES, st.integers(0, 30))
def test_a_service_that_ignores_everything_is_given_up_after_two_timeouts(
    settings_: tuple[str, str, str, bool], choices: list[int], length: int
) -> None:
    world = started(settings_, choices, length)
    world.stop(Event.STOP)
    world.settle()
    for _ in range(2):
        if world.service not in World.OVER:
            world.expire()
            world.settle()
    assert world.service in World.OVER


@settings(max_examples=200, deadline=None)
@given(WORLDS, CHOICES, st.integers(0, 30))
def test_a_hurried_service_is_over_after_one_timeout_at_most(
    settings_: tuple[str, str, str, bool], choices: list[int], length: int
) -> None:
    world = started(settings_, choices, length)
    world.stop(Event.HURRY)
    world.settle()
    if world.service not in World.OVER:
        assert world.service in (State.STOP_SIGKILL, State.FINAL_SIGKILL)
        world.expire()
        world.settle()
    assert world.service in World.OVER


def test_the_limits_know_every_result() -> None:
    assert {result for restarted in limits.RESTARTS.values() for result in restarted} == set(RESULTS)
