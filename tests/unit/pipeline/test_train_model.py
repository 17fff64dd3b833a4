from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import StandardScaler

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError
from src.core.model_config import ModelConfig
from src.pipeline import train_model
from src.pipeline.features import transformers
from src.pipeline.train_model import ESTIMATORS, build_model, check_model, fit
from tests.support.training import config, iris_parts

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("random_forest", [["estimator"], ["columns", "estimator"]]),
        ("xgboost", [["columns", "estimator"], ["columns", "estimator"]]),
    ],
)
def test_model_is_the_transformers_then_the_estimator(name: str, expected: list[list[str]]) -> None:
    settings = ModelConfig(estimator=name)
    steps = [[step for step, _ in build_model(settings, dataset).steps] for dataset in (DATASET, with_columns())]
    assert steps == expected


def test_linear_models_get_scaled_columns() -> None:
    linear = build_model(ModelConfig(estimator="logistic_regression"), DATASET)
    assert [name for name, _ in linear.steps] == ["scale", "estimator"]
    ridge = build_model(ModelConfig(estimator="ridge"), with_columns())
    assert [name for name, _ in ridge.steps] == ["columns", "scale", "estimator"]


def test_own_transformers_come_before_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_model, "transformers", lambda _: [("mine", StandardScaler())])
    for name in ("random_forest", "xgboost"):
        assert [step for step, _ in build_model(ModelConfig(estimator=name), DATASET).steps] == ["mine", "estimator"]


