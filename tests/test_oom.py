"""Whom the OOM killer has killed: it is told once, whoever tells of it first, and nothing is watched longer than is of use."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

import pytest

from sockact.lifecycle.control import controls
from sockact.runtime.loop import NO_LIMIT, READABLE, Loop, Timer
from sockact.runtime.oom import OomKills
from sockact.runtime.units import Unit
from tests.fakes import service_unit


class Timers(Loop):
    """A loop that watches and waits for nobody."""

    def __init__(self, kernel: Memory) -> None:
        self.kernel = kernel  # type: ignore[assignment]
        self.watched: dict[int, Callable[[int], None]] = {}
        self.later: list[Callable[[], None]] = []
        self.fails = 0

    def watch(
        self, fd: int, callback: Callable[[int], None], limit: tuple[float, int] = NO_LIMIT, events: int = READABLE
    ) -> None:
        assert events == select.EPOLLPRI
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        self.watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        del self.watched[fd]

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.later.append(callback)
        return Timer(seconds, callback)

    def pass_time(self) -> None:
        due, self.later = self.later, []
        for callback in due:
            callback()


class Memory:
    """The kernel, as far as it is asked: one group, and its descriptors."""

    def __init__(self) -> None:
        self.kills = 0
        self.opened: list[int] = []
        self.fails = 0

    @property
    def cgroups(self) -> Memory:
        return self

    def watch(self, name: str, file: str) -> int:
        assert (name, file) == ("web.service", "memory.events")
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        self.opened.append(10 + len(self.opened))
        return self.opened[-1]

    def oom_kills(self, name: str, fd: int) -> int:
        assert fd == -1 or fd in self.opened
        return self.kills

    def close(self, fd: int) -> None:
        self.opened.remove(fd)


class Bench:
    def __init__(self) -> None:
        self.kernel = Memory()
        self.loop = Timers(self.kernel)
        self.said: list[str] = []
        self.told = 0
        self.unit = Unit()
        self.unit.name = "web.service"
        self.oom = OomKills(self.kernel, self.loop, self.log, self.killed)  # type: ignore[arg-type]

    def log(self, level: str, who: str, what: str) -> None:
        self.said.append(f"{who}: {level}: {what}")

    def killed(self, unit: Unit) -> None:
        assert unit is self.unit
        self.told += 1


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_kill_is_told_once_whether_the_file_or_the_end_of_the_process_is_first(bench: Bench) -> None:
    bench.oom.begin(bench.unit)
    (notify,) = bench.loop.watched.values()
    notify(select.EPOLLPRI)
    bench.oom.look(bench.unit)
    assert bench.told == 0
    for first, second in ((notify, lambda _: bench.oom.look(bench.unit)), (lambda _: bench.oom.look(bench.unit), notify)):
        bench.told, bench.kernel.kills = 0, bench.kernel.kills + 2
        first(select.EPOLLPRI)
        second(select.EPOLLPRI)
        assert bench.told == 1


def test_who_was_killed_before_a_start_is_of_no_concern_to_it(bench: Bench) -> None:
    bench.kernel.kills = 3
    bench.oom.begin(bench.unit)
    bench.oom.look(bench.unit)
    assert bench.told == 0


def test_a_unit_is_watched_once_and_no_more_when_it_is_over(bench: Bench) -> None:
    for _ in range(3):
        bench.oom.begin(bench.unit)
        bench.oom.begin(bench.unit)
        assert bench.kernel.opened == [*bench.loop.watched] == [10]
        bench.oom.forget(bench.unit)
        bench.oom.forget(bench.unit)
        bench.kernel.kills += 1
        bench.oom.look(bench.unit)
        assert (bench.kernel.opened, bench.loop.watched, bench.told) == ([], {}, 0)
    bench.oom.begin(bench.unit)
    bench.oom.end()
    assert (bench.kernel.opened, bench.loop.watched) == ([], {})


@pytest.mark.parametrize("which", ["kernel", "loop"])
def test_what_cannot_be_watched_is_tried_again_and_nobody_is_missed(bench: Bench, which: str) -> None:
    getattr(bench, which).fails = errno.EMFILE
    bench.oom.begin(bench.unit)
    bench.loop.pass_time()
    assert (bench.kernel.opened, len(bench.loop.later)) == ([], 1)
    assert bench.said == ["web.service: warning: cannot watch its memory: Too many open files; trying again in a second"] * 2
    bench.kernel.kills = 1
    bench.oom.look(bench.unit)
    assert bench.told == 1, "the end of a process tells of it meanwhile"
    getattr(bench, which).fails, bench.kernel.kills = 0, 2
    bench.loop.pass_time()
    assert (bench.told, len(bench.loop.watched), bench.loop.later) == (2, 1, [])


def test_a_unit_that_has_begun_anew_meanwhile_is_watched_once(bench: Bench) -> None:
    bench.kernel.fails = errno.EMFILE
    bench.oom.begin(bench.unit)
    bench.oom.forget(bench.unit)
    bench.oom.begin(bench.unit)
    bench.kernel.fails = 0
    bench.loop.pass_time()
    assert len(bench.kernel.opened) == 1
    bench.oom.forget(bench.unit)
    bench.loop.pass_time()
    assert bench.kernel.opened == []


def test_where_the_controller_is_not_there_nothing_is_said_and_nothing_tried(bench: Bench) -> None:
    bench.kernel.fails = errno.ENOENT
    bench.oom.begin(bench.unit)
    bench.oom.look(bench.unit)
    assert (bench.said, bench.loop.later, bench.told) == ([], [], 0)


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        ("MemoryMax=64M\nOOMPolicy=kill", True),
        ("MemoryLow=1M\nOOMPolicy=kill", True),
        ("MemoryMax=64M\nOOMPolicy=stop", False),
        ("MemoryMax=64M", False),
        ("TasksMax=9\nOOMPolicy=kill", False),
        ("OOMPolicy=kill", False),
    ],
)
def test_the_kernel_kills_the_whole_group_where_memory_is_limited_and_that_is_wanted(lines: str, whole: bool) -> None:
    unit, found = service_unit(f"[Service]\nExecStart=/bin/true\n{lines}\n")
    assert not found
    files = {control.file: control.text for control in controls(unit.service)}
    assert files.get("memory.oom.group") == ("1" if whole else None)
