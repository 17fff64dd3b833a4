"""Windows of the newest values against the reference that training wrote, and the verdicts on them."""

import math

import numpy as np
import pandas as pd
import pytest

from src.core.category_keys import BUCKETS, MAX_CATEGORIES
from src.core.dataset_config import DatasetConfig
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.serving.watch.drift import (
    FALSE_ALARMS,
    LARGE,
    MIN_ROWS,
    MISSING,
    Drift,
    FeatureWindow,
    Window,
    class_window,
    feature_windows,
)
from src.serving.watch.two_sample import Comparison, compare
from src.training.drift_reference import drift_reference

SIZE = 300


def window_of(training: list[object], size: int = SIZE, kind: str = "category") -> FeatureWindow:
    """A window against the reference that training writes for a column."""
    frame = pd.DataFrame({"x": training, "y": 0.0})
    features = {"x": {"type": kind, "missing": True}}
    raw = {"source": "x.csv", "target": "y", "features": features, "target_range": {}, "duplicates": "keep"}
    dataset = DatasetConfig.model_validate(raw)
    return feature_windows(dataset.feature_schema, drift_reference(frame, dataset), size)["x"]


def seen(window: FeatureWindow, values: list[object], tests: int = 1) -> Drift:
    dtype = object if window.limits is None else np.float64
    window.add(window.keys_of(np.array(values, dtype=dtype)))
    return Drift.of(window.compare(), tests)


def test_window_keeps_the_newest_values() -> None:
    window = Window({0: 1, 1: 1}, 4)
    for block in ([0, 0, 0], [1], [1, 1, 1], [0, 1, 0, 1, 0, 0]):
        window.add(np.array(block))
    # The last four: 0 1 0 0.
    assert (window.rows, sorted(window._keys.tolist())) == (4, [0, 0, 0, 1])  # noqa: SLF001 - what this test is about


def test_window_is_not_compared_before_it_has_rows_enough() -> None:
    window = Window({0: 500, 1: 500}, SIZE)
    window.add(np.zeros(MIN_ROWS - 1, dtype=np.int64))
    assert window.compare() is None
    window.add(np.zeros(1, dtype=np.int64))
    found = window.compare()
    assert found is not None
    assert found.p_value < 1e-20


def test_window_is_not_compared_with_a_reference_of_no_rows() -> None:
    window = Window({0: 0, 1: 0}, SIZE)
    window.add(np.zeros(SIZE, dtype=np.int64))
    assert window.compare() is None


def test_rows_of_the_reference_count() -> None:
    few, many = Window({0: 60, 1: 40}, SIZE), Window({0: 60_000, 1: 40_000}, SIZE)
    for window in (few, many):
        window.add(np.array([0] * 140 + [1] * 160))
    low, high = (Drift.of(window.compare(), 1) for window in (few, many))
    assert (low.drifted, high.drifted) == (False, True)


# -- verdicts ----------------------------------------------------------------------------------------


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


def test_too_few_rows_are_no_verdict() -> None:
    found = Drift.of(None, 1)
    assert math.isnan(found.score)
    assert math.isnan(found.flag)
    assert not found.drifted


# -- columns of every type ---------------------------------------------------------------------------


def test_number_is_compared_by_the_bins_of_training() -> None:
    random = np.random.default_rng(6)
    training = random.normal(size=1000)
    edge = float(np.quantile(training, 0.3, method="lower"))
    window = window_of(training.tolist(), kind="number")
    keys = window.keys_of(np.array([-99.0, edge, np.nextafter(edge, 9), 99.0, np.nan]))
    assert keys.tolist() == [0, 2, 3, 9, MISSING]
    assert seen(window, random.normal(size=SIZE).tolist()) == Drift(0.0, drifted=False)
    shifted = seen(window, (random.normal(size=SIZE) + 1).tolist())
    assert shifted.drifted
    assert 0.5 < shifted.score < 1.2


FLAG = [0.0] * 50 + [1.0] * 950


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize(
    ("training", "live"),
    [
        (FLAG, 0.0),
        (FLAG, 2.0),
        ([1 - value for value in FLAG], 1.0),
        ([1 - value for value in FLAG], -7.0),
        ([5.0] * 1000, 4.0),
        ([5.0] * 1000, 6.0),
        ([0.0] * 1000, -1.0),
        ([-1e9] * 1000, -1e9 - 100),
        ([*range(50), *[50] * 900, *range(51, 101)], 49.0),
        ([*range(50), *[50] * 900, *range(51, 101)], 51.0),
    ],
)
def test_a_value_that_most_rows_have_drifts_to_either_side(kind: str, training: list[object], live: float) -> None:
    random = np.random.default_rng(3)
    assert not seen(window_of(training, kind=kind), random.choice(np.array(training), SIZE).tolist()).drifted
    assert seen(window_of(training, kind=kind), [live] * SIZE).drifted


