"""The population stability index: quiet where nothing changed, loud within 300 rows where something did."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.services.inference.watch.drift import (
    MIN_ROWS,
    CategoryBins,
    DriftWindow,
    NumberBins,
    Window,
    class_window,
    feature_windows,
    psi,
)

ALERT = 0.25
SIZE = 300


def window_of(training: NDArray[np.float64], size: int = SIZE) -> DriftWindow:
    """As training's reference has it: five quantile bins."""
    edges = np.quantile(training, [0.2, 0.4, 0.6, 0.8], method="lower")
    shares = np.bincount(np.searchsorted(edges, training, side="left"), minlength=5) / len(training)
    limits = (float(training.min()), float(training.max()))
    return DriftWindow(NumberBins(edges.tolist()), [*shares.tolist(), 0.0], size, limits)


def test_psi_is_zero_for_the_expected_shares_and_grows_with_the_distance() -> None:
    expected = np.array([0.2, 0.3, 0.5])
    same, near, far = (
        psi(expected, np.array(counts)) for counts in ([200, 300, 500], [250, 300, 450], [600, 300, 100])
    )
    assert same == pytest.approx(0)
    assert 0 < near < 0.1 < ALERT < far


def test_psi_is_what_the_formula_says() -> None:
    # Large enough that the smoothing does not show.
    counts = np.array([4_000_000, 6_000_000])
    assert psi(np.array([0.5, 0.5]), counts) == pytest.approx(-0.1 * math.log(0.8) + 0.1 * math.log(1.2), rel=1e-4)


def test_psi_is_finite_for_empty_bins_and_ignores_bins_that_are_empty_on_both_sides() -> None:
    assert math.isfinite(psi(np.array([0.5, 0.5]), np.array([500, 0])))
    assert psi(np.array([0.5, 0.5, 0.0]), np.array([250, 250, 0])) == pytest.approx(0)


def test_window_keeps_the_newest_values() -> None:
    window = Window([0.5, 0.5], 4)
    for block in ([0, 0, 0], [1], [1, 1, 1], [0, 1, 0, 1, 0, 0]):
        window.add(np.array(block, dtype=np.intp))
    # The last four: 0 1 0 0.
    assert (window.rows, window.counts.tolist()) == (4, [3, 1])


def test_window_has_no_score_before_it_has_rows_enough() -> None:
    window = Window([0.5, 0.5], SIZE)
    window.add(np.zeros(MIN_ROWS - 1, dtype=np.intp))
    assert math.isnan(window.score)
    window.add(np.zeros(1, dtype=np.intp))
    assert window.score > ALERT


def test_value_on_an_edge_belongs_to_the_left_and_a_missing_one_to_the_last_bin() -> None:
    bins = NumberBins([1.0, 2.0])
    assert bins.of(np.array([0.5, 1.0, 1.5, 2.0, 2.5, np.nan])).tolist() == [0, 0, 1, 1, 2, 3]


def test_unknown_and_missing_categories_have_bins_of_their_own() -> None:
    bins = CategoryBins(["Ulm", "Bonn"])
    assert bins.of(np.array(["Bonn", "Ulm", "Paris", None], dtype=object)).tolist() == [1, 0, 2, 3]


def test_values_outside_the_training_range_are_counted() -> None:
    window = window_of(np.arange(100.0))
    assert window.add(np.array([-0.1, 0.0, 50.0, 99.0, 99.1, np.nan])) == 2


@pytest.mark.parametrize("rows", [105, 1000])
def test_at_most_one_window_in_a_hundred_of_training_s_own_distribution_alarms(rows: int) -> None:
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(1000):
        window = window_of(random.normal(size=rows))
        window.add(random.normal(size=2000).astype(np.float64))
        alarms += window.score > ALERT
    assert alarms <= 10


@pytest.mark.parametrize("rows", [105, 1000])
@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_shift_of_one_standard_deviation_alarms_within_300_rows(rows: int, shift: float) -> None:
    random = np.random.default_rng(6)
    seen = 0
    for _ in range(200):
        window = window_of(random.normal(size=rows))
        window.add(random.normal(size=2000).astype(np.float64))
        window.add(random.normal(loc=shift, size=300))
        seen += window.score > ALERT
    assert seen == 200


HOUSES = FeatureSchema(
    (
        Column("size", required=False),
        Column("garden", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
        Column("town", ColumnType.STRING, mlflow_type="string"),
        Column("unknown"),
    )
)
REFERENCE = DriftReference(
    rows=100,
    edges={"size": [10.0]},
    shares={"size": [0.5, 0.5]},
    category_shares={"garden": {"false": 0.25, "true": 0.75}, "town": {"Bonn": 0.5, "Ulm": 0.5}},
    missing={"size": 0.2},
    minimum={"size": 1.0},
    maximum={"size": 20.0},
    class_shares={},
)


def test_columns_of_every_type_are_compared_with_their_shares_in_training() -> None:
    windows = feature_windows(HOUSES, REFERENCE, 1000)
    assert list(windows) == ["size", "garden", "town"]
    # As in training, a fifth of the sizes missing.
    windows["size"].add(np.array([5.0] * 400 + [15.0] * 400 + [np.nan] * 200))
    windows["garden"].add(np.array([True] * 750 + [False] * 250))
    windows["town"].add(np.array(["Ulm", "Bonn"] * 500, dtype=object))
    assert [window.score for window in windows.values()] == pytest.approx([0, 0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("size", [5.0] * 300 + [15.0] * 300 + [np.nan] * 400),
        ("garden", [True] * 400 + [False] * 600),
        ("garden", [True] * 700 + [False] * 200 + [None] * 100),
        ("town", ["Ulm"] * 900 + ["Bonn"] * 100),
        ("town", ["Ulm"] * 400 + ["Bonn"] * 400 + ["Paris"] * 200),
    ],
)
def test_other_shares_unknown_categories_and_more_missing_values_are_drift(name: str, values: list[object]) -> None:
    window = feature_windows(HOUSES, REFERENCE, 1000)[name]
    window.add(np.array(values, dtype=np.float64 if name == "size" else object))
    assert window.score > 0.1


def test_a_regression_has_no_classes_to_compare() -> None:
    assert class_window((), REFERENCE, 1000) is None
