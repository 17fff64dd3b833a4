"""The scores of live quality: the configuration's metrics, with intervals, over labelled rows."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.errors import ConfigError
from src.core.pipeline_config import PipelineConfig
from src.core.quality_report import Score
from src.quality.labelled import Labelled, Pairs, Scored, Shares, numbers_of
from src.training.answers import Answers
from src.training.resampling import bootstrap
from src.training.scoring import Metric, metrics_of
from src.training.sums import Floats

# Resamples of metrics of sums, and of other metrics, which take longer.
RESAMPLES, FUNCTION_RESAMPLES = 300, 200
# With fewer clusters, equal scores in all resamples say nothing about others.
MIN_CLUSTERS = 30


class LiveScorer:
    """The metrics of a configuration, as ``src.quality.labelled.Scorer``.

    Args:
        config: names the metrics, and the classes.
        own: the adopter's metrics by name.

    Raises:
        ConfigError: a metric is unknown or unsuitable.
    """

    def __init__(self, config: PipelineConfig, own: Mapping[str, Metric]) -> None:
        self._metrics = metrics_of(config, own)
        self._gate = self._metrics[config.gate.metric]
        self._classes = tuple(sorted(config.dataset.classes or ()))

    @property
    def lower_is_better(self) -> list[str]:
        """The metrics where lower is better."""
        return [name for name, metric in self._metrics.items() if not metric.greater_is_better]

    @property
    def by_class(self) -> bool:
        """Whether predictions are classes."""
        return bool(self._classes)

    def __call__(self, rows: Labelled) -> Scored:
        """Score the rows whose labels are classes of the configuration, or numbers."""
        known = self._known(rows)
        whole = self._usable(rows, known)
        has_shares = (
            np.zeros(len(rows), dtype=bool) if rows.probabilities is None else np.isfinite(rows.probabilities[:, 0])
        )
        some = whole if has_shares[known].all() else self._usable(rows, known & has_shares)
        scores: dict[str, Score] = {}
        failures: dict[str, str] = {}
        for name, metric in self._metrics.items():
            try:
                score = (some if metric.probabilities else whole).score(metric)
            except ConfigError as error:  # the adopter's metric fails
                failures[name] = str(error)
                continue
            if score is not None:
                scores[name] = score
        labels = set(rows.truth[known].astype(str))
        unlabelled = tuple(name for name in self._classes if labels and name not in labels)
        return Scored(int(known.sum()), scores, int((~known).sum()), failures, unlabelled)

    def simulate(self, rows: Labelled, truths: Iterable[NDArray[Any]]) -> dict[str, Floats]:
        """Score rows with each of many truths; see ``src.quality.labelled.Scorer``."""
        usable = self._usable(rows, np.ones(len(rows), dtype=bool))
        found: dict[str, list[float]] = {name: [] for name in self._metrics}
        for truth in truths:
            answers = replace(usable.answers, truth=truth)
            for name in list(found):
                try:
                    found[name].append(_value(self._metrics[name], answers, usable.weights))
                except ConfigError:  # the adopter's metric fails
                    del found[name]
        return {name: np.array(values) for name, values in found.items()}

    def by_gate(self, pairs: Pairs) -> tuple[float, float] | None:
        """The scores of the new and of the previous version by ``gate.metric``, the sign such that greater is better.

        Probabilities are used where both versions have some for all these rows. A metric that needs them is computed
        on the rows for which both have some. None where the metric is undefined.
        """
        as_values = _as_text if self._classes else numbers_of
        truth, new, previous = columns = [as_values(column) for column in (pairs.truth, pairs.new, pairs.previous)]
        known = np.isin(truth, self._classes) if self._classes else np.asarray(np.isfinite(columns).all(axis=0))
        shares = [pairs.new_shares, pairs.previous_shares]
        whole = _has_shares(shares[0], len(truth)) & _has_shares(shares[1], len(truth))
        if self._gate.probabilities:
            known &= whole
        if not known.any():
            return None
        if not whole[known].all():
            shares = [None, None]
        sides = zip((new, previous), shares, strict=True)
        try:
            scores = [self._gate.of(self._answers(truth[known], side[known], found, known)) for side, found in sides]
        except ConfigError:  # the adopter's metric may need probabilities, too
            return None
        if not all(map(math.isfinite, scores)):
            return None
        return self._gate.sign * scores[0], self._gate.sign * scores[1]

    def _answers(
        self, truth: NDArray[Any], values: NDArray[Any], shares: Shares | None, rows: NDArray[np.bool_]
    ) -> Answers:
        """Answers with the probabilities of the rows of a mask, if there are some."""
        if shares is None:
            return Answers("", (), truth, values)
        probabilities = _summing_to_one(shares.probabilities[rows])
        return Answers("", shares.classes, truth, values, probabilities).among(self._classes)

    def _known(self, rows: Labelled) -> NDArray[np.bool_]:
        """A mask of the rows with a usable label and prediction."""
        if self._classes:
            return np.isin(rows.truth.astype(str), self._classes)
        return np.isfinite(numbers_of(rows.truth)) & np.isfinite(numbers_of(rows.predictions))

    def _usable(self, rows: Labelled, mask: NDArray[np.bool_]) -> "_Usable":
        """The rows of a mask, with probabilities if all of them have some."""
        as_values = _as_text if self._classes else numbers_of
        truth, values = as_values(rows.truth[mask]), as_values(rows.predictions[mask])
        answers = Answers(rows.version, (), truth, values)
        if rows.probabilities is not None and np.isfinite(rows.probabilities[mask]).all():
            shares = _summing_to_one(rows.probabilities[mask])
            answers = Answers(rows.version, rows.classes, truth, values, shares).among(self._classes)
        _, clusters = np.unique(_as_text(rows.keys[mask]), return_inverse=True)
        return _Usable(answers, clusters, rows.weights[mask])


@dataclass(frozen=True)
class _Usable:
    """Answers to rows with true values, the rows' clusters and weights."""

    answers: Answers
    clusters: NDArray[np.intp]
    weights: Floats

    def score(self, metric: Metric) -> Score | None:
        """A metric with its interval; None where it is not defined for these rows."""
        if not len(self.answers) or (metric.probabilities and self.answers.probabilities is None):
            return None
        value = metric.of(self.answers, self.weights)
        if not math.isfinite(value):
            return None
        limits = self._interval(metric)
        return Score(value=value) if limits is None else Score(value=value, low=limits[0], high=limits[1])

    def _interval(self, metric: Metric) -> tuple[float, float] | None:
        count = int(self.clusters.max()) + 1
        if count == 1:
            return None
        resamples = FUNCTION_RESAMPLES if metric.sums is None else RESAMPLES
        try:
            found = bootstrap(metric, [self.answers], self.clusters, weights=self.weights, resamples=resamples)
        except ConfigError:  # it is defined in no resample
            return None
        if count < MIN_CLUSTERS and np.ptp(found.deviations) == 0:
            return None
        return found.interval(0)


def _value(metric: Metric, answers: Answers, weights: Floats) -> float:
    """A score; as a function of sums where there is one, which is several times faster."""
    if metric.sums is None:
        return metric.of(answers, weights)
    sums = metric.sums([answers])
    return float(sums.score((weights @ sums.rows[0])[None])[0])


def _summing_to_one(shares: Floats) -> Floats:
    """(n, classes) probabilities that sum to 1, of those in the log, which are rounded."""
    total = shares.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[1]), where=total > 0))


def _has_shares(shares: Shares | None, count: int) -> NDArray[np.bool_]:
    """A mask of the rows with probabilities."""
    return np.zeros(count, dtype=bool) if shares is None else np.isfinite(shares.probabilities[:, 0])


def _as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    return values.astype(str)
