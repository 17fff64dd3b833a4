"""Finds the probability from which a model of two classes predicts the positive one."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline

from src.core.errors import ConfigError
from src.core.predictions import DECIMALS
from src.training.answers import Answers
from src.training.folds import Fold
from src.training.gate import ROUNDING
from src.training.resampling import defined
from src.training.scoring import Metric

# The number of thresholds that are tried, at equal shares of the rows.
CANDIDATES = 200

logger = logging.getLogger(__name__)


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


def best_threshold(  # noqa: PLR0913, PLR0917 - what the choice depends on
    probabilities: NDArray[np.float64],
    target: NDArray[Any],
    positive: str,
    metric: Metric,
    minimums: Mapping[Metric, float],
    counts: NDArray[np.float64] | None = None,
) -> float:
    """The threshold with the best score on these rows; of equally good thresholds the one nearest to 0.5.

    Only thresholds that reach the minimums count. Where none does, those count that miss them by the least.

    Args:
        probabilities: (n, 2), classes in sorted order.
        target: (n,) class names.
        positive: the class that is predicted from the threshold on.
        metric: the gate's.
        minimums: the gate's minimum scores, by metric.
        counts: (n,) how often each row counts; None for once.

    Raises:
        ConfigError: the metric is the same, or undefined, for every threshold.
    """
    names = np.unique(target.astype(str))
    place = names.tolist().index(positive)
    shares = np.linspace(0, 1, CANDIDATES + 1)[1:-1]
    known = np.round(np.quantile(probabilities[:, place], shares, method="lower"), DECIMALS)
    smallest = 10.0**-DECIMALS
    candidates = np.unique(np.clip([*known, 0.5], smallest, 1 - smallest))
    # The last two are constant predictions: a metric that ignores labels scores them like any other threshold.
    answers = _answers(probabilities, target.astype(str), place, [*candidates, 0.0, 2.0])
    scores = _scores(metric, answers, counts)
    if len(set(scores[np.isfinite(scores)])) <= 1:
        raise ConfigError(
            f"model.threshold: tune finds no threshold, as {metric.name} does not depend on it, or is undefined; use a "
            "gate.metric of labels such as f1 or balanced_accuracy, or set a number"
        )
    scores, answers = scores[: len(candidates)], answers[: len(candidates)]
    missed = np.where(np.isfinite(scores), _missed(minimums, answers, counts), np.inf)
    if missed.min() > 0:
        logger.warning(
            "threshold: no threshold reaches gate.minimums (%s) on the training folds; the nearest one is used",
            ", ".join(f"{minimum.name} {limit:g}" for minimum, limit in minimums.items()),
        )
    scores = np.where(missed <= missed.min() + ROUNDING, scores, np.nan)
    best = candidates[scores == np.nanmax(scores)]
    return float(best[np.abs(best - 0.5).argmin()])


def _answers(
    probabilities: NDArray[np.float64], truth: NDArray[np.str_], place: int, candidates: list[float]
) -> list[Answers]:
    names = np.unique(truth)
    reached = [probabilities[:, place] >= least for least in candidates]
    labels = [names[np.where(positive, place, 1 - place)] for positive in reached]
    return [Answers("threshold", tuple(names.tolist()), truth, values, probabilities) for values in labels]


def _scores(metric: Metric, answers: list[Answers], counts: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The scores of the candidates, (candidates,); higher is better, NaN is undefined."""
    return metric.sign * np.array([defined(metric, candidate, counts) for candidate in answers])


def _missed(
    minimums: Mapping[Metric, float], answers: list[Answers], counts: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """By how much the candidates miss the minimums in all, (candidates,); 0 where they reach them."""
    missed = np.zeros(len(answers))
    for metric, limit in minimums.items():
        gap = metric.sign * limit - _scores(metric, answers, counts)
        missed += np.where(np.isnan(gap), np.inf, np.where(gap > ROUNDING, gap, 0.0))
    return missed
