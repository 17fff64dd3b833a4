"""Panels that more than one dashboard has: what someone on call looks at first."""

from grafana_foundation_sdk.models.common import BigValueTextMode

from dashboards.panels import BLUE, GREEN, GREY, RED, YELLOW, Query, Stat
from dashboards.queries import or_zero, series
from src.services.inference.watch.drift import LARGE, MIN_ROWS

FEW_ROWS = {"nan": (f"under {MIN_ROWS} rows", GREY)}
# Yellow where a drift is large; the alerts also require that it is significant.
DRIFT_STEPS = ((LARGE, YELLOW),)


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


def drifted_features() -> Stat:
    """Whether the model still fits the data."""
    return Stat(
        title="Drifted features",
        description="Features whose newest values are not distributed as in training, significantly and by a large "
        "amount. FeatureDrift fires at the red step.",
        unit="none",
        queries=(Query(f"sum(max by (feature) ({series('inference_feature_drifted')}))"),),
        steps=((1, RED),),
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
