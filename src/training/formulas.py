"""The catalogue's metrics as functions of sums over rows; NaN where a metric is undefined."""

from collections.abc import Callable

import numpy as np

from src.training.answers import Answers
from src.training.sums import Floats, SumsOf, Target, confusion_sums, loss_sums, probabilities_of, ratio


def rates(kind: str, average: str) -> Callable[[Target], SumsOf]:
    """Precision, recall or F1 from counts by true and predicted class."""

    def formula(counts: Floats, positive: int) -> Floats:
        right = np.diagonal(counts[:, :, :-1], axis1=1, axis2=2)
        predicted, true = counts[:, :, :-1].sum(axis=1), counts.sum(axis=2)
        if average == "micro":
            right, predicted, true = (part.sum(axis=1, keepdims=True) for part in (right, predicted, true))
        whole = {"precision": predicted, "recall": true, "f1": (predicted + true) / 2}[kind]
        rates = ratio(right, whole)
        if average == "weighted":
            return ratio((rates * true).sum(axis=1), true.sum(axis=1))
        return rates[:, positive] if average == "binary" else rates.mean(axis=1)

    return lambda target: confusion_sums(target, formula)


def accuracy(counts: Floats, _: int) -> Floats:
    """The share of correct predictions."""
    return ratio(np.trace(counts[:, :, :-1], axis1=1, axis2=2), counts.sum(axis=(1, 2)), np.nan)


def balanced_accuracy(counts: Floats, _: int) -> Floats:
    """Recall, averaged over the classes that occur."""
    true = counts.sum(axis=2)
    recall = ratio(np.diagonal(counts[:, :, :-1], axis1=1, axis2=2), true)
    return ratio(recall.sum(axis=1), (true > 0).sum(axis=1).astype(float), np.nan)


def matthews(counts: Floats, _: int) -> Floats:
    """Matthews's correlation coefficient of several classes (Gorodkin 2004)."""
    right, total = np.trace(counts[:, :, :-1], axis1=1, axis2=2), counts.sum(axis=(1, 2))
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    together = right * total - (true * predicted[:, :-1]).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    return ratio(together, np.sqrt(spread))


def area(others: Floats, own: Floats) -> Floats:
    """The area under the ROC curve: the share of pairs in which the class's own row ranks higher, ties half."""
    below = np.cumsum(others, axis=-1) - others / 2
    return ratio((own * below).sum(axis=-1), own.sum(axis=-1) * others.sum(axis=-1), np.nan)


def average_precision(others: Floats, own: Floats) -> Floats:
    """Precision at each level, weighted by the increase in recall, from the highest level down."""
    hits = np.cumsum(own[..., ::-1], axis=-1)
    precision = ratio(hits, hits + np.cumsum(others[..., ::-1], axis=-1))
    total = own.sum(axis=-1)
    defined = np.where(others.sum(axis=-1) > 0, total, 0.0)
    return ratio((own[..., ::-1] * precision).sum(axis=-1), defined, np.nan)


def log_losses(target: Target) -> SumsOf:
    """The negative log loss."""

    def loss(found: Answers) -> Floats:
        probabilities = probabilities_of(found)
        own = probabilities[np.arange(len(found)), np.searchsorted(np.array(target.classes, dtype=str), found.truth)]
        least: float = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(own, least, 1 - least)))

    return loss_sums(loss)


def brier_losses(target: Target) -> SumsOf:
    """The negative Brier score."""
    share = 1 / 2 if len(target.classes) == 2 else 1.0  # noqa: PLR2004 - the loss of two classes is counted once

    def loss(found: Answers) -> Floats:
        own = found.truth[:, None] == np.array(target.classes, dtype=str)
        return np.asarray(share * ((own - probabilities_of(found)) ** 2).sum(axis=1))

    return loss_sums(loss)


def error_losses(loss: Callable[[Floats], Floats], score: Callable[[Floats], Floats] = np.negative) -> SumsOf:
    """A score of the mean loss of a regression's errors."""
    return loss_sums(lambda found: loss(found.truth - found.values), score)
