"""Sections ``split``, ``gate``, ``rollout`` and ``retention`` of ``config/pipeline.yaml``: how models are compared."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from src.core.canary_config import CanaryConfig
from src.core.dataset_config import ColumnName, Strict

Finite = Annotated[float, Field(allow_inf_nan=False)]
# Former names of metrics, and their replacements: scikit-learn's names, with the opposite sign.
FORMER_METRICS = {
    "log_loss": "neg_log_loss",
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
}


def _not_former(name: str) -> str:
    if name in FORMER_METRICS:
        raise ValueError(f"{name!r} is now written {FORMER_METRICS[name]!r}, and greater is better")
    return name


MetricName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_not_former)
]


class SplitConfig(Strict):
    """Which rows are held out for the gate; whether a row is depends on that row alone.

    ``hash`` holds out rows by a keyed hash of their ``dataset.id`` columns or, where there are none, of all features;
    ``group`` by a hash of ``dataset.group``; ``time`` holds out the newest rows by ``dataset.time``. With ``inherit``
    a retrain keeps the champion's columns, seed and share, so that rows never change sides.
    """

    by: Literal["hash", "group", "time"] = "hash"
    holdout_fraction: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    inherit: bool = True


class GateConfig(Strict):
    """When a challenger becomes champion.

    Its score must reach ``floor``, beat every constant answer, and be at least the champion's and the best former
    champion's minus ``tolerance``, on rows that none of them was trained on. ``minimums`` are minimum scores by other
    metrics. With ``confidence``, such as 0.9, the one-sided lower confidence bound of the difference must be above
    ``-tolerance``. For your own metrics where lower is better, floor and minimums are upper limits. A challenger that
    is significantly worse for a value of a column of ``slices`` (at least 50 rows) is rejected, and so are breaking
    changes for the champion's callers, unless ``allow_breaking``. A champion whose own classes have changed since
    cannot be compared, and is replaced only with a ``floor`` or ``allow_breaking``. With ``approval: manual``, a
    challenger that passes replaces the champion only once a person approves it; the first version needs no approval.
    """

    metric: MetricName
    floor: Finite | None = None
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    confidence: Annotated[float, Field(gt=0.5, lt=1, allow_inf_nan=False)] | None = None
    minimums: dict[MetricName, Finite] = Field(default_factory=dict)
    slices: list[ColumnName] = Field(default_factory=list)
    allow_breaking: bool = False
    approval: Literal["automatic", "manual"] = "automatic"

    @model_validator(mode="after")
    def _slices_differ(self) -> Self:
        if len(set(self.slices)) != len(self.slices):
            raise ValueError("slices must differ")
        return self


class RolloutConfig(Strict):
    """What happens before and after a promotion.

    With ``minimum_rows``, a version that passes the gate first answers so many logged rows beside the champion, as a
    shadow, and is aborted if true labels prove that it is worse; 0 switches it off. With ``canary``, it then answers a
    share of the requests.

    After a promotion, for ``watch_hours``, the previous champion goes on answering the logged rows, so that both can be
    compared on the same labels, errors and times; 0 switches it off. With ``automatic_rollback`` the previous champion
    returns if these prove that the new one is worse. ``max_slowdown`` is how many times as long a prediction may take
    as before; with null, times are not compared.
    """

    minimum_rows: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    canary: CanaryConfig = CanaryConfig()
    watch_hours: Annotated[float, Field(ge=0, le=24 * 365, allow_inf_nan=False)] = 24
    automatic_rollback: bool = True
    max_slowdown: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = 3.0


class RetentionConfig(Strict):
    """What is kept after a run.

    The newest ``versions`` of the model in addition to those with an alias, and finished retrain requests and ended
    rollouts for ``request_days``.
    """

    versions: Annotated[int, Field(ge=1)] = 20
    request_days: Annotated[int, Field(ge=1)] = 30
