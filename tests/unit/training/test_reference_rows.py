import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from src.core.dataset_config import DatasetConfig
from src.core.feature_schema import FeatureSchema
from src.core.model_registry import DriftReference
from src.training.reference_rows import drift_reference, golden_rows
from tests.support.training import iris_package

DATASET = DatasetConfig.model_validate(
    {
        "source": "x.csv",
        "target": "label",
        "features": {name: {"minimum": 0.0, "maximum": 100.0} for name in ("x", "y")},
        "classes": ["a", "b"],
        "min_rows_per_class": 2,
        "duplicates": "keep",
    }
)


def test_golden_rows_have_every_class_and_close_calls() -> None:
    golden = iris_package().golden
    assert set(golden.labels[:15]) == {"setosa", "versicolor", "virginica"}
    top = np.sort(np.array(golden.probabilities[15:]), axis=1)
    assert len(top) == 8
    assert (top[:, -1] - top[:, -2]).max() < 0.01


def test_drift_reference_describes_the_training_rows() -> None:
    values = pd.DataFrame({"x": np.arange(100.0), "y": [0.0] * 60 + [1.0] * 40, "label": ["a"] * 25 + ["b"] * 75})
    reference = drift_reference(values, DATASET)
    assert reference.rows == 100
    assert reference.edges["x"] == [19.0, 39.0, 59.0, 79.0]
    assert reference.shares["x"] == pytest.approx([0.2] * 5)
    # Repeated values make fewer bins, none of them empty: zeros on the left of the edge 0, ones on its right.
    assert (reference.edges["y"], reference.shares["y"]) == ([0.0], pytest.approx([0.6, 0.4]))
    assert (reference.minimum["x"], reference.maximum["x"]) == (0.0, 99.0)
    assert reference.class_shares == {"a": 0.25, "b": 0.75}
    assert DriftReference.model_validate_json(reference.model_dump_json()) == reference


def test_drift_reference_tells_categories_booleans_and_what_is_missing() -> None:
    values = pd.DataFrame(
        {
            "x": [1.0, 2.0, np.nan, np.nan],
            "colour": ["red", "blue", None, "red"],
            "sure": np.array([True, False, True, None], dtype=object),
            "open": [True, True, True, False],
            "label": [1.0, 2.0, 3.0, 4.0],
        }
    )
    dataset = DatasetConfig.model_validate(
        {
            "source": "x.csv",
            "target": "label",
            "features": {
                "x": {"minimum": 0.0, "maximum": 9.0, "missing": True},
                "colour": {"type": "category", "values": ["red", "blue"], "missing": True},
                "sure": {"type": "boolean", "missing": True},
                "open": {"type": "boolean"},
            },
            "target_range": {"minimum": 0.0, "maximum": 9.0},
            "duplicates": "keep",
        }
    )
    reference = drift_reference(values, dataset)
    assert (reference.edges, reference.shares) == ({"x": [1.0]}, {"x": [0.5, 0.5]})
    assert reference.category_shares == {
        "colour": {"blue": pytest.approx(1 / 3), "red": pytest.approx(2 / 3)},
        "sure": {"false": pytest.approx(1 / 3), "true": pytest.approx(2 / 3)},
        "open": {"false": 0.25, "true": 0.75},
    }
    assert reference.missing == {"x": 0.5, "colour": 0.25, "sure": 0.25}
    assert reference.class_shares == {}
    assert DriftReference.model_validate_json(reference.model_dump_json()) == reference


class Undecided(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives two classes the same share but for the last bits, from x = 5 on; below, it is a little surer."""

    classes_ = np.array(["a", "b"], dtype=object)

    def predict_proba(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        b = np.where(rows["x"] < 5, 0.6, 0.5 + 1e-12)
        return np.column_stack([1 - b, b])

    def predict(self, rows: pd.DataFrame) -> NDArray[np.object_]:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def test_golden_rows_are_no_ties_that_scikit_learn_breaks_in_its_own_way() -> None:
    model, rows = Undecided(), pd.DataFrame({"x": np.arange(20.0), "y": 0.0})
    train = rows.head(2).assign(label=["a", "b"])
    golden = golden_rows(model, FeatureSchema.of_numbers("x", "y"), train, "label", rows)
    made_up = [row[0] for row in golden.rows[2:]]
    assert sorted(made_up)[:5] == [0, 1, 2, 3, 4]
    assert golden.labels[: 2 + 5] == ["b"] * 7
