import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, DataError
from src.core.model_config import ModelConfig
from src.training import fit_model as module
from src.training import size_estimate
from src.training.estimators import with_names
from src.training.fit_model import Study, fit_model
from src.training.fitted_parts import parts_of, threshold_of
from src.training.scoring import Metric

pytestmark = pytest.mark.slow

BASE = {"source": "x.csv", "target": "y", "features": {"x": {}}, "duplicates": "keep"}
TWO = DatasetConfig.model_validate(BASE | {"classes": ["no", "yes"], "min_rows_per_class": 2})
NUMBER = DatasetConfig.model_validate(BASE | {"target_range": {}})
F1 = Metric("f1", lambda truth, labels, _, __: float(f1_score(truth, labels, pos_label="yes")))


def rare(rows: int = 200) -> pd.DataFrame:
    """A fifth of the rows is positive, more likely for large x."""
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    return pd.DataFrame({"x": x, "y": np.where(x + random.normal(size=rows) > 1.2, "yes", "no"), "id": range(rows)})


def fitted(estimator: Any, frame: pd.DataFrame | None = None, study: Study = Study(), **model: Any) -> Pipeline:  # noqa: B008
    frame = rare() if frame is None else frame
    dataset = TWO if "yes" in set(frame["y"]) else NUMBER
    return fit_model(Pipeline([("estimator", estimator)]), frame, ModelConfig.model_validate(model), dataset, study)


def share_of_yes(model: Pipeline) -> float:
    return float((model.predict(rare()[["x"]]) == "yes").mean())


def test_model_gets_the_features_alone_and_plain_names() -> None:
    model = fitted(LogisticRegression())
    assert list(model.feature_names_in_) == ["x"]
    assert [type(name) for name in model.classes_] == [str, str]


@pytest.mark.parametrize("weight", ["balanced", {"yes": 5.0}])
def test_class_weights_are_those_of_the_estimator_itself(weight: Any) -> None:
    expected = LogisticRegression(class_weight=weight).fit(rare()[["x"]], rare()["y"])
    assert np.allclose(fitted(LogisticRegression(), class_weight=weight)[-1].coef_, expected.coef_, atol=1e-4)
    assert share_of_yes(fitted(LogisticRegression(), class_weight=weight)) > 2 * share_of_yes(
        fitted(LogisticRegression())
    )


def test_class_weights_reach_an_estimator_that_is_wrapped_for_its_names() -> None:
    plain, weighted = (
        fitted(with_names(DecisionTreeClassifier(max_depth=2)), class_weight=weight) for weight in (None, {"yes": 9.0})
    )
    assert share_of_yes(weighted) > share_of_yes(plain)


def test_calibration_is_of_one_estimator_that_learned_from_all_rows() -> None:
    model = fitted(DecisionTreeClassifier(min_samples_leaf=20), calibrate="sigmoid")
    (calibrated,) = model[-1].calibrated_classifiers_
    assert calibrated.estimator.tree_.n_node_samples[0] == 200
    assert model[-1].cv is None
    weighted = fitted(DecisionTreeClassifier(min_samples_leaf=20), calibrate="sigmoid", class_weight="balanced")
    # Calibrated probabilities match the shares of the rows, despite the estimator's class weights.
    rate = (rare()["y"] == "yes").mean()
    assert weighted.predict_proba(rare()[["x"]])[:, 1].mean() == pytest.approx(rate, abs=0.02)
    assert weighted[-1].calibrated_classifiers_[0].estimator.class_weight == "balanced"


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(min_samples_leaf=20, random_state=0),
        RandomForestClassifier(n_estimators=10, min_samples_leaf=20, random_state=0),
        LogisticRegression(),
    ],
)
def test_calibrated_estimator_takes_weights_by_class(estimator: Any) -> None:
    by_name = fitted(clone(estimator), calibrate="sigmoid", class_weight={"yes": 3.0})
    again = fitted(clone(estimator), calibrate="sigmoid", class_weight={"no": 1.0, "yes": 3.0})
    without = fitted(clone(estimator), calibrate="sigmoid")
    found, same, other = (model.predict_proba(rare()[["x"]])[:, 1] for model in (by_name, again, without))
    assert np.array_equal(found, same)
    assert not np.allclose(found, other)


