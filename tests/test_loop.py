"""The loop, with real descriptors: how often a descriptor may call back (PollLimit…=), deadlines, and sleeping without a cause.

Time is moved on by hand, and a turn never waits: it is noted how long it would have.
"""

from __future__ import annotations

import gc
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from sockact.runtime.kernel import Kernel
from sockact.runtime.loop import LONGEST_WAIT, Loop, Timer

HOUR = 3600.0


class Epoll:
    """An epoll that notes how long it was to wait, and does not."""

    def __init__(self) -> None:
        self.real = select.epoll()
        self.register, self.unregister, self.modify = self.real.register, self.real.unregister, self.real.modify
        self.waits: list[float | None] = []
        self.events = 0

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        found = self.real.poll(0, most)
        self.events += len(found)
        return found


class Clock(Kernel):
    """The real kernel with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.time = super().now()
        self.noted = Epoll()

    def now(self) -> float:
        return self.time

    def epoll(self) -> select.epoll:
        return self.noted  # type: ignore[return-value]


class Bench:
    """A loop on such a kernel, and descriptors that have something to read."""

    def __init__(self) -> None:
        self.kernel = Clock()
        self.complaints: list[Exception] = []
        self.settled = 0
        self.loop = Loop(self.kernel, self.settle, self.complaints.append)
        self.calls: list[str] = []
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def settle(self) -> None:
        self.settled += 1

    def readable(self) -> int:
        """A descriptor that stays readable."""
        self.pairs.append(socket.socketpair())
        ours, theirs = self.pairs[-1]
        theirs.send(b"x")
        return ours.fileno()

    def other_end(self, fd: int) -> socket.socket:
        return next(theirs for ours, theirs in self.pairs if ours.fileno() == fd)

    def noting(self, name: str) -> Callable[[int], None]:
        return lambda _: self.calls.append(name)

    def turns(self, count: int) -> list[str]:
        """What is called in so many turns."""
        self.calls.clear()
        for _ in range(count):
            self.loop.turn()
        return sorted(self.calls)

    @property
    def would_wait(self) -> float | None:
        """How long the next turn would wait: None for ever, if nothing comes."""
        self.loop.turn()
        return self.kernel.noted.waits[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    assert made.complaints == []
    made.kernel.noted.real.close()
    for pair in made.pairs:
        for one in pair:
            one.close()


# How often a descriptor may call back


def test_without_a_limit_a_descriptor_calls_back_at_every_turn(bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"))
    assert bench.turns(1000) == ["a"] * 1000


@pytest.mark.parametrize("limit", [(HOUR, 0), (0.0, 3), (0.0, 0)])
def test_a_zero_in_the_limit_switches_it_off(limit: tuple[float, int], bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"), limit)
    assert bench.turns(100) == ["a"] * 100


@pytest.mark.parametrize("burst", [1, 2, 150])
def test_a_descriptor_calls_back_as_often_as_the_limit_says_and_then_rests(burst: int, bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"), (HOUR, burst))
    assert bench.turns(burst + 10) == ["a"] * burst


def test_the_limit_counts_for_each_descriptor(bench: Bench) -> None:
    for name, burst in (("a", 2), ("b", 3)):
        bench.loop.watch(bench.readable(), bench.noting(name), (HOUR, burst))
    bench.loop.watch(bench.readable(), bench.noting("c"))
    assert bench.turns(5) == [*"aabbb", *"ccccc"]


def test_a_rest_ends_with_the_interval_that_began_with_the_first_event(bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"), (10.0, 2))
    assert bench.turns(1) == ["a"]
    bench.kernel.time += 4
    assert bench.turns(3) == ["a"]
    assert bench.would_wait == pytest.approx(6.0)
    bench.kernel.time += 5.9
    assert bench.turns(2) == []
    bench.kernel.time += 0.2
    assert bench.turns(10) == ["a", "a"]
    bench.kernel.time += 10.1
    assert bench.turns(10) == ["a", "a"]


def test_a_descriptor_that_stays_below_its_limit_never_rests(bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"), (10.0, 2))
    for _ in range(20):
        assert bench.turns(1) == ["a"]
        bench.kernel.time += 6
    assert bench.kernel.noted.waits[-1] is None


def test_a_descriptor_at_rest_wakes_nobody_before_its_time(bench: Bench) -> None:
    bench.loop.watch(bench.readable(), bench.noting("a"), (HOUR, 2))
    bench.turns(3)
    before = bench.kernel.noted.events
    assert bench.turns(10) == []
    assert bench.kernel.noted.events == before
    assert bench.would_wait == pytest.approx(HOUR)


def test_a_descriptor_at_rest_wakes_nobody_when_its_other_end_is_closed(bench: Bench) -> None:
    """epoll(7) reports EPOLLHUP and EPOLLERR of whatever is registered, asked for or not."""
    fd = bench.readable()
    bench.loop.watch(fd, bench.noting("a"), (HOUR, 2))
    bench.turns(3)
    bench.other_end(fd).close()
    before = bench.kernel.noted.events
    assert bench.turns(10) == []
    assert bench.kernel.noted.events == before, "a busy loop, with one more timer at each turn"
    bench.kernel.time += HOUR + 1
    assert bench.turns(10) == ["a", "a"]


def test_a_descriptor_that_is_watched_again_starts_afresh(bench: Bench) -> None:
    fd = bench.readable()
    for _ in range(3):
        bench.loop.watch(fd, bench.noting("a"), (HOUR, 2))
        assert bench.turns(10) == ["a", "a"]
        bench.loop.unwatch(fd)
        assert bench.turns(10) == []


def test_the_rest_of_a_watch_that_ended_does_not_shorten_that_of_the_next_one(bench: Bench) -> None:
    fd = bench.readable()
    bench.loop.watch(fd, bench.noting("a"), (10.0, 1))
    bench.turns(2)
    bench.loop.unwatch(fd)
    bench.kernel.time += 8
    bench.loop.watch(fd, bench.noting("b"), (10.0, 1))
    assert bench.turns(2) == ["b"]
    bench.kernel.time += 3
    assert bench.turns(5) == [], "the first one would wake now"
    bench.kernel.time += 8
    assert bench.turns(5) == ["b"]


def test_a_descriptor_at_rest_can_be_unwatched_and_closed(bench: Bench) -> None:
    fd = bench.readable()
    bench.loop.watch(fd, bench.noting("a"), (10.0, 1))
    bench.turns(2)
    bench.loop.unwatch(fd)
    bench.pairs[0][0].close()
    bench.kernel.time += 11
    assert bench.turns(2) == []


def test_a_number_that_is_used_again_for_another_descriptor_has_its_own_limit(bench: Bench) -> None:
    fd = bench.readable()
    bench.loop.watch(fd, bench.noting("a"), (HOUR, 1))
    bench.turns(2)
    bench.loop.unwatch(fd)
    bench.pairs[0][0].close()
    assert bench.readable() == fd
    bench.loop.watch(fd, bench.noting("b"), (HOUR, 2))
    assert bench.turns(5) == ["b", "b"]


def test_unwatching_what_nobody_watches_is_harmless(bench: Bench) -> None:
    fd = bench.readable()
    bench.loop.unwatch(fd)
    bench.loop.watch(fd, bench.noting("a"))
    bench.loop.unwatch(fd)
    bench.loop.unwatch(fd)
    assert bench.turns(3) == []


def test_a_callback_may_end_the_watch_of_another_descriptor_of_the_same_turn(bench: Bench) -> None:
    one, two = bench.readable(), bench.readable()

    def only(name: str, other: int) -> Callable[[int], None]:
        def note(_: int) -> None:
            bench.calls.append(name)
            bench.loop.unwatch(other)

        return note

    bench.loop.watch(one, only("one", two))
    bench.loop.watch(two, only("two", one))
    assert len(bench.turns(1)) == 1


# Deadlines


def test_without_a_deadline_the_loop_sleeps_until_something_comes(bench: Bench) -> None:
    assert bench.would_wait is None


def test_deadlines_come_in_their_order_once(bench: Bench) -> None:
    for seconds in (3, 1, 2):
        bench.loop.after(seconds, lambda name=str(seconds): bench.calls.append(name))  # type: ignore[misc]
    assert bench.would_wait == pytest.approx(1.0)
    bench.calls.clear()
    bench.kernel.time += 2.5
    bench.loop.turn()
    assert bench.calls == ["1", "2"]
    bench.kernel.time += 1
    bench.loop.turn()
    bench.loop.turn()
    assert bench.calls == ["1", "2", "3"]
    assert bench.would_wait is None


def test_a_deadline_that_was_called_off_neither_calls_nor_wakes(bench: Bench) -> None:
    bench.loop.after(1.0, lambda: bench.calls.append("never")).cancel()
    kept = bench.loop.after(5.0, lambda: bench.calls.append("kept"))
    assert bench.would_wait == pytest.approx(5.0)
    kept.cancel()
    assert bench.would_wait is None
    bench.kernel.time += 10
    assert bench.turns(2) == []


def test_a_far_deadline_is_waited_for_in_pieces(bench: Bench) -> None:
    bench.loop.after(1e9, lambda: None)
    assert bench.would_wait == LONGEST_WAIT


def test_the_end_of_a_watch_is_the_end_of_its_rest(bench: Bench) -> None:
    """Nothing is left that would wake the process in an hour for nothing."""
    fd = bench.readable()
    bench.loop.watch(fd, bench.noting("a"), (HOUR, 1))
    bench.turns(2)
    bench.loop.unwatch(fd)
    assert bench.would_wait is None


def test_rests_that_ended_leave_no_timers(bench: Bench) -> None:
    fd, before = bench.readable(), timers()
    for _ in range(100):
        bench.loop.watch(fd, bench.noting("a"), (HOUR, 1))
        bench.turns(2)
        bench.loop.unwatch(fd)
    bench.turns(1)
    assert timers() == before


def test_deadlines_that_were_called_off_are_forgotten_when_those_before_them_have_passed(bench: Bench) -> None:
    """As with a service whose start is waited for: armed when it starts, called off when it runs."""
    before = timers()
    bench.loop.after(1.0, lambda: None)
    for _ in range(1000):
        bench.loop.after(90.0, lambda: None).cancel()
    bench.kernel.time += 2
    bench.turns(2)
    assert timers() == before


def timers() -> int:
    gc.collect()
    return sum(isinstance(one, Timer) for one in gc.get_objects())


# Callbacks


def test_what_a_callback_has_caused_is_settled_before_the_next_one(bench: Bench) -> None:
    seen = list[int]()
    for _ in range(2):
        bench.loop.watch(bench.readable(), lambda _: seen.append(bench.settled))
    bench.loop.turn()
    assert seen == [0, 1]


def test_an_error_in_a_callback_is_told_and_ends_nothing(bench: Bench) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("a bug of ours")

    bench.loop.watch(bench.readable(), fail)
    bench.loop.watch(bench.readable(), bench.noting("a"))
    assert bench.turns(2) == ["a", "a"]
    assert [str(error) for error in bench.complaints] == ["a bug of ours"] * 2
    bench.complaints.clear()


def test_signals_call_back_once_for_each_number_of_a_turn(bench: Bench) -> None:
    heard = list[int]()
    before = signal.getsignal(signal.SIGUSR1)
    try:
        bench.loop.signals((signal.SIGUSR1,), heard.append)
        for _ in range(3):
            signal.raise_signal(signal.SIGUSR1)
        bench.turns(2)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
