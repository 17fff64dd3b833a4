"""Finds out whether the holdout is large enough for the gate to tell two models apart, for `make check-data`."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.pipeline_config import PipelineConfig
from src.training.answers import Answers
from src.training.scoring import Metric
from src.training.splitting import Split

# With fewer rows of a class the standard error of its recall is up to 7 percentage points or more.
MIN_ROWS = 50


def size_warnings(split: Split, config: PipelineConfig, metric: Metric) -> list[str]:
    """What to do about a holdout that is too small; empty if it is large enough.

    Args:
        split: of the validated data set.
        config: sections ``dataset``, ``split`` and ``gate``.
        metric: the gate's.

    Raises:
        ConfigError: an own metric fails.
    """
    target = split.holdout[config.dataset.target]
    remedy = f"collect more rows or raise split.holdout_fraction ({config.split.holdout_fraction:g})"
    if config.dataset.classes is None:
        return [f"{_few(len(target), '')}; {remedy}"] if len(target) < MIN_ROWS else []
    counts = target.value_counts()
    rarest, rows = str(counts.index[-1]), int(counts.iloc[-1])
    warnings = [f"{_few(rows, f' of the class {rarest!r}')}; {remedy}"] if rows < MIN_ROWS else []
    step = 0.0 if metric.probabilities else _step(target, rarest, tuple(sorted(config.dataset.classes)), metric)
    if config.gate.tolerance < step:
        warnings.append(
            f"one wrong answer to a row of {rarest!r} changes {metric.name} by {step:.3g}, and gate.tolerance is "
            f"{config.gate.tolerance:g}, so that one row can decide; set gate.tolerance to "
            f"{math.ceil(step * 1000) / 1000:g} or more, {remedy}"
        )
    return warnings


def _few(rows: int, what: str) -> str:
    return f"the holdout has {rows} rows{what}; with fewer than {MIN_ROWS} the gate can hardly tell two models apart"


def _step(target: pd.Series, name: str, classes: tuple[str, ...], metric: Metric) -> float:
    """How far the score of perfect answers falls when one row of a class gets the answer of another class."""
    truth = target.to_numpy(dtype=str)
    wrong = truth.astype(object)
    wrong[np.flatnonzero(truth == name)[0]] = next(other for other in classes if other != name)
    scores = [
        metric.of(Answers("perfect answers", classes, truth, values, _certain(values, classes)))
        for values in (truth, wrong.astype(str))
    ]
    return abs(scores[0] - scores[1])


def _certain(values: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([values == name for name in classes], dtype=np.float64).T