def test_calibration_folds_respect_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = module.folds_of

    def folds_of(*arguments: Any, **options: Any) -> Any:
        asked.append((*arguments[2:], options))
        return real(*arguments, **options)

    monkeypatch.setattr(module, "folds_of", folds_of)
    fitted(LogisticRegression(), calibrate="sigmoid", study=Study("group"))
    assert asked == [("group", 5, {"each_row_once": True})]


def test_log_target_is_fitted_on_logarithms() -> None:
    frame = pd.DataFrame({"x": np.linspace(0, 5, 50)}).assign(y=lambda rows: np.expm1(rows["x"]))
    model = fitted(Ridge(alpha=0.0), frame, target_transform="log")
    assert isinstance(model[-1], TransformedTargetRegressor)
    assert np.allclose(model.predict(frame[["x"]]), frame["y"])
    for least, passes in ((-0.99, True), (-1.0, False)):
        frame.loc[0, "y"] = least
        if passes:
            fitted(Ridge(), frame, target_transform="log")
            continue
        with pytest.raises(DataError, match="needs targets above -1; the least is -1"):
            fitted(Ridge(), frame, target_transform="log")


@pytest.mark.parametrize("least", [0.1, 0.25])
def test_threshold_decides_about_the_positive_class(least: float) -> None:
    model = fitted(LogisticRegression(), threshold=least)
    found = threshold_of(model)
    assert found == (1, least)
    expected = fitted(LogisticRegression()).predict_proba(rare()[["x"]])[:, 1] >= least
    assert ((model.predict(rare()[["x"]]) == "yes") == expected).all()


def test_tuned_threshold_is_better_by_the_metric_than_a_half() -> None:
    plain = fitted(LogisticRegression())
    tuned = fitted(LogisticRegression(), threshold="tune", study=Study(metric=F1))
    found = threshold_of(tuned)
    assert found is not None
    assert 0.1 < found.least < 0.45
    truth = rare()["y"]
    scores = [f1_score(truth, model.predict(rare()[["x"]]), pos_label="yes") for model in (plain, tuned)]
    assert scores[1] > scores[0] + 0.05


def test_tuned_threshold_reaches_the_minimums() -> None:
    recall = Metric("recall", lambda truth, labels, *_: float(recall_score(truth, labels, pos_label="yes")))
    precision = Metric("precision", lambda truth, labels, *_: float(precision_score(truth, labels, pos_label="yes")))
    free, bound = (
        threshold_of(fitted(LogisticRegression(), threshold="tune", study=Study(metric=recall, minimums=minimums)))
        for minimums in ({}, {precision: 0.6})
    )
    assert free is not None
    assert bound is not None
    assert free.least < 0.1 < bound.least


def test_threshold_is_tuned_for_the_configured_class() -> None:
    no = TWO.model_copy(update={"positive_class": "no"})
    config = ModelConfig.model_validate({"threshold": "tune"})
    model = Pipeline([("estimator", LogisticRegression())])
    found = threshold_of(fit_model(model, rare(), config, no, Study(metric=F1)))
    assert found is not None
    assert found.positive == 0
    assert 0.55 < found.least < 0.9


def test_tuning_goes_with_calibration_and_needs_a_metric() -> None:
    model = fitted(LogisticRegression(), threshold="tune", calibrate="sigmoid", study=Study(metric=F1))
    kinds = [type(part) for part in parts_of(model)]
    assert CalibratedClassifierCV in kinds
    assert threshold_of(model) is not None
    with pytest.raises(ConfigError, match="need the gate's metric"):
        fitted(LogisticRegression(), threshold="tune")


def test_estimator_that_cannot_learn_from_valid_rows_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"LogisticRegression cannot be fitted: .*penalt"):
        fitted(LogisticRegression(solver="lbfgs", l1_ratio=1.0))


class Roots(TransformerMixin, BaseEstimator):
    """Adds a column that has gaps, and one that has none."""

    def fit(self, _rows: pd.DataFrame, _target: Any = None) -> "Roots":
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(root=np.sqrt(rows["x"].where(rows["x"] >= 0)), double=2 * rows["x"])


