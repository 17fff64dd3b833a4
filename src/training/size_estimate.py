"""Estimates from small fits the size of a model and the memory that its training needs."""

import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from src.core.errors import ConfigError
from src.core.memory import MEGABYTE
from src.training.estimators import ROUNDS

# With fewer rows there is no estimate: the models are small.
MIN_ROWS = 20_000
# The small fits use these shares of the rows, and at most this many trees or rounds.
SHARES = (1 / 16, 1 / 4)
FEW_ROUNDS = 4
# Measured for forests: a version holds the model twice, as skops and as an ONNX graph of two thirds of that size.
# Converting to ONNX holds the trees' nodes as Python objects, in addition to the libraries and copies of the rows.
VERSION_FACTOR = 1.7
MEMORY_FACTOR = 10.0
BASE_BYTES = 600_000_000
ROW_COPIES = 6


@dataclass(frozen=True)
class Estimate:
    """The size of a version and the memory of its training, in bytes."""

    version_bytes: float
    memory_bytes: float


def estimate_of(model: Pipeline, rows: pd.DataFrame, target: NDArray[Any]) -> Estimate | None:
    """The estimate for a fit on these rows; None for few rows.

    Extrapolates the sizes of two small fits by a power law: trees grow with the rows, other models do not.

    Args:
        model: not fitted; clones of it are fitted.
        rows: (n, features).
        target: (n,).
    """
    if len(rows) < MIN_ROWS:
        return None
    random = np.random.default_rng(0)
    small, more = (
        _size(model, rows, target, random.permutation(len(rows))[: int(len(rows) * part)]) for part in SHARES
    )
    growth = max(0.0, math.log(more / small) / math.log(SHARES[1] / SHARES[0]))
    size = more * SHARES[1] ** -growth * _rounds(model)
    memory = BASE_BYTES + MEMORY_FACTOR * size + ROW_COPIES * float(rows.memory_usage(deep=False).sum())
    return Estimate(VERSION_FACTOR * size, memory)


def require_room(estimate: Estimate, max_version_bytes: float, memory_bytes: float) -> None:
    """Refuse a fit whose version or memory would be too large.

    Raises:
        ConfigError: with the estimate and the settings to change.
    """
    version = f"the version would have about {estimate.version_bytes / MEGABYTE:,.0f} MB"
    memory = f"its training would need about {estimate.memory_bytes / MEGABYTE:,.0f} MB of memory"
    remedy = "set max_depth, a larger min_samples_leaf or fewer n_estimators in model.params"
    if estimate.version_bytes > max_version_bytes:
        raise ConfigError(
            f"the model is too large: {version} and {memory}; model.max_megabytes is "
            f"{max_version_bytes / MEGABYTE:,.0f}; {remedy}, or raise model.max_megabytes"
        )
    if estimate.memory_bytes > memory_bytes:
        raise ConfigError(
            f"the model is too large: {memory} and {version}; {memory_bytes / MEGABYTE:,.0f} MB are available; "
            f"{remedy}, or give the training more memory (TRAIN_MEMORY in .env)"
        )


def _size(model: Pipeline, rows: pd.DataFrame, target: NDArray[Any], some: NDArray[np.intp]) -> int:
    few = {name: FEW_ROUNDS for name, value in _round_parameters(model).items() if value > FEW_ROUNDS}
    fitted = clone(model).set_params(**few).fit(rows.iloc[some], target[some])
    return len(pickle.dumps(fitted))


def _rounds(model: Pipeline) -> float:
    """The ratio of the model's trees or rounds to those of the small fits."""
    return max([1.0, *(value / FEW_ROUNDS for value in _round_parameters(model).values())])


def _round_parameters(model: Pipeline) -> dict[str, int]:
    """Numbers of trees or rounds by parameter name in the pipeline, without those of linear models."""
    return {
        name: value
        for name, value in model.get_params().items()
        if name.rpartition("__")[2] in ROUNDS and type(value) is int and _has_trees(model, name)
    }


def _has_trees(model: Pipeline, name: str) -> bool:
    owner = name.rpartition("__")[0]
    return "max_depth" in model.get_params()[owner].get_params(deep=False) if owner else False
