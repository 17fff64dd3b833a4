"""Which rows are checked, and what counts for and against the served version."""

import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from src.core.errors import InvalidInputError
from src.core.feature_table import FeatureTable
from src.core.rollout_record import PairCount
from src.serving.watch.paired_checks import (
    ALARM_SECONDS,
    ERROR_SECONDS,
    LATENCY_SECONDS,
    LEAST_SLOW_SECONDS,
    MAX_FAILED,
    REPEAT_SECONDS,
    TIMED_ROWS,
    PairedChecks,
    PairMetrics,
)
from tests.support.watched_models import SCHEMA, Model

NOTHING = PairCount()


def rows(*values: float) -> FeatureTable:
    return FeatureTable.from_rows(SCHEMA, [(value,) for value in values])


class World:
    """Two versions on a clock that only their predictions move."""

    def __init__(self, max_slowdown: float | None = None, *, alarmed: bool = True) -> None:
        self.now = 1000.0
        self.served, self.previous = Model("2"), Model("1")
        self.order: list[str] = []
        self.takes(0.0, 0.0)
        self.registry = CollectorRegistry()
        new: Any = self.served
        old: Any = self.previous
        chance, metrics = Random(0), PairMetrics(self.registry)  # noqa: S311 - a sample
        self.checks = PairedChecks(new, old, max_slowdown, metrics, clock=lambda: self.now, chance=chance)
        if alarmed:
            self.checks.add_failed(rows(-1.0), 1.0)
            self.checks.run([])

    def takes(self, served: float, previous: float) -> None:
        """Let predictions of both take so many seconds."""
        self.served.on_call = lambda: self._pass(served, "served")
        self.previous.on_call = lambda: self._pass(previous, "previous")

    def _pass(self, seconds: float, name: str) -> None:
        self.now += seconds
        self.order.append(name)

    def counted(self, criterion: str) -> dict[str, float | None]:
        name = "inference_rollout_pairs_total"
        return {
            result: self.registry.get_sample_value(name, {"criterion": criterion, "result": result})
            for result in ("worse", "better", "equal")
        }


def test_all_counters_exist_at_zero() -> None:
    world = World()
    assert world.counted("errors") == {"worse": 0, "better": 0, "equal": 0}
    assert world.counted("latency") == {"worse": 0, "better": 0, "equal": None}


@pytest.mark.parametrize(
    ("served", "previous", "found", "result"),
    [
        (True, False, PairCount(worse=1), "worse"),
        (False, True, PairCount(better=1), "better"),
        (True, True, NOTHING, "equal"),
        (False, False, NOTHING, "equal"),
    ],
)
def test_a_failed_row_counts_where_one_version_alone_fails_again(
    found: PairCount, result: str, *, served: bool, previous: bool
) -> None:
    world = World()
    world.served.fails, world.previous.fails = served, previous
    world.checks.add_failed(rows(1.0), 1.0)
    world.checks.run([])
    assert world.checks.take() == (found, NOTHING)
    assert world.checks.take() == (NOTHING, NOTHING)
    assert world.counted("errors") == {"worse": 0, "better": 0, "equal": 0} | {result: 1}


def test_an_error_of_the_client_is_none_of_the_model() -> None:
    world = World()

    def refuse() -> None:
        raise InvalidInputError("made up", kind="made_up")

    world.served.on_call = refuse
    world.checks.add_failed(rows(1.0), 1.0)
    world.checks.run([])
    assert world.checks.take() == (NOTHING, NOTHING)


def test_of_a_failed_table_each_row_is_checked_alone() -> None:
    world = World()
    world.served.fails_above = 2.0
    world.checks.add_failed(rows(1.0, 2.0, 3.0), 1.0)
    world.checks.run([])
    assert world.checks.take() == (PairCount(worse=1), NOTHING)


def test_a_repeated_row_counts_again_after_a_while() -> None:
    world = World()
    world.served.fails = True

    def fail(value: float) -> int:
        world.checks.add_failed(rows(value, value), 1.0)
        world.checks.run([])
        return world.checks.take()[0].worse

    assert fail(1.0) == 1
    world.now += REPEAT_SECONDS - 0.01
    assert fail(1.0) == 0
    assert fail(2.0) == 1
    world.now += 0.01
    assert fail(1.0) == 1
    assert fail(2.0) == 0


def test_failed_rows_are_sampled_at_the_rate_of_the_log() -> None:
    world = World()
    world.served.fails = True
    for first in range(0, 2000, 100):
        world.checks.add_failed(rows(*map(float, range(first, first + 100))), 0.25)
        world.checks.run([])
    assert 440 < world.checks.take()[0].worse < 560


def test_the_number_of_failed_rows_that_wait_is_bounded() -> None:
    world = World()
    for _ in range(3):
        world.checks.add_failed(rows(*map(float, range(MAX_FAILED - 1))), 1.0)
    world.checks.run([])
    assert world.served.rows == MAX_FAILED


def test_errors_are_checked_for_a_while_after_a_failure_and_never_in_its_own_second() -> None:
    world = World(alarmed=False)
    world.served.fails = world.previous.fails = True

    def checked(*failed: float) -> int:
        world.checks.add_failed(rows(*failed), 1.0)
        world.checks.run([rows(7.0)])
        return world.previous.rows

    assert checked() == 0
    assert checked(1.0) == 0
    world.now += ALARM_SECONDS - 0.01
    assert checked() == 1
    assert checked(2.0) == 3
    world.now += ALARM_SECONDS
    assert checked() == 3


