"""Learns from the training rows the ranges and category values that the configuration leaves out."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from src.core.dataset_config import (
    LARGEST,
    BooleanFeature,
    CategoryFeature,
    DatasetConfig,
    DateFeature,
    Feature,
    Range,
)
from src.core.errors import DataError

# Each value is a one-hot column; with more values, a column is free text or an id.
MAX_VALUES = 1000

Limits = TypeVar("Limits", bound=Range)


@dataclass(frozen=True)
class ColumnSummary:
    """The range of a numeric column or the distinct values of another; empty where all values are missing."""

    minimum: float | None = None
    maximum: float | None = None
    values: frozenset[str] = frozenset()


def summarise(column: pd.Series) -> ColumnSummary:
    """The summary of a validated column, without missing values."""
    there = column.dropna()
    if there.empty:
        return ColumnSummary()
    if pd.api.types.is_numeric_dtype(there.dtype):
        return ColumnSummary(minimum=float(there.min()), maximum=float(there.max()))
    return ColumnSummary(values=frozenset(str(value) for value in there.unique()))


def learn_columns(train: pd.DataFrame, dataset: DatasetConfig) -> DatasetConfig:
    """The configuration with all limits and categories; configured ones are kept.

    Args:
        train: (rows, ``dataset.columns``), validated.
        dataset: the configured limits and categories.

    Raises:
        DataError: a category column has no value, or more than ``MAX_VALUES`` different ones.
    """
    features = {name: _learned(name, feature, train[name]) for name, feature in dataset.features.items()}
    update: dict[str, Any] = {"features": features}
    if dataset.target_range is not None:
        update["target_range"] = _within(dataset.target_range, summarise(train[dataset.target]))
    return dataset.model_copy(update=update)


def _learned(name: str, feature: Feature, column: pd.Series) -> Feature:
    if isinstance(feature, BooleanFeature | DateFeature):
        return feature
    if not isinstance(feature, CategoryFeature):
        return _within(feature, summarise(column))
    if feature.values is not None:
        return feature
    values = sorted(summarise(column).values)
    if not values:
        raise DataError(
            f"{name}: no training row has a value; remove the column or list dataset.features.{name}.values"
        )
    if len(values) > MAX_VALUES:
        raise DataError(
            f"{name}: {len(values)} different values are too many for a category ({MAX_VALUES} at most); make it a "
            f"number, a date or an id, set its type to ignore, or list dataset.features.{name}.values"
        )
    return feature.model_copy(update={"values": values})


def _within(limits: Limits, found: ColumnSummary) -> Limits:
    """The limits, with missing ones learned from the values; 0 to 1 where there is no value.

    Where both would be equal, the learned one is moved to the next single-precision number.
    """
    learned_low = found.minimum if found.minimum is not None else 0.0
    learned_high = found.maximum if found.maximum is not None else 1.0
    low = learned_low if limits.minimum is None else limits.minimum
    high = learned_high if limits.maximum is None else limits.maximum
    if low >= high and limits.maximum is None:
        high = min(_next(low, LARGEST), LARGEST)
    if low >= high and limits.minimum is None:
        low = max(_next(high, -LARGEST), -LARGEST)
    return limits.model_copy(update={"minimum": low, "maximum": high})


def _next(value: float, towards: float) -> float:
    """The single-precision number after a value, in the direction of another one."""
    return float(np.nextafter(np.float32(value), np.float32(towards)))
