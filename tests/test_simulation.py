"""A hundred thousand simulated runs of the supervisor (`tests.simulation`), and that the simulation would notice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests import simulation
from tests.simulated import BrokenPromiseError
from tests.simulation import Run

RUNS = 100_000
SEED = "SOCKACT_SEED"
"""The environment variable that repeats what another test run did."""


def test_no_order_of_events_breaks_a_promise() -> None:
    seed = int(os.environ.get(SEED, time.time_ns() % 1_000_000_000))
    print(f"{SEED}={seed}")
    found = simulation.many(RUNS, seed)
    assert not found, f"{SEED}={seed} broke a promise:\n{simulation.told(found[0][0])}"


def test_a_seed_repeats_a_run() -> None:
    assert simulation.told(7) == simulation.told(7) != simulation.told(8)


def keep_open(run: Run) -> None:
    run.machine.close = lambda fd: None  # type: ignore[method-assign]


def leave_zombies(run: Run) -> None:
    run.machine.reap = lambda: None  # type: ignore[method-assign]


def forget_deadlines(run: Run) -> None:
    run.supervisor.work.arm = lambda *_: None  # type: ignore[method-assign]


def keep_deadlines(run: Run) -> None:
    run.supervisor.work.disarm = lambda unit: None  # type: ignore[method-assign]


def watch_on(run: Run) -> None:
    run.supervisor.work.loop.unwatch = lambda fd: None  # type: ignore[method-assign]


def kill_nobody(run: Run) -> None:
    run.supervisor.work.processes.kill = lambda *_, **__: None  # type: ignore[method-assign]


def ignore_the_oom_killer(run: Run) -> None:
    run.supervisor.services.oom_killed = lambda service: None  # type: ignore[method-assign]


SABOTAGES = (keep_open, leave_zombies, forget_deadlines, keep_deadlines, watch_on, kill_nobody, ignore_the_oom_killer)


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_supervisor_that_neglects_its_duties_is_found_out(sabotage: Callable[[Run], None]) -> None:
    with pytest.raises(BrokenPromiseError):  # noqa: PT012 - which of the runs shows it is of no interest
        for seed in range(50):
            run = Run(seed)
            sabotage(run)
            run.go()