def test_an_answered_row_on_which_the_previous_version_fails_counts_for_the_served_one() -> None:
    world = World()
    world.previous.fails_above = 2.0
    world.checks.run([rows(1.0, 2.0, 3.0), rows(4.0)])
    assert world.checks.take() == (PairCount(better=2), NOTHING)
    assert world.served.rows == 0


def test_of_too_many_rows_failed_and_answered_ones_are_checked_equally_often() -> None:
    world = World()
    world.takes(0.0, ERROR_SECONDS / 10)
    world.served.fails, world.previous.fails_above = True, 999.5
    for second in range(200):
        first = float(second + 1) / 1000
        world.checks.add_failed(rows(*(first + number for number in range(20))), 1.0)
        world.checks.run([rows(*[1000.0] * 20)])
    errors, _ = world.checks.take()
    assert 1980 < errors.worse + errors.better < 2020
    assert 900 < errors.worse < 1100


@pytest.mark.parametrize(("name", "share"), [("errors", ERROR_SECONDS), ("latency", LATENCY_SECONDS)])
def test_the_time_of_checks_is_bounded_and_overrun_is_made_up_for(name: str, share: float) -> None:
    world = World(max_slowdown=3.0 if name == "latency" else None, alarmed=name == "errors")
    world.served.fails = name == "errors"
    world.takes(share, 2 * share)
    began, checks = world.now, 0
    for second in range(90):
        if name == "errors":
            world.checks.add_failed(rows(float(second)), 1.0)
        before = world.now
        world.checks.run([rows(1.0)] if name == "latency" else [])
        assert world.now - before == pytest.approx(3 * share) or world.now == before
        checks += world.now > before
    assert 29 <= checks <= 31
    assert world.now - began <= 93 * share


@pytest.mark.parametrize(
    ("served", "previous", "found"),
    [
        (0.0301, 0.01, PairCount(worse=1)),
        (0.0299, 0.01, PairCount(better=1)),
        (LEAST_SLOW_SECONDS + 1e-4, 0.0001, PairCount(worse=1)),
        (LEAST_SLOW_SECONDS - 1e-4, 0.0001, PairCount(better=1)),
        (0.01, 0.04, PairCount(better=1)),
    ],
)
def test_a_prediction_is_slow_by_ratio_and_by_time(served: float, previous: float, found: PairCount) -> None:
    world = World(max_slowdown=3.0)
    world.takes(served, previous)
    world.checks.run([rows(1.0)])
    _, latency = world.checks.take()
    assert latency.worse * found.better == latency.better * found.worse == 0
    assert latency != NOTHING


def test_the_wait_for_other_calls_is_not_timed() -> None:
    world = World(max_slowdown=3.0, alarmed=False)
    world.takes(0.01, 0.01)

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        world.now += 1.0
        world.order.append("free")
        yield
        world.now += 1.0

    world.served.exclusive = waiting  # type: ignore[method-assign]
    world.checks.run([rows(1.0)])
    assert world.checks.take() == (NOTHING, PairCount(better=1))
    assert world.order[world.order.index("served") - 1] == "free"


def test_both_versions_come_first_equally_often() -> None:
    world = World(max_slowdown=3.0, alarmed=False)
    for _ in range(100):
        world.checks.run([rows(*map(float, range(TIMED_ROWS + 1)))])
    firsts = world.order[::2]
    assert world.order[1::2] == ["previous" if name == "served" else "served" for name in firsts]
    assert 200 < firsts.count("served") < 300
    assert world.checks.take() == (NOTHING, PairCount(better=100 * TIMED_ROWS))


def test_no_row_is_timed_twice() -> None:
    # Of a row that is slow, all times are: they would be taken for as many independent rows.
    world = World(max_slowdown=3.0, alarmed=False)
    world.takes(0.006, 0.001)
    world.checks.run([rows(1.0)])
    assert world.checks.take() == (NOTHING, PairCount(worse=1))
    world.checks.run([rows(1.0), rows(2.0)])
    assert world.checks.take() == (NOTHING, PairCount(worse=2))


def test_rows_of_all_tables_are_timed() -> None:
    world = World(max_slowdown=3.0, alarmed=False)
    seen: set[float] = set()
    answer = world.served.answer

    def noting(some: list[Any]) -> Any:
        seen.update(row[0] for row in some)
        return answer(some)

    world.served.answer = noting  # type: ignore[method-assign]
    for _ in range(20):
        world.checks.run([rows(1.0, 2.0), rows(3.0)])
    assert seen == {1.0, 2.0, 3.0}


def test_times_are_not_compared_without_a_limit_or_rows_or_where_a_version_fails() -> None:
    off, on = World(max_slowdown=None, alarmed=False), World(max_slowdown=3.0, alarmed=False)
    off.checks.run([rows(1.0)])
    assert off.served.rows == 0
    on.checks.run([])
    on.previous.fails = True
    on.checks.run([rows(1.0)])
    assert off.checks.take() == on.checks.take() == (NOTHING, NOTHING)
