"""Intervals of differences: known errors, clusters, odd metrics, and their coverage."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import intervals
from src.core.errors import ConfigError
from src.training import resampling
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE
from src.training.resampling import bootstrap
from src.training.scoring import Metric
from src.training.sums import Target

pytestmark = pytest.mark.slow

TARGET = Target(("a", "b"), "b")


def metric(name: str) -> Metric:
    recipe = CATALOGUE[name]
    return Metric(name, recipe.function(TARGET), sums=recipe.sums(TARGET) if recipe.sums else None)


def share_right(truth: NDArray[Any], values: NDArray[Any], _: Any, weight: NDArray[np.float64]) -> float:
    return float(np.average(truth == values, weights=weight))


def model(rows: int, wrong: slice) -> Answers:
    truth = np.resize(["a", "b"], rows)
    values = truth.copy()
    values[wrong] = np.where(truth[wrong] == "a", "b", "a")
    return Answers("1", ("a", "b"), truth, values, np.eye(2)[(values == "b").astype(int)])


# 40 of 400 rows are wrong, and 60 others: a difference of 0.05 with a standard error of √(100 - 20²/400) / 400.
OURS, THEIRS = model(400, slice(0, 40)), model(400, slice(100, 160))
ERROR = math.sqrt(99) / 400
ALONE = np.arange(400)


@pytest.mark.parametrize("scored", [metric("accuracy"), Metric("own", share_right)])
def test_difference_has_the_standard_error_of_paired_rows(scored: Metric) -> None:
    resampled = bootstrap(scored, [OURS, THEIRS], ALONE)
    assert resampled.points.tolist() == [0.9, 0.85]
    assert (resampled.clusters, resampled.skipped, resampled.deviations.shape) == (400, 0, (2000, 2))
    found = resampled.difference(0, 1, confidence=0.9)
    assert found.point == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05 - 1.96 * ERROR, abs=0.15 * ERROR)
    assert found.high == pytest.approx(0.05 + 1.96 * ERROR, abs=0.15 * ERROR)
    assert found.bound == pytest.approx(0.05 - 1.28 * ERROR, abs=0.15 * ERROR)
    assert resampled.difference(0, 1).bound == pytest.approx(0.05 - 1.645 * ERROR, abs=0.15 * ERROR)


def test_difference_turns_with_the_models_and_bounds_the_side_that_is_worse() -> None:
    resampled = bootstrap(metric("accuracy"), [OURS, THEIRS], ALONE)
    forth, back = resampled.difference(0, 1), resampled.difference(1, 0, sign=-1)
    assert back.point == -forth.point
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.01)
    assert back.bound == pytest.approx(-forth.bound, abs=0.005)
    assert back.bound > back.point
    same = resampled.difference(0, 0)
    assert (same.point, same.low, same.high, same.bound) == (0, 0, 0, 0)


def test_same_input_gives_the_same_interval() -> None:
    first, second = (bootstrap(metric("accuracy"), [OURS, THEIRS], ALONE) for _ in range(2))
    assert first.difference(0, 1) == second.difference(0, 1)


def test_rows_of_a_cluster_are_drawn_together() -> None:
    once = bootstrap(metric("accuracy"), [OURS, THEIRS], ALONE).difference(0, 1)
    rows = np.repeat(ALONE, 4)
    ours, theirs = OURS.take(rows), THEIRS.take(rows)
    # Four copies of each row have no more information than one. Numbers and order of the clusters have no effect.
    for scored in (metric("accuracy"), Metric("own", share_right)):
        four = bootstrap(scored, [ours, theirs], 7 * (400 - rows)).difference(0, 1)
        assert four.point == once.point
        assert (four.low, four.high) == pytest.approx((once.low, once.high), abs=0.3 * ERROR)
    apart = bootstrap(metric("accuracy"), [ours, theirs], np.arange(1600)).difference(0, 1)
    assert apart.high - apart.low == pytest.approx((once.high - once.low) / 2, rel=0.1)


def test_few_clusters_widen_the_interval_and_a_single_one_shows_nothing() -> None:
    truth = np.random.default_rng(0).normal(size=400)
    ours, theirs = (Answers("1", (), truth, truth + np.random.default_rng(seed).normal(size=400)) for seed in (1, 2))
    ten = bootstrap(metric("neg_mean_squared_error"), [ours, theirs], ALONE // 40)
    # Student's t for 9 degrees of freedom, times √(10/9): 2.262 becomes 2.384, which a normal exceeds in 0.855 %.
    ends = np.quantile(ten.deviations[:, 0] - ten.deviations[:, 1], [0.00855064, 1 - 0.00855064])
    found = ten.difference(0, 1)
    assert (found.low, found.high) == pytest.approx((found.point + ends[0], found.point + ends[1]), abs=1e-5)
    alone = bootstrap(metric("accuracy"), [OURS, THEIRS], np.zeros(400, dtype=int)).difference(0, 1)
    assert (alone.point, alone.low, alone.high) == (pytest.approx(0.05), -math.inf, math.inf)
    assert alone.bound == -math.inf
    assert bootstrap(metric("accuracy"), [OURS, THEIRS], np.zeros(400, dtype=int)).difference(0, 1, sign=-1).bound > 9


def test_own_metric_sees_rows_drawn_of_many_and_gets_an_interval_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.repeat(ALONE, 10)
    ours, theirs = OURS.take(rows), THEIRS.take(rows)
    sizes = set()

    def counted(truth: NDArray[Any], values: NDArray[Any], _: Any, weight: NDArray[np.float64]) -> float:
        sizes.add(len(truth))
        return share_right(truth, values, _, weight)

    monkeypatch.setattr(resampling, "MAX_ROWS", 1000)
    found = bootstrap(Metric("own", counted), [ours, theirs], np.arange(4000)).difference(0, 1)
    assert sizes == {4000, 1000}
    exact = ERROR / math.sqrt(10)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * exact, rel=0.1)
    assert found.point == pytest.approx(0.05)


def test_own_metric_may_ignore_the_weights() -> None:
    def careless(truth: NDArray[Any], values: NDArray[Any], *_: Any) -> float:
        return float((truth == values).mean())

    found = bootstrap(Metric("own", careless), [OURS, THEIRS], ALONE).difference(0, 1)
    assert found.high - found.low == pytest.approx(2 * 1.96 * ERROR, rel=0.15)


def test_resamples_without_one_of_the_classes_are_left_out_and_counted() -> None:
    truth = np.array(["a"] * 29 + ["b"])
    ours = Answers("1", ("a", "b"), truth, truth, np.column_stack([np.linspace(1, 0, 30), np.linspace(0, 1, 30)]))
    theirs = Answers("2", ("a", "b"), truth, truth, np.full((30, 2), 0.5))
    resampled = bootstrap(metric("roc_auc"), [ours, theirs], np.arange(30))
    # The only row of its class is not drawn with a chance of (1 - 1/30)^30.
    assert resampled.skipped / 2000 == pytest.approx((29 / 30) ** 30, abs=0.04)
    assert len(resampled.deviations) + resampled.skipped == 2000
    assert resampled.difference(0, 1).point == pytest.approx(0.5)

    def strict(truth: NDArray[Any], *_: Any) -> float:
        if len(set(truth.tolist())) < 2:
            raise ValueError("only one class")
        return 0.5

    assert bootstrap(Metric("own", strict), [ours, theirs], np.arange(30)).skipped / 2000 == pytest.approx(
        0.36, abs=0.04
    )


def test_resample_counts_only_where_the_metric_is_defined_for_every_model() -> None:
    def positives(_: Any, values: NDArray[Any], *__: Any) -> float:
        return float((values == "b").mean()) if (values == "b").any() else math.nan

    often, once = (Answers("1", ("a", "b"), np.full(30, "a"), np.array(["b"] * n + ["a"] * (30 - n))) for n in (29, 1))
    resampled = bootstrap(Metric("own", positives), [often, once], np.arange(30))
    assert resampled.skipped / 2000 == pytest.approx((29 / 30) ** 30, abs=0.04)
    assert math.isfinite(resampled.difference(0, 1).low)


def test_metric_that_no_resample_defines_is_named() -> None:
    def whole(truth: NDArray[Any], *_: Any) -> float:
        return 0.5 if len(set(truth.tolist())) == 30 else math.nan

    truth = np.arange(30).astype(float)
    answers = Answers("1", (), truth, truth)
    with pytest.raises(ConfigError, match="the metric own is defined in no resample of these 30 rows"):
        bootstrap(Metric("own", whole), [answers, answers], np.arange(30))


def test_chunks_add_up_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "CHUNK", 100)
    assert list(resampling.chunks(10, 30)) == [3, 3, 3, 1]
    assert list(resampling.chunks(2, 1000)) == [1, 1]
    assert list(resampling.chunks(6, 30)) == [3, 3]
    resampled = bootstrap(metric("accuracy"), [OURS, THEIRS], ALONE)
    assert resampled.deviations.shape == (2000, 2)


def test_intervals_hold_the_true_difference_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reduced form of ``benchmarks/intervals.py``: of all cases together, and of each as far as chance allows."""
    monkeypatch.setattr(resampling, "RESAMPLES", 400)
    monkeypatch.setattr(intervals, "TRUTH_ROWS", 100_000)
    found = list(intervals.measure(tuple(intervals.KINDS), (300,), 25))
    assert len(found) == 28
    assert 0.92 <= np.mean([part.interval for part in found]) <= 0.98
    assert 0.92 <= np.mean([part.bound for part in found]) <= 0.98
    assert min(part.interval for part in found) > 0.75


