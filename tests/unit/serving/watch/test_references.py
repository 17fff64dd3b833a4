"""Live values against the reference that training wrote."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from src.core.category_keys import BUCKETS, MAX_CATEGORIES
from src.core.dataset_config import DatasetConfig
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.serving.watch.drift import Drift
from src.serving.watch.references import MISSING, Reference, class_reference, feature_references
from src.serving.watch.two_sample import Comparison, compare
from src.training.drift_reference import drift_reference

ROWS = 300
NO_DRIFT = Drift(0.0, drifted=False)


def trained(values: Sequence[object], kind: str = "category") -> Reference:
    """The reference that training writes for a column."""
    frame = pd.DataFrame({"x": values, "y": 0.0})
    features = {"x": {"type": kind, "missing": True}}
    raw = {"source": "x.csv", "target": "y", "features": features, "target_range": {}, "duplicates": "keep"}
    dataset = DatasetConfig.model_validate(raw)
    return feature_references(dataset.feature_schema, drift_reference(frame, dataset))["x"]


def compared(reference: Reference, values: Sequence[object]) -> Comparison:
    dtype = object if reference.limits is None else np.float64
    return reference.compare(reference.keys_of(np.array(values, dtype=dtype)))


def drift(reference: Reference, values: Sequence[object]) -> Drift:
    return Drift.of(compared(reference, values), 1)


def test_number_is_compared_by_the_bins_of_training() -> None:
    random = np.random.default_rng(6)
    training = random.normal(size=1000)
    edge = float(np.quantile(training, 0.3, method="lower"))
    reference = trained(training.tolist(), kind="number")
    keys = reference.keys_of(np.array([-99.0, edge, np.nextafter(edge, 9), 99.0, np.nan]))
    assert keys.tolist() == [0, 2, 3, 9, MISSING]
    assert drift(reference, random.normal(size=ROWS).tolist()) == NO_DRIFT
    shifted = drift(reference, (random.normal(size=ROWS) + 1).tolist())
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
def test_a_value_that_most_rows_have_drifts_to_either_side(kind: str, training: Sequence[object], live: float) -> None:
    random = np.random.default_rng(3)
    assert not drift(trained(training, kind=kind), random.choice(np.array(training), ROWS).tolist()).drifted
    assert drift(trained(training, kind=kind), [live] * ROWS).drifted


def test_a_value_that_most_rows_have_may_be_sent_as_float32() -> None:
    for value in (0.1, 0.3, -0.7, 1e30):
        assert drift(trained([value] * 1000, kind="number"), [float(np.float32(value))] * ROWS).score == 0


@pytest.mark.parametrize("limits", [(0.0, 1.0), None])
def test_bins_of_numbers_are_merged_with_their_neighbours(limits: tuple[float, float] | None) -> None:
    first, second = np.array([460, 4, 460, 4, 72]), np.array([135, 18, 135, 18, 12])
    reference = Reference(0, np.arange(5), first, np.asarray, limits)
    found = reference.compare(np.repeat(np.arange(5), second))
    assert found == compare(first, second, ordered=limits is not None)


def test_rows_of_the_reference_count() -> None:
    counts, live = np.array([60, 40]), np.repeat([0, 1], [140, 160])
    few, many = (Reference(0, np.arange(2), counts * scale, np.asarray).compare(live) for scale in (1, 1000))
    assert (Drift.of(few, 1).drifted, Drift.of(many, 1).drifted) == (False, True)


@pytest.mark.parametrize("kind", ["number", "integer", "date"])
def test_missing_numbers_are_drift_where_training_had_few(kind: str) -> None:
    reference = trained([*range(900), *[None] * 100], kind=kind)
    assert drift(reference, [*(n * 900 // 270 for n in range(270)), *[None] * 30]).score == 0
    assert drift(reference, [*range(0, 900, 4), *[None] * 75]).drifted


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
def test_other_shares_unknown_and_missing_categories_are_drift(values: Sequence[object], *, drifted: bool) -> None:
    assert drift(trained(["Ulm"] * 500 + ["Bonn"] * 500), values).drifted == drifted


def test_booleans_are_named_alike_in_training_and_serving() -> None:
    reference = trained([True] * 750 + [False] * 250, kind="boolean")
    found = reference.keys_of(np.array([True, False, None], dtype=object))
    assert found.tolist() == [*trained(["true", "false"]).keys_of(np.array(["true", "false"])), MISSING]
    assert drift(reference, [True] * 225 + [False] * 75).score == 0
    assert drift(reference, [True] * 150 + [False] * 150).drifted


def test_a_column_of_names_that_all_differ_does_not_drift() -> None:
    # No live value was in the training rows: that is as expected where every value is a new one.
    training, live = ([f"{kind} {n}" for n in range(rows)] for kind, rows in (("known", MAX_CATEGORIES), ("new", ROWS)))
    assert not drift(trained(training), live).drifted


def test_a_column_of_very_many_values_is_compared_by_buckets() -> None:
    random = np.random.default_rng(2)
    training = [f"name {n}" for n in random.integers(0, 5000, 5000)]
    reference = trained(training)
    live = [f"name {n}" for n in random.integers(0, 5000, ROWS)]
    assert set(reference.keys_of(np.array(live, dtype=object)).tolist()) <= set(range(BUCKETS))
    assert not drift(reference, live).drifted
    assert drift(reference, [*live[:240], *["one name"] * 60]).drifted
    assert reference.categories is None


def test_texts_that_no_encoding_has_are_texts_all_the_same() -> None:
    reference = trained(["a"] * 500)
    assert len(set(reference.keys_of(np.array(["a", "\ud800", "é", ""], dtype=object)).tolist())) == 4


def test_unseen_values_are_counted() -> None:
    number, town = trained([float(n) for n in range(100)], kind="number"), trained(["Ulm", "Bonn"])
    assert number.unseen(np.array([-0.1, 0.0, 50.0, 99.0, 99.1, np.nan])) == 2
    assert town.unseen(np.array(["Bonn", "bonn", None, "Paris", "Ulm", "Paris"], dtype=object)) == 3


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
    references = feature_references(HOUSES, REFERENCE)
    values: dict[str, Sequence[object]] = {
        # As in training, a fifth of the sizes missing.
        "size": [5.0] * 400 + [15.0] * 400 + [math.nan] * 200,
        "garden": [True] * 750 + [False] * 250,
        "town": ["Ulm", "Bonn"] * 500,
    }
    assert {name: drift(reference, values[name]) for name, reference in references.items()} == dict.fromkeys(
        values, NO_DRIFT
    )
    assert [reference.place for reference in references.values()] == [0, 1, 2]
    assert references["size"].limits == (1.0, 20.0)
    update = {"edges": {"x": []}, "shares": {"x": [1.0]}, "minimum": {"x": 0}, "maximum": {"x": 1}}
    numbers = feature_references(FeatureSchema.of_numbers("x"), REFERENCE.model_copy(update=update))
    assert drift(numbers["x"], FLAG) == NO_DRIFT


def test_shares_of_the_reference_are_of_the_values_that_are_there() -> None:
    recorded = REFERENCE.model_copy(update={"rows": 100_000, "missing": {"size": 0.2, "town": 0.4}})
    references = feature_references(HOUSES, recorded)
    sizes = compared(references["size"], [5.0] * 2000 + [15.0] * 2000 + [math.nan] * 1000)
    towns = compared(references["town"], ["Ulm"] * 1500 + ["Bonn"] * 1500 + [None] * 2000)
    assert sizes == towns == Comparison(0.0, 1.0)


def test_known_categories_are_those_of_the_model_and_else_those_of_the_training_rows() -> None:
    references = feature_references(HOUSES, REFERENCE)
    assert references["town"].categories == frozenset({"Bonn", "Ulm", "Rome", None})
    assert references["garden"].categories is references["size"].categories is None
    plain = FeatureSchema((Column("town", ColumnType.STRING, mlflow_type="string"),))
    assert feature_references(plain, REFERENCE)["town"].categories == frozenset({"Bonn", "Ulm", None})


@pytest.mark.parametrize(
    ("update", "expected", "drifted"),
    [
        # A model that predicts one class less often than it occurs has not drifted for that.
        ({"predicted_rows": 500, "predicted_shares": {"a": 0.1, "b": 0.9}}, [30, 270], [150, 150]),
        # An earlier model's are compared with the classes of training; a label of the engine's own is in neither.
        ({}, [150, 150], [120, 120, 60]),
    ],
)
def test_predicted_classes_are_compared_with_those_of_the_holdout(
    update: dict[str, object], expected: list[int], drifted: list[int]
) -> None:
    reference = class_reference(("a", "b"), 7, REFERENCE.model_copy(update=update))
    assert reference is not None
    assert reference.place == 7
    calm, moved = (reference.compare(np.repeat(np.arange(len(rows)), rows)) for rows in (expected, drifted))
    assert calm == Comparison(0.0, 1.0)
    assert Drift.of(moved, 1).drifted


def test_nothing_is_compared_without_training_rows() -> None:
    assert class_reference((), 4, REFERENCE) is None
    assert class_reference(("a", "b"), 4, REFERENCE.model_copy(update={"class_shares": {}})) is None
    assert feature_references(HOUSES, REFERENCE.model_copy(update={"rows": 0})) == {}
