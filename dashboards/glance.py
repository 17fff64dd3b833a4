"""Panels that more than one dashboard has: what someone on call looks at first."""

from grafana_foundation_sdk.models.common import BigValueTextMode

from dashboards.panels import BLUE, GREEN, GREY, RED, YELLOW, Query, Stat
from dashboards.queries import or_zero, series
from src.services.inference.watch.drift import MIN_ROWS

# What is taken for worth a look below the limit of the alert: the index's usual reading.
NOTABLE_DRIFT = 0.1
FEW_ROWS = {"nan": (f"under {MIN_ROWS} rows", GREY)}


def drift_steps(limit: float) -> tuple[tuple[float, str], ...]:
    """Yellow where a drift is worth a look, red where the alert of this limit fires."""
    return ((NOTABLE_DRIFT, YELLOW), (limit, RED))


def answering() -> Stat:
    """How many replicas can answer."""
    return Stat(
        title="Replicas that answer",
        description="Inference processes that are up and have a model. None: see NoModelServed and TargetDown "
        "in the runbook.",
        unit="none",
        queries=(Query(or_zero(f"sum({series('inference_model_loaded')})")),),
        base=RED,
        steps=((1, GREEN),),
        words={"0": ("none", RED)},
    )


def served() -> Stat:
    """Which model answers."""
    return Stat(
        title="Served model",
        description="Name and version of the model that answers; more than one for a moment while replicas swap.",
        unit="none",
        queries=(Query(f"sum by (name, version) ({series('inference_model_info')})", "{{name}} {{version}}"),),
        named=BigValueTextMode.NAME,
        base=BLUE,
        nothing="no model",
    )


def largest_drift(limits: dict[str, float]) -> Stat:
    """Whether the model still fits the data."""
    return Stat(
        title="Largest drift",
        description="The highest population stability index among the features: how far the newest rows lie "
        "from those of training. Worth a look from the yellow step on; FeatureDrift fires at the "
        "red one.",
        unit="none",
        decimals=2,
        queries=(Query(f"max({series('inference_drift_score')})"),),
        steps=drift_steps(limits["FeatureDrift"]),
        words=FEW_ROWS,
        nothing="no reference",
    )


def last_verdict() -> Stat:
    """What the last training did."""
    ended = f"timestamp(increase({series('monitor_runs_total')}[$__rate_interval]) > 0)[$__range:$__interval]"
    return Stat(
        title="Last training",
        description="How the newest training of the chosen time ended, and when.",
        unit="dateTimeFromNow",
        queries=(Query(f"topk(1, max by (outcome) (max_over_time({ended}))) * 1000", "{{outcome}}"),),
        named=BigValueTextMode.VALUE_AND_NAME,
        base=BLUE,
        nothing="none in this time",
    )


def firing() -> Stat:
    """How many alerts fire."""
    return Stat(
        title="Alerts that fire",
        description="Alerts of every job that fire now; the Retraining dashboard shows which, Alertmanager whom"
        " they tell.",
        unit="none",
        queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
        steps=((1, RED),),
    )