def test_columns_in_which_a_transformer_leaves_gaps_are_named() -> None:
    columns = ColumnTransformer([("numbers", SimpleImputer(), [0])], remainder="passthrough")
    message = r"LogisticRegression cannot be fitted: Input X contains NaN.*; values are missing in root: a transformer"
    for steps in ([("own", Roots())], [("own", Roots()), ("columns", columns)]):
        model = Pipeline([*steps, ("estimator", LogisticRegression())])
        with pytest.raises(ConfigError, match=message):
            fit_model(model, rare(), ModelConfig(), TWO, Study())


def test_missing_values_that_cannot_be_located_keep_the_estimators_message() -> None:
    frame = rare().assign(x=np.nan)
    with pytest.raises(ConfigError, match=r"LogisticRegression cannot be fitted: Input X contains NaN\.$"):
        fitted(LogisticRegression(), frame)


def test_fitted_model_answers_on_one_core() -> None:
    for estimator in (RandomForestClassifier(3, n_jobs=-1), with_names(RandomForestClassifier(3, n_jobs=2))):
        *_, last = parts_of(fitted(estimator))
        assert (last.n_jobs, last.n_estimators) == (1, 3)


def test_long_fit_reports_progress_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[str] = []
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)

    class Slow(LogisticRegression):
        def fit(self, rows: Any, target: Any, sample_weight: Any = None) -> Any:
            while len(reported) < 3:
                pass
            return super().fit(rows, target, sample_weight)

    fitted(Slow(), study=Study(report=reported.append))
    count = len(reported)
    assert reported[0] == "fitting Slow on 200 rows, 0 s so far"
    assert sum(record.getMessage() == reported[0] for record in caplog.records) >= 3
    fitted(LogisticRegression())
    assert len(reported) == count


def test_model_that_would_be_too_large_is_refused_before_it_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_rows: list[int] = []
    real = DecisionTreeClassifier.fit

    def fit(self: Any, rows: Any, target: Any, **options: Any) -> Any:
        fitted_rows.append(len(rows))
        return real(self, rows, target, **options)

    monkeypatch.setattr(DecisionTreeClassifier, "fit", fit)
    monkeypatch.setattr(size_estimate, "MIN_ROWS", 100)
    monkeypatch.setattr(module, "MEGABYTE", 1000)
    with pytest.raises(ConfigError, match=r"the model is too large: .*model\.max_megabytes is 0"):
        fitted(DecisionTreeClassifier(), max_megabytes=1)
    assert fitted_rows == [12, 50]
    monkeypatch.setattr(module, "memory_limit", lambda: 5e8)
    with pytest.raises(ConfigError, match="500 MB are available"):
        fitted(DecisionTreeClassifier(), max_megabytes=1000)
    monkeypatch.setattr(module, "memory_limit", lambda: 5e9)
    fitted(DecisionTreeClassifier(), max_megabytes=1000)
    assert fitted_rows[-1] == 200


def test_searched_parameters_are_fitted_and_the_search_is_recorded() -> None:
    tables: list[pd.DataFrame] = []
    reported: list[str] = []
    study = Study(metric=F1, report=reported.append, record=tables.append)
    choices = {"params": {"max_depth": [1, 3], "min_samples_leaf": [5, 190]}, "trials": 4, "folds": 3}
    model = fitted(DecisionTreeClassifier(random_state=0), study=study, search=choices, calibrate="sigmoid")
    (table,) = tables
    assert len(table) == 4
    tree = model[-1].calibrated_classifiers_[0].estimator
    assert (tree.max_depth, tree.min_samples_leaf) == (table["max_depth"].iloc[0], 5)
    assert tree.tree_.n_node_samples[0] == 200
    assert "search: 4 of 4 candidates scored" in reported
    with pytest.raises(ConfigError, match="need the gate's metric"):
        fitted(DecisionTreeClassifier(), search=choices)


def test_search_by_time_never_scores_on_older_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def folds_of(*arguments: Any, **options: Any) -> Any:
        asked.append((*arguments[2:], options))
        raise DataError("seen enough")

    monkeypatch.setattr(module, "folds_of", folds_of)
    search = {"params": {"max_depth": [1, 2]}, "folds": 4}
    with pytest.raises(DataError, match="seen enough"):
        fitted(DecisionTreeClassifier(), study=Study("time", F1), search=search)
    assert asked == [("time", 4, {"each_row_once": False})]