@pytest.mark.parametrize("scored", [metric("accuracy"), metric("f1"), metric("roc_auc"), Metric("own", share_right)])
def test_weight_of_a_row_counts_as_copies_of_it_in_its_cluster(scored: Metric) -> None:
    weights = np.random.default_rng(0).integers(1, 4, size=400)
    once = bootstrap(scored, [OURS, THEIRS], ALONE // 2, weights=weights.astype(float), resamples=50)
    rows = np.repeat(ALONE, weights)
    copied = bootstrap(scored, [OURS.take(rows), THEIRS.take(rows)], rows // 2, resamples=50)
    assert once.points == pytest.approx(copied.points)
    assert once.deviations == pytest.approx(copied.deviations)
    assert once.deviations.shape == (50, 2)
    assert once.clusters == 200
    assert np.ptp(once.deviations[:, 0]) > 0


@pytest.mark.parametrize("scored", [metric("accuracy"), Metric("own", share_right)])
def test_equal_weights_are_none(scored: Metric) -> None:
    without = bootstrap(scored, [OURS], ALONE, resamples=20)
    assert np.array_equal(
        bootstrap(scored, [OURS], ALONE, weights=np.ones(400), resamples=20).deviations, without.deviations
    )
    threefold = bootstrap(scored, [OURS], ALONE, weights=np.full(400, 3.0), resamples=20)
    assert threefold.deviations == pytest.approx(without.deviations)


def test_interval_of_a_score_has_its_standard_error() -> None:
    resampled = bootstrap(metric("accuracy"), [OURS, THEIRS], ALONE)
    for model_index, share in ((0, 0.9), (1, 0.85)):
        error = math.sqrt(share * (1 - share) / 400)
        low, high = resampled.interval(model_index)
        assert low == pytest.approx(share - 1.96 * error, abs=0.3 * error)
        assert high == pytest.approx(share + 1.96 * error, abs=0.3 * error)
    assert bootstrap(metric("accuracy"), [OURS], np.zeros(400, dtype=int)).interval(0) == (-math.inf, math.inf)
