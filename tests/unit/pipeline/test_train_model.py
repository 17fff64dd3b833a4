from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from src.core.dataset_config import DatasetConfig
from src.pipeline.train_model import build_model, columns_step, fit
from tests.support.training import config, iris_parts

DATASET = config().dataset


def with_columns(**features: Any) -> DatasetConfig:
    """A regression on these columns, or on one of each kind with missing values."""
    return DatasetConfig.model_validate(
        {
            "source": "x.csv",
            "target": "price",
            "features": features
            or {
                "c": {"type": "category", "values": ["blue", "red"], "missing": True},
                "n": {"minimum": 0.0, "maximum": 100.0, "missing": True},
                "b": {"type": "boolean", "missing": True},
            },
            "target_range": {"minimum": 0.0, "maximum": 100.0},
            "duplicates": "keep",
        }
    )


def test_a_forest_takes_numbers_and_booleans_as_they_are_and_other_columns_through_a_step() -> None:
    steps = [[name for name, _ in build_model(config().model, dataset).steps] for dataset in (DATASET, with_columns())]
    assert steps == [["forest"], ["columns", "forest"]]
    complete = with_columns(b={"type": "boolean"}, c={"minimum": 0.0, "maximum": 1.0})
    assert columns_step(complete) is None


def test_columns_become_complete_numbers_with_a_column_for_each_category() -> None:
    rows = pd.DataFrame(
        {
            "c": pd.Series(["red", "Mars", None, "blue"], dtype=object),
            "n": [1.0, 2.0, np.nan, 9.0],
            "b": pd.Series([True, None, True, False], dtype=object),
        }
    )
    step = columns_step(with_columns())
    assert step is not None
    found = step.fit(rows).transform(rows)
    assert found.tolist() == [[1, 1, 0, 1], [2, 1, 0, 0], [2, 1, 0, 0], [9, 0, 1, 0]]


def test_regression_is_a_forest_of_numbers() -> None:
    frame = pd.DataFrame(
        {"c": ["red", "blue"] * 10, "n": np.arange(20.0), "b": [True] * 20, "price": np.arange(20.0) * 2}
    )
    model = fit(frame, config(model={"n_estimators": 5}).model, with_columns())
    assert isinstance(model[-1], RandomForestRegressor)
    assert np.corrcoef(model.predict(frame.drop(columns="price")), frame["price"])[0, 1] > 0.95


def test_fit_uses_the_configured_parameters_and_class_names() -> None:
    settings = config(model={"n_estimators": 7, "max_depth": 2, "min_samples_leaf": 3, "random_state": 5}).model
    model = fit(iris_parts()[0], settings, DATASET)
    assert model[-1].get_params() | settings.model_dump() == model[-1].get_params()
    assert [type(name) for name in model.classes_] == [str, str, str]
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert list(model.feature_names_in_) == list(config().dataset.features)