def test_model_is_checked_without_data() -> None:
    check_model(config().model, DATASET)
    for model, message in (
        (ModelConfig(estimator="forest"), "did you mean"),
        (ModelConfig(params={"max_deep": 3}), "did you mean 'max_depth'"),
        (ModelConfig(params={"max_depth": -3}), "'max_depth' parameter"),
        (ModelConfig(class_weight="balanced", params={"class_weight": "balanced"}), "in model and in model.params"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_model(model, DATASET)


def test_complete_numbers_and_booleans_need_no_transformer() -> None:
    assert transformers(with_columns(b={"type": "boolean"}, c={"minimum": 0.0, "maximum": 1.0})) == []


def test_columns_become_complete_numbers_with_a_column_for_each_category() -> None:
    rows = pd.DataFrame(
        {
            "c": pd.Series(["red", "Mars", None, "blue"], dtype=object),
            "n": [1.0, 2.0, np.nan, 9.0],
            "b": pd.Series([True, None, True, False], dtype=object),
        }
    )
    ((name, step),) = transformers(with_columns())
    assert name == "columns"
    found = step.fit(rows).transform(rows)
    assert found.tolist() == [[1, 1, 0, 1], [2, 1, 0, 0], [2, 1, 0, 0], [9, 0, 1, 0]]


def test_column_without_any_known_value_stays_a_column() -> None:
    rows = pd.DataFrame({"c": ["red", "blue"], "n": [np.nan, np.nan], "b": pd.Series([True, None], dtype=object)})
    ((_, step),) = transformers(with_columns())
    assert step.fit(rows).transform(rows).tolist() == [[0, 1, 0, 1], [0, 1, 1, 0]]


def test_columns_of_many_categories_are_plain_arrays() -> None:
    names = [f"c{number}" for number in range(30)]
    ((_, step),) = transformers(with_columns(c={"type": "category", "values": names}))
    rows = pd.DataFrame({"c": names})
    assert np.array_equal(step.fit(rows).transform(rows), np.eye(30))


def test_columns_that_an_own_transformer_adds_stay_as_they_are() -> None:
    rows = pd.DataFrame({"c": ["red", "blue"], "n": [1.0, np.nan], "b": [True, False], "own": [7.0, 8.0]})
    ((_, step),) = transformers(with_columns())
    assert step.fit(rows).transform(rows).tolist() == [[1, 1, 0, 1, 7], [1, 0, 1, 0, 8]]


def test_regression_is_a_forest_of_numbers() -> None:
    frame = pd.DataFrame(
        {"c": ["red", "blue"] * 10, "n": np.arange(20.0), "b": [True] * 20, "price": np.arange(20.0) * 2}
    )
    model = fit(frame, config(model={"n_estimators": 5}).model, with_columns())
    assert isinstance(model[-1], RandomForestRegressor)
    assert np.corrcoef(model.predict(frame.drop(columns="price")), frame["price"])[0, 1] > 0.95


def test_fit_uses_the_configured_parameters_and_class_names() -> None:
    params = {"n_estimators": 7, "max_depth": 2, "min_samples_leaf": 3, "random_state": 5}
    model = fit(iris_parts()[0], ModelConfig(params=params), DATASET)
    assert model[-1].get_params() | params == model[-1].get_params()
    assert [type(name) for name in model.classes_] == [str, str, str]
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert list(model.feature_names_in_) == list(config().dataset.features)


@pytest.mark.parametrize("name", [name for name, entry in ESTIMATORS.items() if entry.classification])
def test_every_classifier_learns_iris_by_its_names_the_same_way_each_time(name: str) -> None:
    train, holdout = iris_parts()
    one, two = (fit(train, ModelConfig(estimator=name), DATASET) for _ in range(2))
    rows = holdout[list(DATASET.features)]
    assert (one.predict(rows) == holdout["species"].to_numpy()).mean() > 0.85
    assert np.array_equal(one.predict_proba(rows), two.predict_proba(rows))
    assert list(one.classes_) == DATASET.classes


def test_fit_leaves_columns_alone_that_are_no_features() -> None:
    train = iris_parts()[0]
    more = train.assign(id=range(len(train)))
    one, two = (fit(rows, ModelConfig(params={"n_estimators": 3}), DATASET) for rows in (train, more))
    rows = train[list(DATASET.features)]
    assert np.array_equal(one.predict_proba(rows), two.predict_proba(rows))


class Unweighted(ClassifierMixin, BaseEstimator):
    """An estimator of one's own whose fit takes no weights."""

    def fit(self, _rows: Any, _target: Any) -> "Unweighted":
        return self

    def predict(self, rows: Any) -> Any:
        return rows


class Weighted(Unweighted):
    """One that takes them."""

    def fit(self, _rows: Any, _target: Any, sample_weight: Any = None) -> "Weighted":  # noqa: ARG002 - is looked up
        return self


def learning(weight: float, *, use: bool = True) -> DatasetConfig:
    """Iris with labelled live rows."""
    return config(dataset={"feedback": {"use": use, "weight": weight}}).dataset


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_model, "OWN_PACKAGE", "tests.unit.pipeline")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["Unweighted", "Weighted"])
def test_weight_one_and_no_live_rows_are_for_every_estimator(name: str) -> None:
    model = ModelConfig(estimator=f"test_train_model:{name}")
    check_model(model, learning(1.0))
    check_model(model, learning(3.0, use=False))


@pytest.mark.usefixtures("own")
def test_other_weights_need_an_estimator_whose_fit_takes_them() -> None:
    check_model(ModelConfig(estimator="test_train_model:Weighted"), learning(3.0))
    with pytest.raises(
        ConfigError, match=r"fit of test_train_model:Unweighted has no sample_weight.*random_forest"
    ) as error:
        check_model(ModelConfig(estimator="test_train_model:Unweighted"), learning(3.0))
    assert "ridge" not in str(error.value)


@pytest.mark.parametrize("name", [name for name, entry in ESTIMATORS.items() if entry.classification])
def test_every_classifier_of_the_catalogue_takes_weights(name: str) -> None:
    check_model(ModelConfig(estimator=name), learning(3.0))


def test_weights_of_live_rows_that_a_calibration_would_lose_are_refused() -> None:
    for model in (
        ModelConfig(estimator="logistic_regression", calibrate="sigmoid"),
        ModelConfig(estimator="xgboost", class_weight="balanced"),
    ):
        check_model(model, learning(2.0))
    for model, other in (
        (ModelConfig(estimator="xgboost", calibrate="sigmoid"), "xgboost"),
        (ModelConfig(calibrate="isotonic", class_weight="balanced"), r"model\.class_weight"),
    ):
        check_model(model, learning(1.0))
        with pytest.raises(ConfigError, match=rf"cannot be combined with model\.calibrate and {other}"):
            check_model(model, learning(2.0))
