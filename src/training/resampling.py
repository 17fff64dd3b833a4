"""Confidence intervals for scores, and for differences of scores on the same rows, by the paired bootstrap.

Rows are drawn with replacement, as many as there are, and all models are scored on the same sample (Efron &
Tibshirani 1993, An Introduction to the Bootstrap). Rows are drawn in clusters: rows with the same key or group (Field &
Welsh 2007, Bootstrapping clustered data, JRSS B 69), or blocks of consecutive time (Carlstein 1986; Künsch
1989, The jackknife and the bootstrap for general stationary observations, Ann. Stat. 17). Intervals are percentiles,
expanded for few clusters as Student's t is (Hesterberg 2015, What Teachers Should Know About the Bootstrap, Am. Stat.
69).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm, t

from src.core.errors import ConfigError
from src.training.answers import Answers
from src.training.comparison import Difference
from src.training.scoring import Metric
from src.training.sums import Floats

RESAMPLES = 2000
SEED = 0
# The level of the two-sided interval, and the default of ``gate.confidence`` for the one-sided bound.
LEVEL = 0.95
# A metric that is not a function of sums is computed on resamples of at most this many rows.
MAX_ROWS = 2000
# The most numbers in memory at once.
CHUNK = 2**21


@dataclass(frozen=True)
class Resampled:
    """Scores of several models on all rows, and the deviations from them on the same resamples.

    Attributes:
        points: (models,) the scores on all rows.
        deviations: (resamples, models), without resamples in which a score is undefined.
        clusters: the number of clusters.
        skipped: resamples in which the metric is undefined for one of the models.
    """

    points: Floats
    deviations: Floats
    clusters: int
    skipped: int

    def difference(self, model: int, rival: int, *, sign: int = 1, confidence: float = LEVEL) -> Difference:
        """The first model's score less the second's.

        Args:
            model: the first model's index.
            rival: the second model's index.
            sign: 1 where higher is better, -1 where lower is.
            confidence: the level of the one-sided bound.
        """
        point = float(self.points[model] - self.points[rival])
        deviations = self.deviations[:, model] - self.deviations[:, rival]
        low, high = self._limits(deviations)
        bound = self._quantile(deviations, 1 - confidence if sign > 0 else confidence)
        return Difference(point=point, low=point + low, high=point + high, bound=point + bound)

    def interval(self, model: int) -> tuple[float, float]:
        """The limits of a model's score."""
        low, high = self._limits(self.deviations[:, model])
        return float(self.points[model]) + low, float(self.points[model]) + high

    def _limits(self, deviations: Floats) -> tuple[float, float]:
        return self._quantile(deviations, (1 - LEVEL) / 2), self._quantile(deviations, (1 + LEVEL) / 2)

    def _quantile(self, deviations: Floats, share: float) -> float:
        """The quantile of the deviations, expanded for few clusters; infinite for a single cluster."""
        if self.clusters == 1:
            return math.copysign(math.inf, share - 0.5)
        student = t.ppf(share, self.clusters - 1) * math.sqrt(self.clusters / (self.clusters - 1))
        return float(np.quantile(deviations, norm.cdf(student)))


@dataclass(frozen=True)
class Draws:
    """How to resample: each row's cluster, numbered from 0, the rows' weights, and the number of resamples."""

    codes: NDArray[np.intp]
    weights: Floats
    resamples: int

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return int(self.codes.max()) + 1


def bootstrap(
    metric: Metric,
    answers: Sequence[Answers],
    clusters: NDArray[np.intp],
    *,
    weights: Floats | None = None,
    resamples: int | None = None,
) -> Resampled:
    """Score the models on resamples of the rows; the same input gives the same resamples.

    A metric of sums uses all rows. Other metrics are called for each resample; with many rows, m out of n clusters are
    drawn and the deviations are scaled by √(m/n) (Bickel, Götze & van Zwet 1997, Resampling fewer than n observations,
    Stat. Sinica 7).

    Args:
        metric: defined for each model on all rows.
        answers: the models' answers to the same rows.
        clusters: (n,) each row's cluster.
        weights: (n,) each row's weight; None for equal ones.
        resamples: their number; None for ``RESAMPLES``.

    Raises:
        ConfigError: the metric is defined in no resample.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    draws = Draws(codes, np.ones(len(codes)) if weights is None else weights, resamples or RESAMPLES)
    points = np.array([metric.of(found, draws.weights) for found in answers])
    deviations = (_by_function if metric.sums is None else _by_sums)(metric, answers, draws)
    usable = np.isfinite(deviations).all(axis=1)
    if not usable.any():
        raise ConfigError(f"the metric {metric.name} is defined in no resample of these {len(codes)} rows")
    return Resampled(points, deviations[usable], draws.clusters, int((~usable).sum()))


def by_cluster(codes: NDArray[np.intp], weights: Floats | None = None) -> csr_array:
    """(clusters, n): the rows of each cluster; multiplying by it sums rows, or rows with weights, by cluster."""
    count = len(codes)
    entries = np.ones(count) if weights is None else weights
    return csr_array((entries, (codes, np.arange(count))), shape=(int(codes.max()) + 1, count))


def chunks(total: int, width: int) -> Iterator[int]:
    """Sizes of chunks of resamples, ``width`` numbers each, that fit into memory and add up to the total."""
    size = max(1, CHUNK // width)
    for start in range(0, total, size):
        yield min(size, total - start)


def _by_sums(metric: Metric, answers: Sequence[Answers], draws: Draws) -> Floats:
    assert metric.sums is not None  # noqa: S101 - the caller's choice
    random, count = np.random.default_rng(SEED), draws.clusters
    sums = metric.sums(answers)
    parts = [csr_array((by_cluster(draws.codes, draws.weights) @ rows).T) for rows in sums.rows]
    whole = [sums.score(part.sum(axis=1)[None, :])[0] for part in parts]
    found = []
    for size in chunks(draws.resamples, max(count, parts[0].shape[0])):
        drawn = random.integers(0, count, size=(count, size))
        counts = np.bincount((drawn * size + np.arange(size)).ravel(), minlength=count * size)
        counts = counts.reshape(count, size).astype(np.float64)
        found.append(np.column_stack([sums.score((part @ counts).T) for part in parts]))
    return np.asarray(np.concatenate(found) - whole)


def _by_function(metric: Metric, answers: Sequence[Answers], draws: Draws) -> Floats:
    random, count, codes = np.random.default_rng(SEED), draws.clusters, draws.codes
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    drawn = max(1, min(count, round(count * MAX_ROWS / len(codes))))
    found = np.empty((draws.resamples, len(answers)))
    for resample in range(draws.resamples):
        rows = np.concatenate([members[cluster] for cluster in random.integers(0, count, size=drawn)])
        found[resample] = [defined(metric, model.take(rows), draws.weights[rows]) for model in answers]
    return (found - [metric.of(model, draws.weights) for model in answers]) * math.sqrt(drawn / count)


def defined(metric: Metric, answers: Answers, sample_weight: Floats | None = None) -> float:
    """The score; NaN where an own metric fails: a resample or a slice may lack a class, a baseline is constant."""
    try:
        return metric.of(answers, sample_weight)
    except ConfigError:
        return math.nan
