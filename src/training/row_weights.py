"""Weights of the training rows: how often a labelled live row counts, and the weights of classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from src.core.dataset_config import DatasetConfig
from src.core.model_config import ModelConfig
from src.training.live_rows import are_live

Weights = NDArray[np.float64]


def live_weights(train: pd.DataFrame, dataset: DatasetConfig) -> Weights | None:
    """How often each row counts, shape (n,): labelled live rows ``dataset.feedback.weight`` times.

    None where all count once.
    """
    live, weight = are_live(train), dataset.feedback.weight
    return np.where(live, weight, 1.0) if live.any() and weight != 1 else None


def weighted(
    model: Pipeline, config: ModelConfig, target: NDArray[Any], counts: Weights | None
) -> tuple[Pipeline, dict[str, Any]]:
    """The model and the arguments of its ``fit``: the estimator's ``sample_weight``, if rows have weights.

    A row that counts twice has the effect of two rows, also on balanced class weights. The steps before the estimator,
    such as medians of missing values, are not weighted. In a calibrated model only the estimator gets class weights,
    which ``require_weights`` refuses if rows have weights, too: the calibration must not be weighted by them.

    Args:
        model: not fitted.
        config: has the class weights.
        target: (n,).
        counts: (n,) how often each row counts; None for once.
    """
    weight, step = config.class_weight, model.steps[-1][0]
    given = {} if counts is None else {f"{step}__sample_weight": counts}
    if weight is None:
        return model, given
    if config.calibrate is not None:
        by_name = weight if isinstance(weight, str) else _with_numbers(weight, target)
        return model.set_params(**{f"{step}__class_weight": by_name}), given
    if counts is not None and weight == "balanced":
        weight = _balanced(target, counts)
    if isinstance(weight, Mapping):
        weight = dict.fromkeys(np.unique(target).tolist(), 1.0) | dict(weight)
    by_class = compute_sample_weight(weight, target)
    return model, {f"{step}__sample_weight": by_class if counts is None else by_class * counts}


def _with_numbers(weight: Mapping[str, float], target: NDArray[Any]) -> dict[str | int, float]:
    """Weights by class, and by its number in sorted order: calibration fits the folds' clones on the numbers."""
    names = np.unique(target).tolist()
    by_name = dict.fromkeys(names, 1.0) | dict(weight)
    return by_name | {number: by_name[name] for number, name in enumerate(names)}


def _balanced(target: NDArray[Any], counts: Weights) -> dict[str, float]:
    """Weights of classes, inverse to the sums of their rows' weights."""
    names = np.unique(target)
    found = compute_class_weight("balanced", classes=names, y=target, sample_weight=counts)
    return dict(zip(names.tolist(), found.tolist(), strict=True))
