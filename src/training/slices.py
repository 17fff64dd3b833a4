"""Scores by slice: detects a challenger that is better overall but worse on some of the rows."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from src.core.category_keys import category_name
from src.training.answers import Answers
from src.training.comparison import SliceScore
from src.training.gate import ROUNDING
from src.training.resampling import MAX_ROWS, RESAMPLES, by_cluster, chunks, defined
from src.training.scoring import Metric
from src.training.sums import Floats

MIN_ROWS = 50
# The probability of rejecting a challenger that is worse in no slice.
ERROR = 0.05
SEED = 0
MISSING = "(missing)"
Pair = tuple[Answers, Answers]


def score_slices(
    metric: Metric,
    challenger: Answers,
    champion: Answers | None,
    columns: pd.DataFrame,
    clusters: NDArray[np.intp],
) -> list[SliceScore]:
    """Challenger and champion on every slice of at least 50 rows, and where the challenger is significantly worse.

    Args:
        metric: the gate's.
        challenger: its answers to n rows.
        champion: the champion's to the same rows, or None.
        columns: (n, columns of ``gate.slices``); each value is a slice, and so are missing values.
        clusters: (n,) each row's cluster.
    """
    slices = [
        (column, value, rows) for column in columns for value, rows in _parts(columns[column]) if rows.sum() >= MIN_ROWS
    ]
    # With n slices, Holm's first step requires a p-value of 5 % / n, and thus at least 20 n shuffles.
    shuffles = max(RESAMPLES, round(2 * len(slices) / ERROR))
    found = []
    for column, value, rows in slices:
        ours = challenger.take(rows)
        theirs = None if champion is None else champion.take(rows)
        scores = [None if part is None else _score(metric, part) for part in (ours, theirs)]
        p_value = None
        if theirs is not None and None not in scores:
            p_value = worse_p_value(metric, ours, theirs, clusters[rows], shuffles)
        found.append(
            SliceScore(
                column=column,
                value=value,
                rows=int(rows.sum()),
                challenger=scores[0],
                champion=scores[1],
                p_value=p_value,
            )
        )
    rejected = holm([part.p_value for part in found])
    return [part.model_copy(update={"worse": worse}) for part, worse in zip(found, rejected, strict=True)]


def holm(p_values: list[float | None]) -> list[bool]:
    """Which hypotheses are rejected, with a probability of at most 5 % that one is true (Holm 1979, Scand. J. Stat. 6).

    Args:
        p_values: one per hypothesis; None for one that was not tested.
    """
    rejected = [False] * len(p_values)
    tested = sorted((p_value, place) for place, p_value in enumerate(p_values) if p_value is not None)
    for rank, (p_value, place) in enumerate(tested):
        if p_value > ERROR / (len(tested) - rank):
            break
        rejected[place] = True
    return rejected


def worse_p_value(
    metric: Metric, challenger: Answers, champion: Answers, clusters: NDArray[np.intp], shuffles: int
) -> float:
    """The one-sided p-value of the hypothesis that the challenger is not worse.

    The paired randomisation test (Fisher 1935; Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses):
    if both are equally good, their answers to a cluster of rows can be exchanged. Unlike the bootstrap it is exact for
    slices with few rows.

    Args:
        metric: the gate's; defined for both on all rows.
        challenger: its answers to n rows.
        champion: the champion's to the same rows.
        clusters: (n,) the rows whose answers are exchanged together.
        shuffles: how often answers are exchanged.
    """
    random = np.random.default_rng(SEED)
    _, codes = np.unique(clusters, return_inverse=True)
    if metric.sums is None and len(codes) > MAX_ROWS:
        some = random.permutation(int(codes.max()) + 1)[: max(1, MAX_ROWS * int(codes.max()) // len(codes))]
        kept = np.isin(codes, some)
        challenger, champion = challenger.take(kept), champion.take(kept)
        _, codes = np.unique(codes[kept], return_inverse=True)
    gain = metric.sign * (defined(metric, challenger) - defined(metric, champion))
    if gain >= 0:
        return 1.0
    exchange = _by_function if metric.sums is None else _by_sums
    gains = [metric.sign * found for found in exchange(metric, (challenger, champion), codes, random, shuffles)]
    # ROUNDING keeps equal differences equal; an undefined difference counts as at least as bad.
    as_bad = int((~(np.concatenate(gains) > gain + ROUNDING)).sum())
    return (1 + as_bad) / (1 + shuffles)


def _by_sums(
    metric: Metric, pair: Pair, codes: NDArray[np.intp], random: np.random.Generator, shuffles: int
) -> Iterator[Floats]:
    assert metric.sums is not None  # noqa: S101 - the caller's choice
    sums = metric.sums(pair)
    ours, theirs = (csr_array((by_cluster(codes) @ rows).T) for rows in sums.rows)
    moved_by = csr_array(theirs - ours)
    our_sum, their_sum = ours.sum(axis=1), theirs.sum(axis=1)
    for size in chunks(shuffles, max(ours.shape)):
        exchanged = random.integers(0, 2, size=(ours.shape[1], size)).astype(np.float64)
        moved = (moved_by @ exchanged).T
        yield sums.score(our_sum + moved) - sums.score(their_sum - moved)


def _by_function(
    metric: Metric, pair: Pair, codes: NDArray[np.intp], random: np.random.Generator, shuffles: int
) -> Iterator[Floats]:
    ours, theirs = pair
    both = ours.followed_by(theirs)
    rows = np.arange(len(codes))
    for _ in range(shuffles):
        exchanged = random.integers(0, 2, size=int(codes.max()) + 1)[codes] * len(codes)
        first, second = both.take(rows + exchanged), both.take(rows + len(codes) - exchanged)
        yield np.array([defined(metric, first) - defined(metric, second)])


def _score(metric: Metric, answers: Answers) -> float | None:
    score = defined(metric, answers)
    return score if math.isfinite(score) else None


def _parts(column: pd.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The column's values, the most frequent first, and the rows that have them."""
    missing = column.isna().to_numpy()
    names = column.map(category_name).to_numpy(dtype=object)
    for name in pd.Series(names[~missing]).value_counts().index:
        yield name, (names == name) & ~missing
    if missing.any():
        yield MISSING, missing
