from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import LARGEST, CategoryFeature, DatasetConfig, Range
from src.core.errors import DataError
from src.training.learned_columns import ColumnSummary, learn_columns, summarise


def dataset(features: dict[str, Any], **changes: Any) -> DatasetConfig:
    values: dict[str, Any] = {
        "source": "x.csv",
        "target": "y",
        "features": features,
        "target_range": {},
        "duplicates": "keep",
    }
    return DatasetConfig.model_validate(values | changes)


def learned(values: list[Any], feature: dict[str, Any]) -> Any:
    train = pd.DataFrame({"x": pd.Series(values), "y": np.arange(len(values), dtype=float)})
    found = learn_columns(train, dataset({"x": feature}))
    # What is learned is a valid configuration, too.
    DatasetConfig.model_validate(found.model_dump())
    return found.features["x"]


def limits(values: list[Any], feature: dict[str, Any]) -> tuple[float | None, float | None]:
    found = learned(values, feature)
    assert isinstance(found, Range)
    return found.minimum, found.maximum


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        ([3.0, -1.5, 2.0], {}, (-1.5, 3.0)),
        ([3.0, np.nan, 2.0], {"missing": True}, (2.0, 3.0)),
        ([3.0, 2.0], {"minimum": 0.0}, (0.0, 3.0)),
        ([3.0, 2.0], {"maximum": 9.0}, (2.0, 9.0)),
        ([3.0, 2.0], {"minimum": 0.0, "maximum": 9.0}, (0.0, 9.0)),
        ([3, 7, 5], {"type": "integer"}, (3.0, 7.0)),
        ([np.nan, np.nan], {"missing": True}, (0.0, 1.0)),
    ],
)
def test_missing_limits_are_learned(
    values: list[float], feature: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert limits(values, feature) == expected


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0, 16_777_217.0, LARGEST, -LARGEST])
def test_constant_column_has_the_narrowest_range_around_its_value(value: float) -> None:
    low, high = limits([value, value], {})
    assert low is not None
    assert high is not None
    assert low <= value <= high
    assert 0 < high - low <= max(abs(value) * 2.4e-7, 2e-45)


def test_values_that_all_lie_on_a_configured_limit_leave_it_as_it_is() -> None:
    low, high = limits([2.0, 2.0], {"minimum": 2.0})
    assert (low, high) == (2.0, float(np.nextafter(np.float32(2), np.float32(3))))
    low, high = limits([2.0, 2.0], {"maximum": 2.0})
    assert (low, high) == (float(np.nextafter(np.float32(2), np.float32(1))), 2.0)


def test_missing_categories_are_learned_in_alphabetical_order() -> None:
    found = learned(["b", "NA", None, "a", "b"], {"type": "category", "missing": True})
    assert isinstance(found, CategoryFeature)
    assert found.values == ["NA", "a", "b"]
    kept = learned(["b", "a"], {"type": "category", "values": ["c", "b", "a"]})
    assert isinstance(kept, CategoryFeature)
    assert kept.values == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, None], "x: no training row has a value; remove the column or list dataset.features.x.values"),
        ([str(n) for n in range(1001)], r"x: 1001 different values are too many for a category \(1000 at most\)"),
    ],
)
def test_categories_that_cannot_be_learned_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        learned(values, {"type": "category", "missing": True})
    configured = learned(values, {"type": "category", "missing": True, "values": ["a"]})
    assert isinstance(configured, CategoryFeature)
    assert configured.values == ["a"]


def test_a_thousand_categories_are_learned() -> None:
    assert len(learned([str(n) for n in range(1000)], {"type": "category"}).values) == 1000


def test_other_columns_and_keys_stay_as_they_are() -> None:
    before = dataset({"b": {"type": "boolean"}, "d": {"type": "date"}, "n": {"missing": True}}, id=["k"])
    train = pd.DataFrame({"b": [True, False], "d": [1.0, 2.0], "n": [1.0, 2.0], "y": [5.0, 9.0], "k": ["a", "b"]})
    after = learn_columns(train, before)
    assert after.features["b"] == before.features["b"]
    assert after.features["d"] == before.features["d"]
    assert after.features["n"].missing
    assert after.target_range == Range(minimum=5.0, maximum=9.0)
    assert (after.id, after.columns, before.target_range) == (["k"], before.columns, Range())


def test_classification_has_no_target_range() -> None:
    before = dataset({"x": {}}, target_range=None, classes=["a", "b"], min_rows_per_class=2)
    after = learn_columns(pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}), before)
    assert (after.target_range, after.classes) == (None, ["a", "b"])


def test_nothing_is_the_summary_of_no_values() -> None:
    assert summarise(pd.Series([np.nan])) == ColumnSummary()