def test_a_value_that_most_rows_have_may_be_sent_as_float32() -> None:
    for value in (0.1, 0.3, -0.7, 1e30):
        assert seen(window_of([value] * 1000, kind="number"), [float(np.float32(value))] * SIZE).score == 0


def test_references_of_former_releases_are_compared_by_their_bins() -> None:
    former = {"rows": 1000, "edges": {"x": []}, "shares": {"x": [1.0]}, "minimum": {"x": 0}, "maximum": {"x": 1}}
    reference = DriftReference.model_validate(former | {"class_shares": {}})
    window = feature_windows(FeatureSchema.of_numbers("x"), reference, SIZE)["x"]
    assert seen(window, FLAG) == Drift(0.0, drifted=False)


@pytest.mark.parametrize("limits", [(0.0, 1.0), None])
def test_bins_of_numbers_are_merged_with_their_neighbours(limits: tuple[float, float] | None) -> None:
    first, second = [460, 4, 460, 4, 72], [135, 18, 135, 18, 12]
    window = FeatureWindow(dict(enumerate(first)), sum(second), np.asarray, limits=limits)
    window.add(np.repeat(np.arange(5), second))
    assert window.compare() == compare(np.array(first), np.array(second), ordered=limits is not None)


@pytest.mark.parametrize("kind", ["number", "integer", "date"])
def test_missing_numbers_are_drift_where_training_had_few(kind: str) -> None:
    window = window_of([*range(900), *[None] * 100], kind=kind)
    assert seen(window, [*(n * 900 // 270 for n in range(270)), *[None] * 30]).score == 0
    assert seen(window, [*range(0, 900, 4), *[None] * 75]).drifted


@pytest.mark.parametrize(
    ("values", "drifted"),
    [
        (["Ulm"] * 150 + ["Bonn"] * 150, False),
        (["Ulm"] * 220 + ["Bonn"] * 80, True),
        (["Ulm"] * 120 + ["Bonn"] * 120 + ["Paris"] * 60, True),
        (["Ulm"] * 120 + ["Bonn"] * 120 + [f"no {n}" for n in range(60)], True),
        (["Ulm"] * 120 + ["Bonn"] * 120 + [None] * 60, True),
        (["Ulm"] * 149 + ["Bonn"] * 149 + ["Paris", None], False),
    ],
)
def test_other_shares_unknown_and_missing_categories_are_drift(values: list[object], *, drifted: bool) -> None:
    assert seen(window_of(["Ulm"] * 500 + ["Bonn"] * 500), values).drifted == drifted


def test_booleans_are_named_alike_in_training_and_serving() -> None:
    window = window_of([True] * 750 + [False] * 250, kind="boolean")
    found = window.keys_of(np.array([True, False, None], dtype=object))
    assert found.tolist() == [*window_of(["true", "false"]).keys_of(np.array(["true", "false"])), MISSING]
    assert seen(window, [True] * 225 + [False] * 75).score == 0
    assert seen(window, [True] * 150 + [False] * 150).drifted


def test_a_column_of_names_that_all_differ_does_not_drift() -> None:
    # No live value was in the training rows: that is as expected where every value is a new one.
    training, live = ([f"{kind} {n}" for n in range(rows)] for kind, rows in (("known", MAX_CATEGORIES), ("new", SIZE)))
    assert not seen(window_of(training), live).drifted


def test_a_column_of_very_many_values_is_compared_by_buckets() -> None:
    random = np.random.default_rng(2)
    training = [f"name {n}" for n in random.integers(0, 5000, 5000)]
    window = window_of(training)
    live = [f"name {n}" for n in random.integers(0, 5000, SIZE)]
    assert set(window.keys_of(np.array(live, dtype=object)).tolist()) <= set(range(BUCKETS))
    assert not seen(window, live).drifted
    assert seen(window, [*live[:240], *["one name"] * 60]).drifted
    assert window.categories is None


def test_texts_that_no_encoding_has_are_texts_all_the_same() -> None:
    window = window_of(["a"] * 500)
    assert len(set(window.keys_of(np.array(["a", "\ud800", "é", ""], dtype=object)).tolist())) == 4


# -- values that training has not seen ---------------------------------------------------------------


def test_values_outside_the_training_range_are_counted() -> None:
    window = window_of([float(n) for n in range(100)], kind="number")
    assert window.out_of_range(np.array([-0.1, 0.0, 50.0, 99.0, 99.1, np.nan])) == 2
    assert window.unknown(np.array([-0.1, 99.1])) == 0


def test_unknown_categories_are_counted() -> None:
    window = window_of(["Ulm", "Bonn"])
    assert window.unknown(np.array(["Bonn", "bonn", None, "Paris", "Ulm", "Paris"], dtype=object)) == 3
    assert window.out_of_range(np.array(["Paris"], dtype=object)) == 0


# -- references --------------------------------------------------------------------------------------

HOUSES = FeatureSchema(
    (
        Column("size", required=False),
        Column("garden", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
        Column("town", ColumnType.STRING, mlflow_type="string", values=("Bonn", "Ulm", "Rome")),
        Column("unknown"),
    )
)
# As models of earlier releases have it: five bins at most, no buckets.
REFERENCE = DriftReference.model_validate(
    {
        "rows": 1000,
        "edges": {"size": [10.0]},
        "shares": {"size": [0.5, 0.5]},
        "category_shares": {"garden": {"false": 0.25, "true": 0.75}, "town": {"Bonn": 0.5, "Ulm": 0.5}},
        "missing": {"size": 0.2},
        "minimum": {"size": 1.0},
        "maximum": {"size": 20.0},
        "class_shares": {"a": 0.5, "b": 0.5},
    }
)


def test_an_earlier_model_s_reference_is_compared_as_before() -> None:
    windows = feature_windows(HOUSES, REFERENCE, 1000)
    assert list(windows) == ["size", "garden", "town"]
    values: dict[str, list[object]] = {
        # As in training, a fifth of the sizes missing.
        "size": [5.0] * 400 + [15.0] * 400 + [math.nan] * 200,
        "garden": [True] * 750 + [False] * 250,
        "town": ["Ulm", "Bonn"] * 500,
    }
    assert [seen(window, values[name]) for name, window in windows.items()] == [Drift(0.0, drifted=False)] * 3
    assert windows["size"].limits == (1.0, 20.0)


def test_shares_of_the_reference_are_of_the_values_that_are_there() -> None:
    reference = REFERENCE.model_copy(update={"rows": 100_000, "missing": {"size": 0.2, "town": 0.4}})
    windows = feature_windows(HOUSES, reference, 5000)
    windows["size"].add(windows["size"].keys_of(np.array([5.0] * 2000 + [15.0] * 2000 + [math.nan] * 1000)))
    windows["town"].add(windows["town"].keys_of(np.array(["Ulm"] * 1500 + ["Bonn"] * 1500 + [None] * 2000)))
    assert [windows[name].compare() for name in ("size", "town")] == [Comparison(0.0, 1.0)] * 2


def test_known_categories_are_those_of_the_model_and_else_those_of_the_training_rows() -> None:
    windows = feature_windows(HOUSES, REFERENCE, 1000)
    assert windows["town"].categories == {"Bonn", "Ulm", "Rome"}
    assert windows["garden"].categories is windows["size"].categories is None
    plain = FeatureSchema((Column("town", ColumnType.STRING, mlflow_type="string"),))
    assert feature_windows(plain, REFERENCE, 1000)["town"].categories == {"Bonn", "Ulm"}


def test_without_a_reference_there_are_no_windows() -> None:
    assert feature_windows(HOUSES, None, 1000) == {}
    assert class_window(("a", "b"), None, 1000) is None


def test_predicted_classes_are_compared_with_predictions_for_rows_of_the_holdout() -> None:
    # A model that predicts one class less often than it occurs has not drifted for that.
    update = {"predicted_rows": 500, "predicted_shares": {"a": 0.1, "b": 0.9}}
    window = class_window(("a", "b"), REFERENCE.model_copy(update=update), SIZE)
    assert window is not None
    window.add(np.array([0] * 30 + [1] * 270))
    assert window.compare() == Comparison(0.0, 1.0)
    window.add(np.array([0, 1] * 150))
    assert Drift.of(window.compare(), 1).drifted


def test_a_regression_has_no_classes_to_compare() -> None:
    assert class_window((), REFERENCE, 1000) is None


def test_predicted_classes_of_an_earlier_model_are_compared_with_those_of_training() -> None:
    window = class_window(("a", "b"), REFERENCE, SIZE)
    assert window is not None
    window.add(np.array([0, 1] * 150))
    assert window.compare() == Comparison(0.0, 1.0)
    # A label of the engine's own is in neither.
    window.add(np.array([0] * 120 + [1] * 120 + [2] * 60))
    assert Drift.of(window.compare(), 1).drifted
