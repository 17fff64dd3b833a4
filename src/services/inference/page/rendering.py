"""The page's templates, what they show of drift, quality and versions, and filters that format numbers and times."""

import math
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.core.evidence import evidence_in_words
from src.core.inference_settings import InferenceSettings
from src.core.prediction_log import Role
from src.core.quality_report import Estimate, QualityReport, VersionQuality, Window
from src.core.retrain_record import RetrainRecord, Step
from src.serving.models.model_store import FIRST_TRAINING, NO_CHAMPION
from src.serving.models.model_version import Aliases
from src.serving.models.predictor import Predictor
from src.serving.watch.drift import LARGE, MIN_ROWS, Drift, DriftReport

TEMPLATES = Path(__file__).parent / "templates"
MINUTE, HOUR, DAY = 60, 3600, 86400
# The drift score of a full bar.
FULL = 0.5
# A report that is not replaced for so long is out of date.
REPORT_AGE = timedelta(minutes=10)
# Of more classes without a label, the first ones are named.
MAX_NAMED = 3
# With more classes, the coverage of each is left out.
MAX_COVERED = 12


def create_templates(settings: InferenceSettings) -> Environment:
    """The templates of one service."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {"ago": ago, "doing": doing, "lasting": lasting, "metrics": metrics, "score": score}
    templates.filters |= {"took": took, "utc": utc, "windows": windows, "estimate": estimate}
    templates.filters["unknown_columns"] = lambda model: settings.unknown_columns(
        {*model.schema.names, *model.schema.ids}
    )
    templates.filters["quoted"] = partial(quote, safe="")
    templates.filters["evidence"] = partial(evidence_in_words, decimals=1)
    zenml = settings.zenml_public_url
    templates.globals |= {
        "model_name": settings.model_name,
        "window_rows": settings.drift_window_rows,
        "min_rows": MIN_ROWS,
        "large": LARGE,
        "full": FULL,
        "prediction_log": settings.prediction_log,
        "report_age": REPORT_AGE,
        "max_covered": MAX_COVERED,
        "max_named": MAX_NAMED,
        "first_training": FIRST_TRAINING,
        "no_champion": NO_CHAMPION,
        "asks_key": settings.write_api_key is not None,
        "mlflow": settings.mlflow_link,
        "zenml": None if zenml is None else str(zenml).rstrip("/"),
        "grafana": settings.grafana_link,
    }
    return templates


def drift_bars(report: DriftReport, *, has_classes: bool) -> list[tuple[str, Drift]]:
    """A bar per feature, and one for the predictions of classes; none for a model without a reference."""
    bars = list(report.features.items())
    return [*bars, ("predicted classes", report.predictions)] if bars and has_classes else bars


def metrics(versions: Aliases) -> list[str]:
    """The names of the scores that any version has."""
    return list(dict.fromkeys(name for version in versions if version for name in version.scores))


def windows(quality: QualityReport | None, model: Predictor | None) -> dict[str, Window]:
    """The windows of the served version, by name; none without a report about it."""
    found = _served(quality, model)
    return {window.name: window for window in found.windows} if found else {}


def estimate(quality: QualityReport | None, model: Predictor | None) -> Estimate | None:
    """The estimate for the served version; None without a report about it, or for a regression."""
    found = _served(quality, model)
    return found.estimate if found else None


def _served(quality: QualityReport | None, model: Predictor | None) -> VersionQuality | None:
    if quality is None or model is None:
        return None
    served = (model.version.version, Role.CHAMPION)
    return next((found for found in quality.versions if (found.version, found.role) == served), None)


def ago(at: datetime, now: datetime) -> str:
    """A time relative to now, rounded to minutes so that the page rarely changes."""
    seconds = (now - at).total_seconds()
    return "just now" if seconds < MINUTE else f"{lasting(seconds)} ago"


def utc(at: datetime) -> str:
    """A time to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def lasting(seconds: float) -> str:
    """A duration in its largest unit: ``42 s``, ``5 min``, ``3 h``, ``12 d``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def score(value: float | None) -> str:
    """A score with the gate's number of decimals, or a dash if there is none."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"  # noqa: PLR2004 - an error in the target's unit


def took(started_at: datetime, finished_at: datetime | None, now: datetime) -> str:
    """How long a training took, or has taken so far in steps of five seconds, so that the page rarely changes."""
    if finished_at is not None:
        return lasting((finished_at - started_at).total_seconds())
    seconds = (now - started_at).total_seconds()
    return lasting(seconds // 5 * 5 if seconds < MINUTE else seconds)


def doing(record: RetrainRecord) -> str:
    """A running training's step and what it does."""
    if record.step is None:
        return record.progress or "starting"
    place = list(Step).index(record.step) + 1
    text = f"step {place} of {len(Step)}: {record.step.replace('_', ' ')}"
    return f"{text}; {record.progress}" if record.progress else text
