"""Rate limits and restart policy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.lifecycle.limits import CORE_DUMP, EXIT_CODE, RESTARTS, SIGNAL, SUCCESS, TIMEOUT, Exit, Window, count


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
        ("always", "success exit-code signal core-dump timeout protocol"),
        ("on-success", "success"),
        ("on-failure", "exit-code signal core-dump timeout protocol"),
        ("on-abnormal", "signal core-dump timeout protocol"),
        ("on-abort", "signal core-dump"),
    ],
)
def test_a_policy_restarts_after_the_results_that_systemd_lists(policy: str, results: str) -> None:
    assert RESTARTS[policy] == set(results.split())


def test_a_timeout_counts_as_a_failure() -> None:
    assert TIMEOUT in RESTARTS["on-failure"]
