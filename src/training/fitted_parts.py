"""The parts of a fitted model: its steps, and the estimators inside wrappers."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline

from src.core.predictions import DECIMALS, SCALE, Threshold

HALF_PLACE = 0.5 / SCALE


def parts_of(model: Any) -> Iterator[BaseEstimator]:
    """A fitted model and the fitted estimators inside it, the innermost last; a forest's trees are not included."""
    yield model
    for part in _inner(model):
        yield from parts_of(part)


def answer_on_one_core(model: BaseEstimator) -> None:
    """Predict without extra threads: for a single row, starting them takes longer than it saves."""
    for part in parts_of(model):
        if part.get_params(deep=False).get("n_jobs") is not None:
            part.set_params(n_jobs=1)


def threshold_of(model: Pipeline) -> Threshold | None:
    """The label rule of a fitted model, if it is not the largest probability."""
    last = model[-1]
    if not isinstance(last, FixedThresholdClassifier):
        return None
    return Threshold(list(last.classes_).index(last.pos_label), round(last.threshold + HALF_PLACE, DECIMALS))


def with_threshold(model: Pipeline, positive: str, least: float, rows: pd.DataFrame, target: Any) -> Pipeline:
    """A fitted model that predicts ``positive`` from this probability on.

    Scikit-learn compares unrounded probabilities, serving rounds them first: subtracting half a decimal place makes
    both rules equal.

    Args:
        model: fitted.
        positive: one of its two classes.
        least: the minimum probability of that class.
        rows: some rows of both classes; their values have no effect.
        target: their classes.
    """
    threshold = round(least, DECIMALS) - HALF_PLACE
    last = FixedThresholdClassifier(FrozenEstimator(model[-1]), threshold=threshold, pos_label=positive)
    last.fit(rows, target)
    return Pipeline([*model.steps[:-1], (model.steps[-1][0], last)])


def _inner(model: Any) -> list[Any]:
    if isinstance(model, Pipeline):
        return [step for _, step in model.steps]
    if isinstance(model, VotingClassifier):
        return list(model.estimators_)
    if isinstance(model, CalibratedClassifierCV):
        return [calibrated.estimator for calibrated in model.calibrated_classifiers_]
    if isinstance(model, FixedThresholdClassifier):
        return [model.estimator_]
    if isinstance(model, FrozenEstimator):
        return [model.estimator]
    return [model.regressor_] if isinstance(model, TransformedTargetRegressor) else []
