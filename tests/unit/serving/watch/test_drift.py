"""The newest rows of a model, how they are sampled from batches, and the verdicts on them."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.model_registry import DriftReference
from src.serving.watch.drift import FALSE_ALARMS, LARGE, MIN_ROWS, NO_DRIFT, Batch, Drift, DriftReport, ModelWindow
from src.serving.watch.two_sample import Comparison

REFERENCE = DriftReference(
    rows=1000,
    edges={"x": [1.0], "y": [1.0]},
    shares={"x": [0.5, 0.5], "y": [0.5, 0.5]},
    minimum={"x": 0.0, "y": 0.0},
    maximum={"x": 2.0, "y": 2.0},
    class_shares={"a": 0.5, "b": 0.5},
)


@pytest.mark.parametrize(
    ("excess", "p_value", "tests", "drifted"),
    [
        (LARGE, FALSE_ALARMS, 1, True),
        (LARGE - 1e-9, 0.0, 1, False),
        (1.0, FALSE_ALARMS * 1.01, 1, False),
        (1.0, FALSE_ALARMS / 30, 30, True),
        (1.0, FALSE_ALARMS / 29, 30, False),
    ],
)
def test_drift_is_significant_over_all_tests_and_large(
    excess: float, p_value: float, tests: int, *, drifted: bool
) -> None:
    found = Drift.of(Comparison(excess, p_value), tests)
    assert (found.score, found.drifted, found.flag) == (excess, drifted, float(drifted))
    assert math.isnan(NO_DRIFT.flag)


class Model:
    """A model of three numbers, the last of which has no reference, and its window."""

    def __init__(self, classes: tuple[str, ...] = ("a", "b"), reference: DriftReference | None = REFERENCE) -> None:
        self._schema = FeatureSchema.of_numbers("z", "x", "y")
        predictor: Any = SimpleNamespace(schema=self._schema, classes=classes, reference=reference)
        self.window = ModelWindow(predictor, 300)

    def add(self, right: int, rows: int, *, other: float = 1.5) -> None:
        """Add rows, so many of which have x on the right of its edge; those of y and the classes are even."""
        x, even = np.where(np.arange(rows) < right, 1.5, 0.5), np.arange(rows) % 2
        table = FeatureTable.from_columns(self._schema, [np.full(rows, other), x, np.where(even, other, 0.5)])
        self.window.add(self.window.keys_of(table, even, np.arange(rows)))


def test_each_feature_and_the_predictions_are_one_test() -> None:
    regression, classifier = Model(classes=()), Model()
    for model in (regression, classifier):
        model.add(187, 300)
    # Significant among two tests, not among three.
    assert [model.window.report().features["x"].drifted for model in (regression, classifier)] == [True, False]
    report = classifier.window.report()
    assert (report.rows, list(report.features)) == (300, ["x", "y"])
    assert (report.features["y"], report.predictions) == (Drift(0.0, drifted=False), Drift(0.0, drifted=False))
    assert regression.window.report().predictions is NO_DRIFT


def test_window_keeps_the_newest_rows() -> None:
    model, newest = Model(), Model()
    for right, rows in ((200, 200), (0, 150), (100, 100), (0, 140)):
        model.add(right, rows)
    newest.add(100, 300)
    # The last 60 of the 150 rows, and all that follow.
    assert model.window.report().features["x"] == newest.window.report().features["x"]
    assert model.window.report().features["x"].score > 0


def test_window_is_not_compared_before_it_has_rows_enough() -> None:
    model = Model()
    model.add(0, MIN_ROWS - 1)
    assert model.window.report() == DriftReport(MIN_ROWS - 1, dict.fromkeys(("x", "y"), NO_DRIFT), NO_DRIFT)
    model.add(0, 1)
    assert model.window.report().features["x"].drifted


def test_model_without_a_reference_has_nothing_to_compare() -> None:
    model = Model(reference=None)
    model.add(0, 300)
    assert model.window.report() == DriftReport(0, {}, NO_DRIFT)


def sampled(size: int, parts: list[int], seed: int = 1) -> NDArray[np.int64]:
    """The places of a batch's rows that enter a window, in their order."""
    random, start = np.random.default_rng(seed), 0
    found: list[NDArray[np.int64]] = []
    window: Any = SimpleNamespace(predictor=None, references=[None] * 2, size=size, add=found.append)
    window.keys_of = lambda table, labels, chosen: np.array([table[chosen], -labels[chosen]])
    batch = Batch(window)
    for rows in parts:
        places: Any = np.arange(start, start + rows)
        batch.add(random.random(rows), places, places)
        start += rows
    batch.end()
    ((sample, labels),) = found
    np.testing.assert_array_equal(labels, -sample)
    return np.asarray(sample)


def test_small_batch_is_taken_whole_and_shuffled() -> None:
    found = sampled(300, [200, 0, 50])
    assert sorted(found) == list(range(250))
    assert (np.diff(found) < 0).sum() > 80


@pytest.mark.parametrize("parts", [[10_000], [1000] * 10, [9999, 1], [1, 9999], [9000, 1000]])
def test_large_batch_is_sampled_evenly(parts: list[int]) -> None:
    samples = [sampled(300, parts, seed) for seed in range(20)]
    assert {len(set(sample.tolist())) for sample in samples} == {300}
    counts = np.bincount(np.concatenate(samples) // 1000, minlength=10)
    # Binomial: 600 expected, standard deviation 23.
    assert counts.min() > 500
    assert counts.max() < 700
    assert 3000 < samples[0][-100:].mean() < 7000  # each end of it is a sample, too


def test_batch_without_parts_adds_nothing() -> None:
    model = Model()
    Batch(model.window).end()
    assert model.window.report().rows == 0
