"""Drift on the page: one bar per feature and one for the predictions, with the same numbers as the metrics."""

import math
from dataclasses import dataclass
from typing import Literal

from src.services.inference.page.formatting import NONE
from src.serving.models.predictor import Predictor
from src.serving.watch.drift import LARGE, MIN_ROWS, Drift
from src.serving.watch.model_windows import DriftReport

# The score of a full bar.
FULL = 0.5
# More bars stand in several tables side by side.
MAX_IN_TABLE = 12
TABLES = 3

# ``watch``: a score that is large but not significant over all features of the model.
Level = Literal["stable", "watch", "drifted", "waiting"]


@dataclass(frozen=True)
class DriftBar:
    """One bar; its length is in percent."""

    label: str
    shown: str
    length: float
    level: Level


@dataclass(frozen=True)
class DriftView:
    """All bars, the sentence above them, and the threshold of a large drift, in percent of a full bar."""

    summary: str
    bars: list[DriftBar]
    marks: tuple[float] = (LARGE / FULL * 100,)

    @property
    def tables(self) -> int:
        """In how many tables the bars are shown; more than one have the page's whole width."""
        return TABLES if len(self.bars) > MAX_IN_TABLE else 1


def drift_view(predictor: Predictor | None, report: DriftReport, window_rows: int) -> DriftView:
    """The newest rows compared with the training rows."""
    if predictor is None:
        return DriftView("No model is served, so there is nothing to compare with.", [])
    if not report.features:
        return DriftView("This model has no reference of its training rows, so drift is not measured.", [])
    bars = [_bar(name, drift) for name, drift in report.features.items()]
    if predictor.classes:
        bars.append(_bar("predicted classes", report.predictions))
    if report.rows < MIN_ROWS:
        return DriftView(f"{report.rows} of {MIN_ROWS} rows so far: with fewer, drift is not tested.", bars)
    drifted = [bar.label for bar in bars if bar.level == "drifted"]
    found = f"drifted: {', '.join(drifted)}" if drifted else "no drift"
    return DriftView(f"The newest {report.rows} rows (at most {window_rows}) against the training rows: {found}.", bars)


def _bar(label: str, drift: Drift) -> DriftBar:
    if math.isnan(drift.score):
        return DriftBar(label, NONE, 0.0, "waiting")
    level: Level = "drifted" if drift.drifted else "watch" if drift.score >= LARGE else "stable"
    return DriftBar(label, f"{drift.score:.3f}", round(min(drift.score, FULL) / FULL * 100, 1), level)
