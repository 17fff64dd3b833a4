"""Finds the probability from which a model of two classes predicts the positive one."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline

from src.core.errors import ConfigError
from src.core.predictions import DECIMALS
from src.training.folds import Fold
from src.training.scoring import Metric

# The number of thresholds that are tried, at equal shares of the rows.
CANDIDATES = 200


def out_of_fold(
    model: Pipeline, rows: pd.DataFrame, target: NDArray[Any], params: dict[str, Any], folds: list[Fold]
) -> NDArray[np.float64]:
    """Out-of-fold probabilities, (n, classes), with the classes in sorted order.

    Args:
        model: not fitted; clones of it are fitted.
        rows: (n, features).
        target: (n,) class names.
        params: further arguments of ``fit``, such as sample weights.
        folds: each row is validated once.
    """
    found: NDArray[np.float64] = cross_val_predict(model, rows, target, cv=folds, method="predict_proba", params=params)
    return found


def best_threshold(probabilities: NDArray[np.float64], target: NDArray[Any], positive: str, metric: Metric) -> float:
    """The threshold with the best score on these rows; of equally good thresholds the one nearest to 0.5.

    Args:
        probabilities: (n, 2), classes in sorted order.
        target: (n,) class names.
        positive: the class that is predicted from the threshold on.
        metric: the gate's.

    Raises:
        ConfigError: the metric is the same for every threshold.
    """
    names = np.unique(target.astype(str))
    place = names.tolist().index(positive)
    shares = np.linspace(0, 1, CANDIDATES + 1)[1:-1]
    known = np.round(np.quantile(probabilities[:, place], shares, method="lower"), DECIMALS)
    smallest = 10.0**-DECIMALS
    candidates = np.unique(np.clip([*known, 0.5], smallest, 1 - smallest))
    # The last two are constant predictions: a metric that ignores labels scores them like any other threshold.
    scores = _scores(probabilities, target.astype(str), place, [*candidates, 0.0, 2.0], metric)
    if np.nanmax(scores) == np.nanmin(scores):
        raise ConfigError(
            f"model.threshold: tune finds no threshold, as {metric.name} does not depend on it; use a gate.metric of "
            "labels such as f1 or balanced_accuracy, or set a number"
        )
    scores = scores[: len(candidates)]
    best = candidates[scores == np.nanmax(scores)]
    return float(best[np.abs(best - 0.5).argmin()])


def _scores(
    probabilities: NDArray[np.float64], truth: NDArray[np.str_], place: int, candidates: list[float], metric: Metric
) -> NDArray[np.float64]:
    """The scores of the candidates, (candidates,); higher is better."""
    names, weight = np.unique(truth), np.ones(len(truth))
    reached = [probabilities[:, place] >= least for least in candidates]
    labels = [names[np.where(positive, place, 1 - place)] for positive in reached]
    return metric.sign * np.array([metric.function(truth, answers, probabilities, weight) for answers in labels])
