from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from src.core.predictions import Threshold
from src.training.estimators import with_names
from src.training.fitted_parts import answer_on_one_core, parts_of, threshold_of, with_threshold
from src.training.sklearn_engine import SklearnEngine
from tests.support.training import iris_package

ROWS = pd.DataFrame(np.random.default_rng(0).random((60, 2)), columns=["a", "b"])
CLASSES = np.where(ROWS["a"] > 0.6, "yes", "no").astype(object)


def kinds(model: Any) -> list[str]:
    return [type(part).__name__ for part in parts_of(model)]


def test_parts_are_the_steps_and_what_is_wrapped_but_not_the_trees() -> None:
    model = Pipeline([("scale", StandardScaler()), ("vote", with_names(RandomForestClassifier(2)))]).fit(ROWS, CLASSES)
    assert kinds(model) == ["Pipeline", "StandardScaler", "VotingClassifier", "RandomForestClassifier"]
    calibrated = CalibratedClassifierCV(ExtraTreesClassifier(2), cv=2).fit(ROWS, CLASSES)
    assert kinds(calibrated) == ["CalibratedClassifierCV", "ExtraTreesClassifier", "ExtraTreesClassifier"]
    logarithm = TransformedTargetRegressor(RandomForestRegressor(2)).fit(ROWS, ROWS["a"])
    assert kinds(logarithm) == ["TransformedTargetRegressor", "RandomForestRegressor"]
    decided = with_threshold(model, "yes", 0.3, ROWS, CLASSES)
    assert kinds(decided)[2:] == [
        "FixedThresholdClassifier",
        "FrozenEstimator",
        "VotingClassifier",
        "RandomForestClassifier",
    ]
    assert kinds(Ridge()) == ["Ridge"]


def test_parts_are_the_fitted_ones() -> None:
    model = Pipeline([("vote", with_names(RandomForestClassifier(2)))]).fit(ROWS, CLASSES)
    *_, forest = parts_of(model)
    assert len(forest.estimators_) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("jobs", [-1, 2])
def test_model_answers_on_one_core_and_keeps_its_other_parameters(jobs: int) -> None:
    model = Pipeline([("vote", with_names(RandomForestClassifier(2, n_jobs=jobs)))]).fit(ROWS, CLASSES)
    answer_on_one_core(model)
    assert [part.get_params(deep=False).get("n_jobs") for part in parts_of(model)] == [None, None, 1]
    single = RandomForestClassifier(2, max_depth=3).fit(ROWS, CLASSES)
    answer_on_one_core(single)
    assert (single.n_jobs, single.max_depth) == (None, 3)


@pytest.mark.parametrize("positive", ["yes", "no"])
@pytest.mark.parametrize("least", [0.12345, 0.5, 0.9])
def test_threshold_of_a_model_is_the_one_that_it_was_given(positive: str, least: float) -> None:
    model = Pipeline([("scale", StandardScaler()), ("line", LogisticRegression())]).fit(ROWS, CLASSES)
    assert threshold_of(model) is None
    found = with_threshold(model, positive, least, ROWS, CLASSES)
    assert threshold_of(found) == Threshold(["no", "yes"].index(positive), least)
    assert np.array_equal(found.predict_proba(ROWS), model.predict_proba(ROWS))
    place = ["no", "yes"].index(positive)
    assert ((found.predict(ROWS) == positive) == (model.predict_proba(ROWS)[:, place] >= least)).all()


def test_scikit_learn_and_the_common_rule_agree_at_the_threshold_itself() -> None:
    line = LogisticRegression().fit(ROWS, CLASSES)
    exact = line.predict_proba(ROWS)[:, 1]
    for least in exact[:20]:
        model = with_threshold(Pipeline([("line", line)]), "yes", round(least, 5), ROWS, CLASSES)
        engine = SklearnEngine(model, ("no", "yes"), threshold_of(model))
        table = iris_table(ROWS)
        assert engine.predict(table).values == model.predict(ROWS).tolist()
        # Rounded, the row with this probability reaches it.
        assert model.predict(ROWS)[exact == least].tolist() == ["yes"]


def iris_table(rows: pd.DataFrame) -> Any:
    from src.core.feature_schema import FeatureSchema  # noqa: PLC0415
    from src.training.frames import table_of  # noqa: PLC0415

    return table_of(rows, FeatureSchema.of_numbers(*rows.columns))


def test_model_of_more_classes_has_no_threshold() -> None:
    assert threshold_of(iris_package().model) is None
