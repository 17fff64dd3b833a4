"""Labelled live rows count as often as ``dataset.feedback.weight`` says: like so many copies of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.model_config import ModelConfig
from src.training.estimators import with_names
from src.training.fit_model import Study, fit_model
from src.training.fitted_parts import threshold_of
from src.training.row_weights import live_weights
from src.training.scoring import Metric

pytestmark = pytest.mark.slow

WEIGHT = 3
BASE: dict[str, Any] = {"source": "x.csv", "target": "y", "features": {"x": {}, "z": {}}, "duplicates": "keep"}
TWO = BASE | {"classes": ["no", "yes"], "min_rows_per_class": 2}
NUMBER = BASE | {"target_range": {}}
ACCURACY = Metric(
    "accuracy", lambda truth, labels, _, weight: float(accuracy_score(truth, labels, sample_weight=weight))
)


def dataset(raw: dict[str, Any], weight: float) -> DatasetConfig:
    return DatasetConfig.model_validate(raw | {"feedback": {"use": True, "weight": weight}})


def rows(count: int = 120, *, live: int = 40) -> pd.DataFrame:
    """The relation of x is the opposite in the last rows, which are live ones; their probabilities differ, too."""
    random = np.random.default_rng(3)
    x, z = random.normal(size=(2, count))
    recent = np.arange(count) >= count - live
    signal = np.where(recent, -x + 0.8, x) + 0.5 * z + random.normal(size=count)
    time = np.where(recent, 20_000.0 + np.arange(count), np.nan)
    return pd.DataFrame(
        {"x": x, "z": z, "signal": signal, "y": np.where(signal > 0.4, "yes", "no"), FEEDBACK_TIME: time}
    )


def copied(frame: pd.DataFrame, weight: int = WEIGHT) -> pd.DataFrame:
    """The rows with so many copies of the live ones, none of which has a weight."""
    live = frame[frame[FEEDBACK_TIME].notna()]
    return pd.concat([frame, *[live] * (weight - 1)], ignore_index=True).drop(columns=FEEDBACK_TIME)


def both(
    estimator: Any, raw: dict[str, Any], frame: pd.DataFrame, *, study: Study | None = None, **model: Any
) -> tuple[Pipeline, Pipeline, Pipeline]:
    """The models of weighted rows, of copied ones, and of the same rows without a weight."""
    config = ModelConfig.model_validate(model)
    return tuple(  # type: ignore[return-value]
        fit_model(Pipeline([("estimator", estimator())]), part, config, dataset(raw, weight), study or Study())
        for part, weight in ((frame, WEIGHT), (copied(frame), WEIGHT), (frame, 1.0))
    )


def answers(model: Pipeline) -> Any:
    asked = rows(400)[["x", "z"]]
    return model.predict_proba(asked)[:, 1] if hasattr(model, "predict_proba") else model.predict(asked)


def exact() -> LogisticRegression:
    return LogisticRegression(solver="newton-cholesky", tol=1e-10)


def tree(**params: Any) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(**{"max_depth": 3, "random_state": 0} | params)


@pytest.mark.parametrize(
    ("estimator", "model"),
    [
        (exact, {}),
        (tree, {}),
        (lambda: with_names(tree()), {}),
        (exact, {"class_weight": "balanced"}),
        (exact, {"class_weight": {"no": 1.0, "yes": 4.0}}),
        (lambda: with_names(tree()), {"class_weight": "balanced"}),
        (exact, {"calibrate": "sigmoid"}),
        (exact, {"calibrate": "isotonic"}),
        (exact, {"threshold": 0.3}),
    ],
)
def test_live_rows_of_a_classification_count_like_so_many_copies(estimator: Any, model: dict[str, Any]) -> None:
    weighted, copies, plain = both(estimator, TWO, rows(), **model)
    assert np.allclose(answers(weighted), answers(copies), atol=1e-4)
    assert np.abs(answers(weighted) - answers(plain)).max() > 0.05


@pytest.mark.parametrize("model", [{}, {"target_transform": "log"}])
def test_live_rows_of_a_regression_count_like_so_many_copies(model: dict[str, Any]) -> None:
    frame = rows().assign(y=lambda found: np.exp(found["signal"]))
    weighted, copies, plain = both(lambda: Ridge(alpha=0.1), NUMBER, frame, **model)
    assert np.allclose(answers(weighted), answers(copies), atol=1e-6)
    assert np.abs(answers(weighted) - answers(plain)).max() > 0.1


def test_search_scores_live_rows_as_often_as_they_count() -> None:
    tables: list[pd.DataFrame] = []
    search = {"params": {"max_depth": [1, 2, 4]}, "folds": 3}
    both(tree, TWO, rows(300, live=100), study=Study(metric=ACCURACY, record=tables.append), search=search)
    weighted, copies, plain = (found.sort_values("max_depth")["score"].to_numpy() for found in tables)
    assert weighted == pytest.approx(copies)
    assert np.abs(weighted - plain).max() > 0.02


def test_search_by_halving_finds_the_weights_of_the_rows_that_it_draws() -> None:
    seen: list[float] = []
    share = Metric("share", lambda _, __, ___, weight: float(seen.append(weight.max()) or weight.mean()))
    search = {"params": {"max_depth": [1, 2, 4]}, "folds": 3, "method": "halving"}
    both(tree, TWO, rows(300, live=100), study=Study(metric=share), search=search)
    assert WEIGHT in seen
    assert 1.0 in seen


def test_threshold_is_tuned_for_the_rows_as_often_as_they_count() -> None:
    models = both(exact, TWO, rows(), study=Study(metric=ACCURACY), threshold="tune")
    weighted, copies, plain = (threshold_of(model) for model in models)
    assert weighted is not None
    assert copies is not None
    # Candidates are quantiles of the rows, and not of the copies.
    assert weighted.least == pytest.approx(copies.least, abs=0.02)
    assert weighted != plain


def test_weights_are_of_the_rows_with_a_time_of_prediction() -> None:
    frame = rows(5, live=2)
    found = live_weights(frame, dataset(TWO, 2.5))
    assert found is not None
    assert found.tolist() == [1, 1, 1, 2.5, 2.5]
    assert live_weights(frame, dataset(TWO, 1.0)) is None
    assert live_weights(frame.drop(columns=FEEDBACK_TIME), dataset(TWO, 2.5)) is None
    assert live_weights(rows(5, live=0), dataset(TWO, 2.5)) is None


class Recording(ClassifierMixin, BaseEstimator):
    """An estimator of one's own that takes weights."""

    def fit(self, rows: pd.DataFrame, target: Any, sample_weight: Any = None) -> "Recording":
        self.classes_ = np.unique(target)
        self.columns_, self.weights_ = list(rows.columns), sample_weight
        return self

    def predict(self, rows: pd.DataFrame) -> Any:
        return np.repeat(self.classes_[:1], len(rows))


def test_own_estimator_gets_the_weights_and_never_the_time() -> None:
    frame = rows(12, live=4).set_index(np.arange(50, 62))
    model = fit_model(Pipeline([("estimator", Recording())]), frame, ModelConfig(), dataset(TWO, 2.0), Study())
    assert model[-1].columns_ == ["x", "z"]
    assert model[-1].weights_.tolist() == [1.0] * 8 + [2.0] * 4


def test_estimator_without_weights_learns_from_rows_that_count_once() -> None:
    model = fit_model(
        Pipeline([("estimator", KNeighborsClassifier(1))]), rows(), ModelConfig(), dataset(TWO, 1.0), Study()
    )
    assert (model.predict(rows()[["x", "z"]]) == rows()["y"]).all()


def test_steps_before_the_estimator_are_fitted_without_weights() -> None:
    model = fit_model(
        Pipeline([("scale", StandardScaler()), ("estimator", exact())]),
        rows(),
        ModelConfig(),
        dataset(TWO, 3.0),
        Study(),
    )
    assert model["scale"].mean_ == pytest.approx(rows()[["x", "z"]].mean().to_numpy())
