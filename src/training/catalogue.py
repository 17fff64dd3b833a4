"""The catalogue of metrics, by the names of scikit-learn's scorers; greater is better for all of them.

Each metric has scikit-learn's function and, for the gate's resamples, the same metric as a function of sums; tests
compare the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from src.core.dataset_config import Task
from src.training import formulas
from src.training.sums import Floats, SumsOf, Target, confusion_sums, explained_sums, ranking_sums

# Of the true values, the predictions, the probabilities and the rows' weights.
Function = Callable[[NDArray[Any], NDArray[Any], NDArray[np.float64] | None, Floats], float]


@dataclass(frozen=True)
class Recipe:
    """How a metric of the catalogue is created for a data set.

    Attributes:
        task: classification or regression.
        function: creates the metric for a target.
        sums: creates the metric as a function of sums; None where there is no such form.
        binary: whether it applies to the positive class of two.
        probabilities: whether it requires probabilities.
        constant_wins: whether a constant prediction reaches its maximum.
    """

    task: Task
    function: Callable[[Target], Function]
    sums: Callable[[Target], SumsOf] | None
    binary: bool = False
    probabilities: bool = False
    constant_wins: bool = False


def _of_labels(function: Callable[..., float], **options: Any) -> Callable[[Target], Function]:
    """A metric of labels or numbers that scikit-learn computes without knowing the classes."""

    def metric(truth: Any, values: Any, _: Any, weight: Any) -> float:
        return float(function(truth, values, sample_weight=weight, **options))

    return lambda _: metric


def _by_class(function: Callable[..., float], average: str) -> Callable[[Target], Function]:
    """Precision, recall or F1: of the positive class, or averaged over all classes of the data set."""

    def made(target: Target) -> Function:
        labels = [target.positive] if average == "binary" else list(target.classes)
        kind = "macro" if average == "binary" else average
        return lambda truth, values, _, weight: float(
            function(truth, values, labels=labels, average=kind, sample_weight=weight, zero_division=0.0)
        )

    return made


def _balanced(truth: Any, values: Any, _: Any, weight: Any) -> float:
    """Recall, averaged over the classes that occur."""
    there = np.unique(truth[weight > 0])
    return float(
        sklearn_metrics.recall_score(
            truth, values, labels=there, average="macro", sample_weight=weight, zero_division=0.0
        )
    )


def _of_probabilities(function: Callable[..., float]) -> Callable[[Target], Function]:
    """A loss of the probabilities of all classes."""
    return lambda target: (
        lambda truth, _, probabilities, weight: (
            -float(function(truth, probabilities, labels=list(target.classes), sample_weight=weight))
        )
    )


def _ranking(function: Callable[..., float], *, every_class: bool) -> Callable[[Target], Function]:
    """The mean over classes with both positive and negative rows; NaN where there is none."""

    def made(target: Target) -> Function:
        places = range(len(target.classes)) if every_class else [target.place]

        def metric(truth: Any, _: Any, probabilities: Any, weight: Any) -> float:
            found = []
            for place in places:
                own = truth == target.classes[place]
                if 0 < (own * weight).sum() < weight.sum():
                    found.append(float(function(own, probabilities[:, place], sample_weight=weight)))
            return float(np.mean(found)) if found else np.nan

        return metric

    return made


def _explained(function: Callable[..., float]) -> Callable[[Target], Function]:
    def metric(truth: Any, values: Any, _: Any, weight: Any) -> float:
        counted = truth[weight > 0]
        if len(counted) == 0 or counted.min() == counted.max():
            return np.nan
        return float(function(truth, values, sample_weight=weight))

    return lambda _: metric


def _negative(function: Callable[..., float]) -> Callable[[Target], Function]:
    return lambda _: lambda truth, values, _, weight: -float(function(truth, values, sample_weight=weight))


def _catalogue() -> dict[str, Recipe]:
    classes: partial[Recipe] = partial(Recipe, "classification")
    ranks: partial[Recipe] = partial(classes, probabilities=True)
    numbers: partial[Recipe] = partial(Recipe, "regression")
    roc, precision_at = sklearn_metrics.roc_auc_score, sklearn_metrics.average_precision_score
    found = {
        "accuracy": classes(_of_labels(sklearn_metrics.accuracy_score), lambda t: confusion_sums(t, formulas.accuracy)),
        "balanced_accuracy": classes(lambda _: _balanced, lambda t: confusion_sums(t, formulas.balanced_accuracy)),
        "matthews_corrcoef": classes(
            _of_labels(sklearn_metrics.matthews_corrcoef), lambda t: confusion_sums(t, formulas.matthews)
        ),
        "roc_auc": ranks(
            _ranking(roc, every_class=False), lambda t: ranking_sums(t, formulas.area, every_class=False), binary=True
        ),
        "roc_auc_ovr": ranks(
            _ranking(roc, every_class=True), lambda t: ranking_sums(t, formulas.area, every_class=True)
        ),
        "average_precision": ranks(
            _ranking(precision_at, every_class=False),
            lambda t: ranking_sums(t, formulas.average_precision, every_class=False),
            binary=True,
        ),
        "neg_log_loss": ranks(_of_probabilities(sklearn_metrics.log_loss), formulas.log_losses),
        "neg_brier_score": ranks(_of_probabilities(sklearn_metrics.brier_score_loss), formulas.brier_losses),
        "r2": numbers(_explained(sklearn_metrics.r2_score), lambda _: explained_sums(centred=False)),
        "explained_variance": numbers(
            _explained(sklearn_metrics.explained_variance_score), lambda _: explained_sums(centred=True)
        ),
        "neg_mean_squared_error": numbers(
            _negative(sklearn_metrics.mean_squared_error), lambda _: formulas.error_losses(np.square)
        ),
        "neg_root_mean_squared_error": numbers(
            _negative(sklearn_metrics.root_mean_squared_error),
            lambda _: formulas.error_losses(np.square, lambda mean: -np.sqrt(mean)),
        ),
        "neg_mean_absolute_error": numbers(
            _negative(sklearn_metrics.mean_absolute_error), lambda _: formulas.error_losses(np.abs)
        ),
        "neg_median_absolute_error": numbers(_negative(sklearn_metrics.median_absolute_error), None),
    }
    for kind in ("f1", "precision", "recall"):
        function = getattr(sklearn_metrics, f"{kind}_score")
        for average in ("binary", "macro", "micro", "weighted"):
            binary = average == "binary"
            found[kind if binary else f"{kind}_{average}"] = classes(
                _by_class(function, average),
                formulas.rates(kind, average),
                binary=binary,
                constant_wins=binary and kind == "recall",
            )
    return found


CATALOGUE = _catalogue()
