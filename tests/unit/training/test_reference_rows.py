from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

from src.core.feature_schema import FeatureSchema
from src.training.reference_rows import golden_rows
from tests.support.training import iris_package


def test_golden_rows_have_every_class_and_close_calls() -> None:
    golden = iris_package().golden
    assert set(golden.labels[:15]) == {"setosa", "versicolor", "virginica"}
    top = np.sort(np.array(golden.probabilities[15:]), axis=1)
    assert len(top) == 8
    assert (top[:, -1] - top[:, -2]).max() < 0.01


class Undecided(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Two classes with equal probabilities except for the last bits from x = 5 on; with 0.6 for one below."""

    classes_ = np.array(["a", "b"], dtype=object)

    def fit(self, *_: object) -> Self:
        self.fitted_ = True  # by which scikit-learn recognises a fitted estimator
        return self

    def predict_proba(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        b = np.where(rows["x"] < 5, 0.6, 0.5 + 1e-12)
        return np.column_stack([1 - b, b])

    def predict(self, rows: pd.DataFrame) -> NDArray[np.object_]:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def test_golden_rows_exclude_ties_that_scikit_learn_resolves_differently() -> None:
    rows = pd.DataFrame({"x": np.arange(20.0), "y": 0.0})
    model = Pipeline([("estimator", Undecided())]).fit(rows)
    train = rows.head(2).assign(label=["a", "b"])
    golden = golden_rows(model, FeatureSchema.of_numbers("x", "y"), train, "label", rows)
    synthetic = [row[0] for row in golden.rows[2:]]
    assert sorted(synthetic)[:5] == [0, 1, 2, 3, 4]
    assert golden.labels[: 2 + 5] == ["b"] * 7
