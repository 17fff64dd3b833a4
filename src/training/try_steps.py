"""Fits the steps before the estimator on a sample, so that a broken transformer fails in seconds."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, LoopError, first_line
from src.core.own_code import OWN_FOLDER

SAMPLE_ROWS = 1000


def try_steps(build: Callable[[DatasetConfig], Pipeline], train: pd.DataFrame, dataset: DatasetConfig) -> None:
    """Fit each step before the estimator on the output of the one before, which must be numbers in the end.

    Args:
        build: makes the model, not fitted; the last step is the estimator.
        train: the training rows.
        dataset: names the columns, with the values that are learned from the rows.

    Raises:
        ConfigError: a step fails; it names the step and the line of the adopter's code.
    """
    sample = train.sample(min(SAMPLE_ROWS, len(train)), random_state=0)
    target = sample[dataset.target].to_numpy(dtype=object if dataset.classes else np.float64)
    made, step = sample[list(dataset.features)], "transformers()"
    try:
        model = build(dataset)
        for name, transformer in model.steps[:-1]:
            step = f"the step {name!r} ({type(transformer).__name__})"
            made = Pipeline([(name, transformer)]).fit_transform(made, target)
        if len(model.steps) > 1:
            step = "the last step before the estimator"
            _require_numbers(made, len(sample))
    except LoopError:
        raise
    except Exception as error:  # an adopter's code fails in any way
        message = f"{step} fails on {len(sample)} training rows: {type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"src/pipeline/features.py: {message}{_place(error)}") from error


def _require_numbers(made: Any, rows: int) -> None:
    """Require as many rows as were given, without text; the estimator decides about missing values."""
    if made.shape[0] != rows:
        raise ValueError(f"it returns {made.shape[0]} rows for {rows}")
    if not hasattr(made, "toarray"):  # a sparse matrix holds numbers alone
        pd.DataFrame(made).select_dtypes(["object", "str"]).astype(np.float64)


def _place(error: Exception) -> str:
    """The innermost line of the adopter's own code in a traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == OWN_FOLDER]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
