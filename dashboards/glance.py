"""The panels of the first row that several dashboards share, for people on call."""

from grafana_foundation_sdk.models.common import BigValueTextMode

from dashboards.panels import BLUE, GREEN, GREY, RED, YELLOW, Query, Stat
from dashboards.queries import or_zero, series
from src.serving.watch.drift import LARGE, MIN_ROWS

FEW_ROWS = {"nan": (f"under {MIN_ROWS} rows", GREY)}
# Yellow where a drift is large; alerts also require significance.
DRIFT_STEPS = ((LARGE, YELLOW),)


def answering() -> Stat:
    """The number of replicas with a model."""
    return Stat(
        title="Replicas that answer",
        description="Inference processes that are up and have a model. If there is none, see NoModelServed and "
        "TargetDown in the runbook.",
        unit="none",
        queries=(Query(or_zero(f"sum({series('inference_model_loaded')})")),),
        base=RED,
        steps=((1, GREEN),),
        words={"0": ("none", RED)},
    )


def served() -> Stat:
    """The served model."""
    return Stat(
        title="Served model",
        description="Name and version of the served model; briefly more than one while replicas swap.",
        unit="none",
        queries=(Query(f"sum by (name, version) ({series('inference_model_info')})", "{{name}} {{version}}"),),
        named=BigValueTextMode.NAME,
        base=BLUE,
        nothing="no model",
    )


def drifted_features() -> Stat:
    """The number of drifted features."""
    return Stat(
        title="Drifted features",
        description="Features whose newest values differ from training by a large and significant amount. FeatureDrift "
        "fires at the red step.",
        unit="none",
        queries=(Query(f"sum(max by (feature) ({series('inference_feature_drifted')}))"),),
        steps=((1, RED),),
        words=FEW_ROWS,
        nothing="no reference",
    )


def last_verdict() -> Stat:
    """The outcome of the last training."""
    ended = f"timestamp(increase({series('monitor_runs_total')}[$__rate_interval]) > 0)[$__range:$__interval]"
    return Stat(
        title="Last training",
        description="Outcome and time of the newest training in the selected time range.",
        unit="dateTimeFromNow",
        queries=(Query(f"topk(1, max by (outcome) (max_over_time({ended}))) * 1000", "{{outcome}}"),),
        named=BigValueTextMode.VALUE_AND_NAME,
        base=BLUE,
        nothing="none in this range",
    )


def firing() -> Stat:
    """The number of firing alerts."""
    return Stat(
        title="Alerts that fire",
        description="Firing alerts of every job; the Retraining dashboard shows which, Alertmanager who is notified.",
        unit="none",
        queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
        steps=((1, RED),),
    )
