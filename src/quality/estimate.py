"""Estimates the live quality without labels, by the model's own calibrated confidence.

Confidence-based performance estimation (NannyML, How it works: Performance estimation; Kivimäki, Białek, Kuberski &
Nurminen 2025, Performance estimation in binary classification using calibrated confidence, arXiv 2505.05295): labels
are drawn from the calibrated probabilities, and the metrics are computed with them, many times. Each time, the
calibration is another one of those that chance may have made. So the interval is for the score that the true labels
will show, and holds for every metric.

Calibration is known for the rows of the holdout, and less certain the more other rows differ from them: the true change
since the holdout may be half of the estimated one, or two and a half times as large. So the interval is widened by one
and a half of the estimated change on the side away from the holdout's score, and by half of it on the side towards it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.calibration import Calibration, Floats, calibrated
from src.core.errors import ConfigError
from src.core.prediction_log import Role
from src.core.quality_report import NEWEST, Estimate, EstimatedWindow, Score, VersionQuality
from src.quality.labelled import Labelled, Scorer

WINDOWS = (NEWEST, "day", "week")
# With fewer rows, an interval says little; more rows change it little, and take long.
MIN_ROWS, MAX_ROWS = 100, 1000
# Draws of labels for each curve of the calibration.
DRAWS = 2
LEVEL = 0.95
# The parts of the estimated change since the holdout by which an interval is widened: towards the holdout's score, and
# away from it. Chosen by ``make measure-estimate ESTIMATE_ARGS=--choice``.
INWARD, OUTWARD = 0.5, 1.5
SEED = 0


@dataclass(frozen=True)
class Estimator:
    """Estimates the quality of the served version.

    Attributes:
        calibration_of: the calibration of a version; None if there is none. It raises ConfigError if it is damaged.
        scorer: computes the scores.
    """

    calibration_of: Callable[[str], Calibration | None]
    scorer: Scorer

    def added(
        self, versions: Sequence[VersionQuality], logged: Callable[[str, str, int], Labelled]
    ) -> list[VersionQuality]:
        """The versions, with an estimate for the first champion if it is a classifier.

        Args:
            versions: the newest prediction first.
            logged: the rows that a version answered as champion in a window, up to a number.
        """
        served = next((one for one in versions if one.role == Role.CHAMPION), None)
        if served is None or not self.scorer.by_class:
            return list(versions)
        found = {"estimate": self._estimate(served.version, logged)}
        return [one.model_copy(update=found) if one is served else one for one in versions]

    def _estimate(self, version: str, logged: Callable[[str, str, int], Labelled]) -> Estimate:
        try:
            calibration = self.calibration_of(version)
        except ConfigError as error:
            return Estimate(reason=str(error))
        if calibration is None:
            return Estimate(reason=f"version {version} was registered without a calibration; train again")
        if calibration.reason is not None:
            return Estimate(reason=calibration.reason)
        windows: list[EstimatedWindow] = []
        for name in WINDOWS:
            rows = answerable(logged(version, name, MAX_ROWS), calibration)
            if len(rows) >= MIN_ROWS:
                scores = estimated_scores(rows, calibration, self.scorer)
                windows.append(EstimatedWindow(name=name, rows=len(rows), scores=scores))
        return Estimate(holdout=dict(calibration.scores), windows=windows)


def answerable(rows: Labelled, calibration: Calibration) -> Labelled:
    """The rows that have a probability for each class of the calibration, with these classes."""
    if rows.probabilities is None or not set(calibration.classes) <= set(rows.classes):
        return rows.take(np.zeros(len(rows), dtype=bool))
    shares = rows.probabilities[:, [rows.classes.index(name) for name in calibration.classes]]
    usable = np.isfinite(shares).all(axis=1) & np.isin(rows.predictions.astype(str), calibration.classes)
    return replace(rows, classes=calibration.classes, probabilities=shares).take(usable)


def estimated_scores(rows: Labelled, calibration: Calibration, scorer: Scorer) -> dict[str, Score]:
    """The scores that are to be expected, by metric; those that the holdout has no score for are left out.

    Args:
        rows: as ``answerable`` returns them, at least one.
        calibration: that of their version.
        scorer: computes the scores.
    """
    found: dict[str, Score] = {}
    for name, values in scorer.simulate(rows, _truths(rows, calibration)).items():
        usable = values[np.isfinite(values)]
        if not len(usable) or name not in calibration.scores:
            continue
        value = float(usable.mean())
        # Of Hyndman & Fan 1996, type 6: a further draw is between the two with a chance of exactly ``LEVEL``.
        low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="weibull")
        change = value - calibration.scores[name]
        below, above = (OUTWARD, INWARD) if change < 0 else (INWARD, OUTWARD)
        found[name] = Score(
            value=value,
            low=value - math.hypot(value - low, below * change),
            high=value + math.hypot(high - value, above * change),
        )
    return found


def _truths(rows: Labelled, calibration: Calibration) -> Iterator[NDArray[Any]]:
    """Draws of the labels, (n,) class names each."""
    assert rows.probabilities is not None  # noqa: S101 - see ``answerable``
    random, names = np.random.default_rng(SEED), np.array(calibration.classes)
    places = {name: place for place, name in enumerate(calibration.classes)}
    predicted = np.array([places[name] for name in rows.predictions.astype(str)], dtype=np.intp)
    for curves in np.array(calibration.curves):
        shares: Floats = calibrated(rows.probabilities, predicted, curves)
        limits = shares.cumsum(axis=1)[:, :-1]
        for _ in range(DRAWS):
            yield names[(random.random((len(rows), 1)) >= limits).sum(axis=1)]
