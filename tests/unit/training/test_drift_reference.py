import itertools

import numpy as np
import pandas as pd
import pytest

from src.core.category_keys import BUCKETS, MAX_CATEGORIES, bucket_of
from src.core.dataset_config import DatasetConfig
from src.core.model_registry import DriftReference
from src.training.drift_reference import bin_edges, count_columns, drift_reference, reference_of, with_predictions

COMMON = {"source": "x.csv", "target": "label", "duplicates": "keep"}
CLASSES = {"classes": ["a", "b"], "min_rows_per_class": 2}
DATASET = DatasetConfig.model_validate({**COMMON, **CLASSES, "features": {"x": {}, "y": {"type": "integer"}}})
MIXED = DatasetConfig.model_validate(
    {
        **COMMON,
        **CLASSES,
        "features": {
            "x": {"missing": True},
            "colour": {"type": "category", "missing": True},
            "sure": {"type": "boolean", "missing": True},
            "open": {"type": "boolean"},
            "day": {"type": "date", "missing": True},
        },
    }
)


def mixed(rows: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    choice = random.choice
    return pd.DataFrame(
        {
            "x": np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
            "colour": choice(np.array(["red", "blue", "green", None], dtype=object), rows),
            "sure": choice(np.array([True, False, None], dtype=object), rows),
            "open": random.random(rows) < 0.5,
            "day": choice([20_000.0, 20_001.5, np.nan], rows),
            "label": choice(["a", "b"], rows, p=[0.2, 0.8]),
        }
    )


def test_numbers_are_counted_in_bins_of_equal_share() -> None:
    values = pd.DataFrame({"x": np.arange(100.0), "y": [0] * 60 + [1] * 40, "label": ["a"] * 25 + ["b"] * 75})
    reference = drift_reference(values, DATASET)
    assert reference.rows == 100
    assert reference.edges["x"] == [9.0, 19.0, 29.0, 39.0, 49.0, 59.0, 69.0, 79.0, 89.0]
    assert reference.shares["x"] == [0.1] * 10
    # A value that fills a decile has a bin of its own; those beside it are empty.
    assert reference.edges["y"] == pytest.approx([0.0, 0.0, 1.0, 1.0], abs=1e-6)
    assert reference.shares["y"] == [0, 0.6, 0, 0.4, 0]
    assert (reference.minimum["x"], reference.maximum["x"]) == (0.0, 99.0)
    assert reference.class_shares == {"a": 0.25, "b": 0.75}
    assert DriftReference.model_validate_json(reference.model_dump_json()) == reference


def test_other_columns_are_counted_by_value_and_missing_ones_apart() -> None:
    values = pd.DataFrame(
        {
            "x": [1.0, 2.0, np.nan, np.nan],
            "colour": ["red", "blue", None, "red"],
            "sure": np.array([True, False, True, None], dtype=object),
            "open": [True, True, True, False],
            "day": [20_000.0, 20_001.0, 20_002.0, np.nan],
            "label": ["a", "b", "b", "b"],
        }
    )
    reference = drift_reference(values, MIXED)
    assert reference.shares == {"x": [0, 0.5, 0.5], "day": pytest.approx([0, 1 / 3, 0, 1 / 3, 1 / 3])}
    assert reference.category_shares == {
        "colour": {"blue": pytest.approx(1 / 3), "red": pytest.approx(2 / 3)},
        "sure": {"false": pytest.approx(1 / 3), "true": pytest.approx(2 / 3)},
        "open": {"false": 0.25, "true": 0.75},
    }
    assert reference.missing == {"x": 0.5, "colour": 0.25, "sure": 0.25, "day": 0.25}
    assert reference.bucket_shares == {}
    assert DriftReference.model_validate_json(reference.model_dump_json()) == reference


def test_a_regression_has_no_classes() -> None:
    raw = {**COMMON, "target_range": {}, "features": {"x": {}}}
    values = pd.DataFrame({"x": [1.0, 2.0], "label": [0.5, 0.7]})
    assert drift_reference(values, DatasetConfig.model_validate(raw)).class_shares == {}


def test_a_number_without_values_has_no_bins() -> None:
    values = mixed(50).assign(x=np.nan)
    reference = drift_reference(values, MIXED)
    assert "x" not in reference.edges
    assert reference.category_shares["x"] == {}
    assert reference.missing["x"] == 1.0


@pytest.mark.parametrize(("different", "in_buckets"), [(MAX_CATEGORIES, False), (MAX_CATEGORIES + 1, True)])
def test_a_column_of_very_many_values_stays_small(different: int, *, in_buckets: bool) -> None:
    values = mixed(2 * different)
    values["colour"] = [f"colour {n % different}" for n in range(len(values))]
    reference = drift_reference(values, MIXED)
    assert ("colour" in reference.bucket_shares) == in_buckets
    assert ("colour" in reference.category_shares) != in_buckets
    if in_buckets:
        counts = np.bincount([bucket_of(name) for name in values["colour"]], minlength=BUCKETS)
        assert reference.bucket_shares["colour"] == pytest.approx((counts / len(values)).tolist())
        assert len(reference.model_dump_json()) < 5000


@pytest.mark.parametrize("cuts", [[300], [1, 400, 999]])
def test_counts_of_parts_add_up_to_those_of_all_rows(cuts: list[int]) -> None:
    values = mixed(1000)
    edges = bin_edges(values, MIXED)
    bounds = [0, *cuts, 1000]
    parts = [count_columns(values.iloc[a:b], MIXED, edges) for a, b in itertools.pairwise(bounds)]
    assert reference_of(parts, edges) == drift_reference(values, MIXED)


def test_parts_may_lack_values_of_a_number() -> None:
    values = mixed(400)
    edges = bin_edges(values, MIXED)
    empty = values.head(5).assign(x=np.nan)
    parts = [count_columns(frame, MIXED, edges) for frame in (empty, values, empty)]
    found = reference_of(parts, edges)
    assert found.shares["x"] == drift_reference(values, MIXED).shares["x"]
    assert (found.minimum["x"], found.maximum["x"]) == (values["x"].min(), values["x"].max())
    assert found.missing["x"] == (values["x"].isna().sum() + 10) / 410


def test_predictions_are_added_to_the_reference() -> None:
    reference = drift_reference(mixed(50), MIXED)
    found = with_predictions(reference, ["b", "a", "b", "b"])
    assert (found.predicted_rows, found.predicted_shares) == (4, {"a": 0.25, "b": 0.75})
    assert found.model_copy(update={"predicted_rows": 0, "predicted_shares": {}}) == reference
