"""A holdout that is too small for the gate is reported with what to do."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.errors import ConfigError
from src.core.pipeline_config import PipelineConfig
from src.training.holdout_size import size_warnings
from src.training.scoring import Metric, metrics_of
from src.training.splitting import Split, SplitRule
from tests.support.training import config

RULE = SplitRule(by="hash", columns=["x"], seed=1, share=0.3)


def settings(*classes: str, **gate: Any) -> PipelineConfig:
    target: dict[str, Any] = {"classes": list(classes)}
    if not classes:
        target = {"classes": None, "min_rows_per_class": None, "target_range": {}}
    return config(dataset={"target": "y", "features": {"x": {}}} | target, gate=gate)


def warnings_of(settings: PipelineConfig, target: list[Any], own: dict[str, Metric] | None = None) -> list[str]:
    frame = pd.DataFrame({"x": np.arange(len(target), dtype=float), "y": target})
    split = Split(frame, np.ones(len(frame), dtype=bool), RULE)
    return size_warnings(split, settings, metrics_of(settings, own or {})[settings.gate.metric])


def rows(**counts: int) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def test_few_rows_of_the_rarest_class_are_reported() -> None:
    accuracy = settings("no", "yes", metric="accuracy", tolerance=0.01)
    (warning,) = warnings_of(accuracy, rows(no=400, yes=49))
    assert warning == (
        "the holdout has 49 rows of the class 'yes'; with fewer than 50 the gate can hardly tell two models apart; "
        "collect more rows or raise split.holdout_fraction (0.3)"
    )
    assert warnings_of(accuracy, rows(no=400, yes=50)) == []


def test_few_rows_of_a_regression_are_reported() -> None:
    regression = settings(metric="r2", tolerance=0.0)
    (warning,) = warnings_of(regression, list(np.arange(49.0)))
    assert warning.startswith("the holdout has 49 rows; with fewer than 50 ")
    assert warnings_of(regression, list(np.arange(50.0))) == []


@pytest.mark.parametrize(
    ("metric", "step"),
    [
        ("accuracy", 1 / 160),
        ("recall", 1 / 60),
        ("balanced_accuracy", 1 / 120),
        ("f1", 1 - 2 * 59 / (2 * 59 + 1)),
    ],
)
def test_tolerance_below_what_one_row_changes_is_reported(metric: str, step: float) -> None:
    target, options = rows(no=100, yes=60), {"metric": metric, "minimums": {"precision": 0.1}}
    (warning,) = warnings_of(settings("no", "yes", tolerance=step * 0.99, **options), target)
    assert warning.startswith(
        f"one wrong answer to a row of 'yes' changes {metric} by {step:.3g}, and gate.tolerance is "
    )
    assert "so that one row can decide; set gate.tolerance to 0.0" in warning
    suggested = float(warning.partition("set gate.tolerance to ")[2].split()[0])
    assert warnings_of(settings("no", "yes", tolerance=suggested, **options), target) == []


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "neg_log_loss"])
def test_metric_of_probabilities_has_no_steps(metric: str) -> None:
    assert warnings_of(settings("no", "yes", metric=metric, tolerance=0.0, floor=None), rows(no=100, yes=60)) == []


def test_own_metric_is_tried() -> None:
    own = {
        "own": Metric(
            "own", lambda truth, answers, probabilities, _: float((truth == answers).mean()) + 0 * probabilities[0, 1]
        )
    }
    (warning,) = warnings_of(settings("no", "yes", metric="own", tolerance=0.0), rows(no=100, yes=60), own)
    assert "changes own by 0.00625" in warning
    own = {"own": Metric("own", lambda *_: 1 / 0)}
    with pytest.raises(ConfigError, match="the metric own fails on 160 rows: ZeroDivisionError"):
        warnings_of(settings("no", "yes", metric="own", tolerance=0.0), rows(no=100, yes=60), own)
