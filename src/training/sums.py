"""Metrics as functions of sums over rows, so that thousands of resamples need one matrix product each.

A resample only changes how often each row counts. A metric that is a function of sums over rows (a confusion matrix,
sums of losses and squares, histograms of scores by class) is therefore computed for many resamples at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from src.training.answers import Answers

Floats = NDArray[np.float64]
# Levels for ranking scores: exact for up to 1,000 rows; with more rows, scores within 1/1000 of the rows are ties.
LEVELS = 1000


@dataclass(frozen=True)
class Target:
    """The classes of a data set, sorted, and the positive one of two; both empty for a regression."""

    classes: tuple[str, ...] = ()
    positive: str | None = None

    @property
    def place(self) -> int:
        """The positive class's index."""
        return 0 if self.positive is None else self.classes.index(self.positive)


@dataclass(frozen=True)
class Sums:
    """A metric's sums for several models that answered the same rows.

    Attributes:
        rows: for each model (n, sums), what each row adds.
        score: the metric of sums (resamples, sums), as (resamples,); NaN where it is not defined.
    """

    rows: tuple[csr_array, ...]
    score: Callable[[Floats], Floats]


SumsOf = Callable[[Sequence[Answers]], Sums]


def ratio(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    """The elementwise quotient; ``otherwise`` where the divisor is 0."""
    out: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), otherwise)
    np.divide(part, whole, out=out, where=whole != 0)
    return out


def confusion_sums(target: Target, formula: Callable[[Floats, int], Floats]) -> SumsOf:
    """The sums of a metric of the confusion matrix.

    Args:
        target: the classes, and the positive one.
        formula: the metric, (resamples,), of counts, (resamples, classes, classes + 1), with true classes first and
            a last column for answers that are none of the classes, and of the positive class's index.
    """
    size = len(target.classes)

    def score(sums: Floats) -> Floats:
        return formula(sums.reshape(len(sums), size, size + 1), target.place)

    def sums_of(answers: Sequence[Answers]) -> Sums:
        cells = [
            _codes(found.truth, target.classes) * (size + 1) + _codes(found.values, target.classes) for found in answers
        ]
        return Sums(tuple(_one_hot(found, size * (size + 1)) for found in cells), score)

    return sums_of


def loss_sums(loss: Callable[[Answers], Floats], score: Callable[[Floats], Floats] = np.negative) -> SumsOf:
    """The sums of a function of the mean of the rows' losses, (n,)."""

    def sums_of(answers: Sequence[Answers]) -> Sums:
        rows = [csr_array(np.column_stack([np.ones(len(found)), loss(found)])) for found in answers]
        return Sums(tuple(rows), lambda sums: score(ratio(sums[:, 1], sums[:, 0], np.nan)))

    return sums_of


def explained_sums(*, centred: bool) -> SumsOf:
    """The sums of the share of the target's variance that a regression explains.

    Args:
        centred: whether a constant error counts as none: the explained variance; else R².
    """

    def score(sums: Floats) -> Floats:
        count, linear, square, error, error_square = sums.T
        spread = square - ratio(linear**2, count)
        wrong = error_square - (ratio(error**2, count) if centred else 0.0)
        # A resample of equal values has a spread of rounding only.
        return 1.0 - ratio(wrong, np.where(spread > 1e-12 * square, spread, 0.0), np.nan)

    def sums_of(answers: Sequence[Answers]) -> Sums:
        rows = []
        for found in answers:
            truth, error = found.truth - found.truth.mean(), found.truth - found.values
            rows.append(csr_array(np.column_stack([np.ones(len(found)), truth, truth**2, error, error**2])))
        return Sums(tuple(rows), score)

    return sums_of


def ranking_sums(target: Target, formula: Callable[[Floats, Floats], Floats], *, every_class: bool) -> SumsOf:
    """The sums of a metric of how a class's probability ranks its rows among the others.

    Args:
        target: the classes, and the positive one.
        formula: the metric, (…,), of the counts of other rows and of the class's rows by level of the probability,
            each (…, levels), the lowest first.
        every_class: whether to average over all classes, each against the rest, or to use the positive class.
    """
    places = range(len(target.classes)) if every_class else [target.place]

    def sums_of(answers: Sequence[Answers]) -> Sums:
        levels = max(1, min(LEVELS, len(answers[0])))
        rows = tuple(_ranked(found, target, list(places), levels) for found in answers)

        def score(sums: Floats) -> Floats:
            counts = sums.reshape(len(sums), len(places), 2, levels)
            found = formula(counts[:, :, 0], counts[:, :, 1])
            defined = np.isfinite(found)
            return ratio(np.where(defined, found, 0.0).sum(axis=1), defined.sum(axis=1).astype(float), np.nan)

        return Sums(rows, score)

    return sums_of


def _ranked(found: Answers, target: Target, places: list[int], levels: int) -> csr_array:
    """(n, classes * 2 * levels): for each class, whether the row is of it, and the level of its probability."""
    count, cells = len(found), []
    for index, place in enumerate(places):
        ranks = rankdata(probabilities_of(found)[:, place]) - 1
        level = np.minimum((ranks * levels / count).astype(np.intp), levels - 1)
        cells.append((2 * index + (found.truth == target.classes[place])) * levels + level)
    indices = np.column_stack(cells).ravel()
    pointers = np.arange(count + 1) * len(places)
    return csr_array((np.ones(len(indices)), indices, pointers), shape=(count, len(places) * 2 * levels))


def probabilities_of(found: Answers) -> Floats:
    """(n, classes); a metric of probabilities is only computed for answers that have them."""
    assert found.probabilities is not None  # noqa: S101 - ``score`` refuses such answers before
    return found.probabilities


def _codes(names: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.intp]:
    """(n,) each name's place among the sorted classes; their number for any other name."""
    known = np.array(classes, dtype=str)
    found = np.minimum(np.searchsorted(known, names), len(classes) - 1)
    return np.where(known[found] == names, found, len(classes))


def _one_hot(cells: NDArray[np.intp], size: int) -> csr_array:
    return csr_array((np.ones(len(cells)), cells, np.arange(len(cells) + 1)), shape=(len(cells), size))
