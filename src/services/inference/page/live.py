"""View objects of the live part of the page: drift, and the registered versions."""

import math
from dataclasses import dataclass

from src.serving.models.model_version import Aliases
from src.serving.watch.drift import LARGE, Drift, DriftReport

# The drift score of a full bar.
FULL = 0.5


@dataclass(frozen=True)
class DriftBar:
    """The drift of a feature or of the predictions.

    Attributes:
        score: NaN with too few rows.
        length: in percent of a full bar.
        level: stable, watch (large, but not significant over all features of the model), drifted, or waiting for rows.
    """

    label: str
    score: float
    length: float
    level: str

    @classmethod
    def of(cls, label: str, drift: Drift) -> "DriftBar":
        """The bar of a measured drift."""
        if math.isnan(drift.score):
            return cls(label, drift.score, 0.0, "waiting")
        level = "drifted" if drift.drifted else "watch" if drift.score >= LARGE else "stable"
        return cls(label, drift.score, round(min(drift.score, FULL) / FULL * 100, 1), level)


def drift_bars(report: DriftReport, *, has_classes: bool) -> list[DriftBar]:
    """A bar per feature, and one for the predictions of classes; none for a model without a reference."""
    bars = [DriftBar.of(name, drift) for name, drift in report.features.items()]
    return [*bars, DriftBar.of("predicted classes", report.predictions)] if bars and has_classes else bars


@dataclass(frozen=True)
class VersionsView:
    """Champion, challenger and previous side by side, and what a rollback would do.

    Attributes:
        metrics: names of the scores of any version.
        differs: whether there are scores of several versions, which may come from different rows.
        back_to: the version that a rollback would serve; None if none is possible, and ``no_way_back`` says why.
    """

    aliases: Aliases
    metrics: list[str]
    differs: bool
    back_to: str | None
    no_way_back: str | None


def versions_view(aliases: Aliases) -> VersionsView:
    """The registered versions, and the way back."""
    found = (aliases.champion, aliases.challenger, aliases.previous)
    scored = [version for version in found if version and version.scores]
    metrics = list(dict.fromkeys(metric for version in scored for metric in version.scores))
    differs = len({version.version for version in scored}) > 1
    return VersionsView(aliases, metrics, differs, *_way_back(aliases))


def _way_back(aliases: Aliases) -> tuple[str | None, str | None]:
    """The version that a rollback goes to, or why there is none."""
    champion, previous = aliases.champion, aliases.previous
    if champion is None:
        return None, "Nothing to go back to: no version is champion yet."
    # An interrupted move of the aliases is completed first.
    back_to = champion.pending_previous or (previous and previous.version)
    if not back_to:
        return None, "Nothing to go back to: this is the first champion."
    if back_to == champion.version:
        return None, (
            "Nothing to go back to: the alias “previous” points to the champion itself. In MLflow, point it to the "
            "version to go back to."
        )
    return back_to, None
