"""The sampling rate under steady, bursty and falling traffic."""

import math

import pytest

from src.serving.watch.sampling_rate import WINDOW_SECONDS, SamplingRate

LIMIT = 200


def second(rate: SamplingRate, rows: int, block: int = 7) -> float:
    """One second of traffic in blocks, and the rows of it that are logged."""
    logged = 0.0
    for start in range(0, rows, block):
        some = min(block, rows - start)
        logged += some * rate.offer(some)
    rate.tick()
    return logged


@pytest.mark.parametrize("rows", [1, LIMIT - 1, LIMIT])
def test_all_rows_are_sampled_up_to_the_limit(rows: int) -> None:
    rate = SamplingRate(LIMIT)
    assert [second(rate, rows) for _ in range(30)] == [rows] * 30
    assert rate.rate == 1


@pytest.mark.parametrize(
    ("rows", "expected"), [(201, 0.5), (400, 0.5), (401, 0.25), (800, 0.25), (801, 0.125), (20_000, 1 / 128)]
)
def test_steady_traffic_has_the_highest_power_of_a_half_within_the_limit(rows: int, expected: float) -> None:
    rate = SamplingRate(LIMIT)
    for _ in range(WINDOW_SECONDS):
        second(rate, rows)
    rates = set()
    for _ in range(30):
        assert second(rate, rows) <= LIMIT
        rates.add(rate.rate)
    assert rates == {expected}


@pytest.mark.parametrize("limit", [0.1, 1, 200])
def test_rows_beyond_the_limit_of_the_window_lower_the_rate_at_once(limit: float) -> None:
    rate = SamplingRate(limit)
    budget = round(limit * WINDOW_SECONDS)
    assert rate.offer(budget) == 1
    assert rate.offer(1) == 0.5
    assert rate.offer(budget - 1) == 0.5
    assert rate.offer(1) == 0.25


def test_one_huge_batch_is_sampled_to_the_limit_of_the_window() -> None:
    rate = SamplingRate(LIMIT)
    assert 1_000_000 * rate.offer(1_000_000) == pytest.approx(1953.125)
    assert math.log2(rate.rate) == -9


def test_rate_recovers_when_a_batch_has_left_the_window() -> None:
    rate = SamplingRate(LIMIT)
    rate.offer(1_000_000)
    rates = []
    for _ in range(WINDOW_SECONDS + 1):
        rate.tick()
        rates.append(rate.rate)
    assert rates == [2**-9] * WINDOW_SECONDS + [1]


def test_rate_is_not_raised_before_the_second_is_over() -> None:
    rate = SamplingRate(LIMIT)
    rate.offer(1_000_000)
    for _ in range(WINDOW_SECONDS):
        rate.tick()
    assert rate.offer(1) == 2**-9
    rate.tick()
    assert rate.offer(1) == 1


def test_traffic_near_the_limit_does_not_move_the_rate_to_and_fro() -> None:
    rate = SamplingRate(LIMIT)
    for _ in range(WINDOW_SECONDS):
        second(rate, 210)
    assert {second(rate, rows) for rows in [190, 161] * 20} == {95, 80.5}
    for _ in range(WINDOW_SECONDS):
        second(rate, 160)  # a margin of 1.25 below the limit
    assert rate.rate == 1


def test_falling_rate_needs_no_margin() -> None:
    rate = SamplingRate(LIMIT)
    for _ in range(WINDOW_SECONDS):
        second(rate, 300)
    assert rate.rate == 0.5
    for _ in range(WINDOW_SECONDS):
        second(rate, 400)
    assert rate.rate == 0.5
