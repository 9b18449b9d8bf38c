"""Rate limits and restart policy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.lifecycle.limits import (
    CONDITION,
    CORE_DUMP,
    EXIT_CODE,
    RESTARTS,
    SIGNAL,
    SUCCESS,
    TIMEOUT,
    Exit,
    Window,
    count,
    delay,
    restarts,
    result_of,
    share,
)
from sockact.unit.statuses import ExitStatus


def hits(times: list[float], interval: float, burst: int) -> list[bool]:
    window, found = Window(), []
    for now in times:
        limited, window = count(window, now, interval, burst)
        found.append(limited)
    return found


def test_a_burst_is_allowed_and_one_more_is_not() -> None:
    assert hits([100.0] * 7, 2, 5) == [False] * 5 + [True] * 2


def test_the_window_begins_with_the_first_event_and_begins_anew_after_it_ended() -> None:
    assert hits([10, 11.9, 12.5, 12.6, 12.7], 2, 2) == [False, False, False, False, True]
    assert hits([10, 11, 11.5, 12.5, 12.6, 12.7], 2, 2) == [False, False, True, False, False, True]


def test_the_window_is_fixed_and_does_not_slide() -> None:
    assert hits([0.5, 2.4, 2.6, 2.7], 2, 2) == [False, False, False, False]


def test_events_over_the_limit_do_not_lengthen_the_window() -> None:
    assert hits([1, 1, 1, 2.9, 3.1], 2, 1) == [False, True, True, True, False]


@pytest.mark.parametrize(("interval", "burst"), [(0, 5), (2, 0), (0, 0)])
def test_zero_in_either_setting_means_no_limit(interval: float, burst: int) -> None:
    assert not any(hits([1.0] * 1000, interval, burst))


def test_an_infinite_window_never_ends() -> None:
    assert hits([1, 1e9, 1e12], float("inf"), 2) == [False, False, True]


def test_a_machine_that_just_booted_counts_from_zero() -> None:
    assert hits([0.0, 0.0, 0.0], 10, 2) == [False, False, True]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=60).map(sorted), st.floats(0.1, 20), st.integers(1, 6))
def test_no_more_than_two_bursts_pass_in_any_stretch_as_long_as_the_window(
    times: list[float], interval: float, burst: int
) -> None:
    passed = [now for now, limited in zip(times, hits(times, interval, burst), strict=True) if not limited]
    for start in passed:
        assert sum(start <= now < start + interval for now in passed) <= 2 * burst


@pytest.mark.parametrize(
    ("ended", "result", "status"),
    [
        (Exit(), SUCCESS, 0),
        (Exit(3), EXIT_CODE, 3),
        (Exit(signal=1), SUCCESS, 129),
        (Exit(signal=2), SUCCESS, 130),
        (Exit(signal=13), SUCCESS, 141),
        (Exit(signal=15), SUCCESS, 143),
        (Exit(signal=9), SIGNAL, 137),
        (Exit(signal=6), SIGNAL, 134),
        (Exit(signal=11, dumped=True), CORE_DUMP, 139),
    ],
)
def test_how_a_process_ended_has_a_result_and_a_status(ended: Exit, result: str, status: int) -> None:
    assert (ended.result, ended.status) == (result, status)


@pytest.mark.parametrize(
    ("policy", "results"),
    [
        ("no", ""),
        ("always", "success exit-code signal core-dump timeout protocol watchdog resources oom-kill"),
        ("on-success", "success"),
        ("on-failure", "exit-code signal core-dump timeout protocol watchdog resources oom-kill"),
        ("on-abnormal", "signal core-dump timeout protocol watchdog resources oom-kill"),
        ("on-watchdog", "watchdog"),
        ("on-abort", "signal core-dump"),
    ],
)
def test_a_policy_restarts_after_the_results_that_systemd_lists(policy: str, results: str) -> None:
    assert RESTARTS[policy] == set(results.split())


def test_a_timeout_counts_as_a_failure() -> None:
    assert TIMEOUT in RESTARTS["on-failure"]


THREE, KILLED = ExitStatus(code=3), ExitStatus(signal=9)


@pytest.mark.parametrize(
    ("ended", "listed", "of_daemon", "of_command"),
    [
        (Exit(), (), SUCCESS, SUCCESS),
        (Exit(3), (), EXIT_CODE, EXIT_CODE),
        (Exit(3), (THREE,), SUCCESS, SUCCESS),
        (Exit(3), (KILLED,), EXIT_CODE, EXIT_CODE),
        (Exit(signal=15), (), SUCCESS, SIGNAL),
        (Exit(signal=13), (), SUCCESS, SIGNAL),
        (Exit(signal=9), (), SIGNAL, SIGNAL),
        (Exit(signal=9), (THREE, KILLED), SUCCESS, SUCCESS),
        (Exit(signal=11, dumped=True), (), CORE_DUMP, CORE_DUMP),
    ],
)
def test_the_result_of_an_end_depends_on_who_ended_and_what_is_listed(
    ended: Exit, listed: tuple[ExitStatus, ...], of_daemon: str, of_command: str
) -> None:
    """A daemon that is asked to go has ended well; a command has not done its work."""
    assert result_of(ended, success=listed, daemon=True) == of_daemon
    assert result_of(ended, success=listed) == of_command
    assert result_of(ended, True, listed) == SUCCESS


@pytest.mark.parametrize(
    ("restart", "ended", "prevent", "force", "again"),
    [
        ("no", Exit(3), (), (), False),
        ("on-failure", Exit(3), (), (), True),
        ("on-failure", Exit(3), (KILLED,), (), True),
        ("on-failure", Exit(3), (THREE,), (), False),
        ("no", Exit(3), (), (THREE,), True),
        ("always", Exit(3), (THREE,), (THREE,), False),
        ("always", Exit(), (), (), True),
        ("on-failure", Exit(), (), (), False),
        ("on-success", Exit(), (), (), True),
        ("on-success", Exit(), (ExitStatus(),), (), False),
    ],
)
def test_lists_of_statuses_have_the_first_word_about_a_restart(
    restart: str, ended: Exit, prevent: tuple[ExitStatus, ...], force: tuple[ExitStatus, ...], again: bool
) -> None:
    assert restarts(restart, ended.result, ended, prevent, force) is again


def test_what_is_no_end_of_a_process_is_in_no_list() -> None:
    assert restarts("on-failure", TIMEOUT, None, (THREE,), ())
    assert not restarts("no", TIMEOUT, None, (), (THREE,))


@pytest.mark.parametrize("restart", RESTARTS)
def test_what_its_own_condition_holds_back_is_not_started_again(restart: str) -> None:
    assert not restarts(restart, CONDITION, Exit(1), (), (ExitStatus(code=1),))


@pytest.mark.parametrize(
    ("first", "most", "steps", "delays"),
    [
        (1.0, 16.0, 4, [1, 2, 4, 8, 16, 16]),
        (1.0, 16.0, 0, [1] * 6),
        (1.0, float("inf"), 4, [1] * 6),
        (0.0, 16.0, 4, [0] * 6),
        (20.0, 16.0, 4, [16] * 6),
        (20.0, 16.0, 0, [16] * 6),
        (5.0, 0.0, 4, [0] * 6),
    ],
)
def test_restarts_take_longer_each_time_up_to_a_limit(first: float, most: float, steps: int, delays: list[float]) -> None:
    assert [delay(number, first, most, steps) for number in range(1, 7)] == pytest.approx(delays)


def test_a_name_stands_for_a_share_that_is_always_the_same() -> None:
    names = [f"{number * 0x9E3779B97F4A7C15:032x}" for number in range(1, 2001)]
    shares = [share(name) for name in names]
    assert shares == [share(name) for name in names]
    assert all(0 <= found <= 1 for found in shares)
    tenths = [sum(tenth <= found * 10 < tenth + 1 for found in shares) for tenth in range(10)]
    assert all(130 < count < 270 for count in tenths), "they lie all over"
