"""View objects of the live part of the page: what to do about an error, drift, and the registered versions."""

import math
from dataclasses import dataclass

from src.services.inference.page.rendering import NONE
from src.serving.models.model_store import FIRST_TRAINING, NO_CHAMPION, ModelStore
from src.serving.models.model_version import Aliases, RegisteredVersion
from src.serving.models.predictor import Predictor
from src.serving.watch.drift import LARGE, MIN_ROWS, Drift, DriftReport

# The drift score of a full bar.
FULL = 0.5
GATE = "The first model is served once it has passed the gate."


@dataclass(frozen=True)
class DriftBar:
    """The drift of a feature or of the predictions.

    Attributes:
        length: in percent of a full bar.
        level: stable, watch (large, but not significant over all features of the model), drifted, or waiting for rows.
    """

    label: str
    shown: str
    length: float
    level: str


@dataclass(frozen=True)
class DriftView:
    """All bars, the sentence above them, and where drift is large on a bar, in percent."""

    summary: str
    bars: list[DriftBar]
    mark: float = LARGE / FULL * 100


@dataclass(frozen=True)
class VersionsView:
    """Champion, challenger and previous side by side, and what a rollback would do.

    Attributes:
        aliases: MLflow's last answer; None if there is none, and ``problem`` why it is missing or old.
        columns: an alias, its version, and a note: the gate's verdict, that it serves, or that it was rolled back.
        metrics: names of the scores of any version.
        differs: whether there are scores of several versions, which may come from different rows.
        back_to: the version that a rollback would serve; None if none is possible, and ``no_way_back`` says why.
    """

    aliases: Aliases | None
    problem: str | None
    columns: list[tuple[str, RegisteredVersion | None, str | None]]
    metrics: list[str]
    differs: bool
    back_to: str | None
    no_way_back: str | None


def advice_of(store: ModelStore) -> str:
    """What to do about the service's last error."""
    if store.last_look.reachable is False:
        then = "the model below stays in service" if store.current else "there are no predictions"
        return f"Start MLflow, or correct MLFLOW_TRACKING_URI. Until then {then}."
    if store.current:
        return "The model below stays in service; the service retries automatically."
    if store.last_error == FIRST_TRAINING:
        return GATE
    if store.last_error == NO_CHAMPION:
        return f"{GATE} “Retrain now” below requests a training."
    return "There are no predictions until this is fixed; roll back or train another version below."


def drift_view(predictor: Predictor | None, report: DriftReport, window_rows: int) -> DriftView:
    """The newest rows compared with the training rows, with the same numbers as the metrics."""
    if predictor is None:
        return DriftView("No model is served, so there is nothing to compare with.", [])
    if not report.features:
        return DriftView("This model has no reference of its training rows, so drift is not measured.", [])
    bars = [_bar(name, drift) for name, drift in report.features.items()]
    if predictor.classes:
        bars.append(_bar("predicted classes", report.predictions))
    if report.rows < MIN_ROWS:
        return DriftView(f"{report.rows} of {MIN_ROWS} rows so far: with fewer, drift is not tested.", bars)
    drifted = ", ".join(bar.label for bar in bars if bar.level == "drifted")
    found = f"drifted: {drifted}" if drifted else "no drift"
    return DriftView(f"The newest {report.rows} rows (at most {window_rows}) against the training rows: {found}.", bars)


def _bar(label: str, drift: Drift) -> DriftBar:
    if math.isnan(drift.score):
        return DriftBar(label, NONE, 0.0, "waiting")
    length = round(min(drift.score, FULL) / FULL * 100, 1)
    level = "drifted" if drift.drifted else "watch" if drift.score >= LARGE else "stable"
    return DriftBar(label, f"{drift.score:.3f}", length, level)


def versions_view(aliases: Aliases | None, problem: str | None) -> VersionsView:
    """The registered versions, and the way back."""
    if aliases is None:
        return VersionsView(None, problem, [], [], differs=False, back_to=None, no_way_back="A rollback needs MLflow.")
    found = {"champion": aliases.champion, "challenger": aliases.challenger, "previous": aliases.previous}
    scored = [version for version in found.values() if version and version.scores]
    back_to, no_way_back = _way_back(aliases)
    return VersionsView(
        aliases,
        problem,
        columns=[(alias, version, _note(alias, version, aliases)) for alias, version in found.items()],
        metrics=list(dict.fromkeys(metric for version in scored for metric in version.scores)),
        differs=len({version.version for version in scored}) > 1,
        back_to=back_to,
        no_way_back=no_way_back,
    )


def _note(alias: str, version: RegisteredVersion | None, aliases: Aliases) -> str | None:
    if version is None:
        return None
    if aliases.champion is not None and version.version == aliases.champion.version:
        return "serves" if alias == "champion" else "is the champion"
    return "was rolled back" if version.version in aliases.taken_back else version.verdict


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
