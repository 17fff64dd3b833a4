"""Drift on the page: one bar per feature and one for the predictions, from the numbers that feed the metrics."""

import math
from dataclasses import dataclass
from typing import Literal

from src.services.inference.model.predictor import Predictor
from src.services.inference.page.words import NONE
from src.services.inference.watch.drift import MIN_ROWS
from src.services.inference.watch.live_traffic import DriftReport

# Where an index begins to be worth a look, and where the data are others; the bars' marks.
WATCH, DRIFTED = 0.1, 0.25
# A bar as long as its box.
FULL = 0.5

Level = Literal["stable", "watch", "drifted", "waiting"]


@dataclass(frozen=True)
class DriftBar:
    """One bar: its length and its marks are in percent of its box."""

    label: str
    shown: str
    length: float
    level: Level


@dataclass(frozen=True)
class DriftView:
    """All bars, and the sentence above them."""

    summary: str
    bars: list[DriftBar]
    marks: tuple[float, float] = (WATCH / FULL * 100, DRIFTED / FULL * 100)


def drift_view(predictor: Predictor | None, report: DriftReport, window_rows: int) -> DriftView:
    """How the newest rows compare with those of training."""
    if predictor is None:
        return DriftView("No model is served, so there is nothing to compare with.", [])
    if not report.features:
        return DriftView("This model brought no reference of its training rows, so drift is not measured.", [])
    bars = [_bar(name, score) for name, score in report.features.items()]
    if predictor.classes:
        bars.append(_bar("predicted classes", report.predictions))
    if report.rows < MIN_ROWS:
        return DriftView(f"{report.rows} of {MIN_ROWS} rows so far: a score with fewer would tell of chance.", bars)
    drifted = [bar.label for bar in bars if bar.level == "drifted"]
    found = f"drifted: {', '.join(drifted)}" if drifted else "no drift"
    return DriftView(f"The newest {report.rows} rows (at most {window_rows}) against those of training: {found}.", bars)


def _bar(label: str, score: float) -> DriftBar:
    if math.isnan(score):
        return DriftBar(label, NONE, 0.0, "waiting")
    level: Level = "stable" if score < WATCH else "watch" if score <= DRIFTED else "drifted"
    return DriftBar(label, f"{score:.3f}", round(min(score, FULL) / FULL * 100, 1), level)
