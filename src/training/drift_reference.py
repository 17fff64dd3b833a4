"""The distribution of the training rows by column, with which live rows are compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.category_keys import BUCKETS, MAX_CATEGORIES, bucket_of, category_name
from src.core.dataset_config import DatasetConfig, DateFeature, IntegerFeature, NumberFeature
from src.core.model_registry import DriftReference

BINS = 10
NUMBERS = (NumberFeature, IntegerFeature, DateFeature)

Edges = Mapping[str, list[float]]


@dataclass(frozen=True)
class ColumnCounts:
    """Counts over rows; counts of two parts with the same edges can be added.

    Attributes:
        rows: the number of rows.
        bins: values per bin of each numeric column, without missing values.
        categories: values by name of each other column.
        missing: missing values of each column.
        minimum: the smallest value of each numeric column that has any.
        maximum: the largest value.
        classes: rows per class; empty for a regression.
    """

    rows: int
    bins: dict[str, Counter[int]]
    categories: dict[str, Counter[str]]
    missing: Counter[str]
    minimum: dict[str, float] = field(default_factory=dict)
    maximum: dict[str, float] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "ColumnCounts") -> "ColumnCounts":
        return ColumnCounts(
            self.rows + other.rows,
            {name: self.bins[name] + other.bins[name] for name in self.bins},
            {name: self.categories[name] + other.categories[name] for name in self.categories},
            self.missing + other.missing,
            {**self.minimum, **{n: min(low, self.minimum.get(n, low)) for n, low in other.minimum.items()}},
            {**self.maximum, **{n: max(high, self.maximum.get(n, high)) for n, high in other.maximum.items()}},
            self.classes + other.classes,
        )


def bin_edges(rows: pd.DataFrame, dataset: DatasetConfig) -> dict[str, list[float]]:
    """Inner edges of about ``BINS`` quantile bins for each number, integer and date; fewer where values repeat.

    A value that fills a whole decile, such as the 1 of a flag or a constant, has a bin of its own: otherwise rows that
    move away from it to smaller values would stay in its bin. A value equal to an edge belongs to the bin on its left.
    A column without values has no edges, and no bins.
    """
    columns = {name: _numbers(rows[name]) for name, kind in dataset.features.items() if isinstance(kind, NUMBERS)}
    return {name: _edges(values) for name, values in columns.items() if len(values)}


def count_columns(rows: pd.DataFrame, dataset: DatasetConfig, edges: Edges) -> ColumnCounts:
    """Count the values of each column.

    Args:
        rows: all rows or a part of them, with the features and the target.
        dataset: the features and their types.
        edges: the bins' edges, as ``bin_edges`` finds them in all rows or in a sample.
    """
    numbers = {name: _numbers(rows[name]) for name in edges}
    return ColumnCounts(
        rows=len(rows),
        bins={name: _bins(numbers[name], edges[name]) for name in edges},
        categories={name: _names(rows[name]) for name in dataset.features if name not in edges},
        missing=Counter({name: int(rows[name].isna().sum()) for name in dataset.features}),
        minimum={name: float(values.min()) for name, values in numbers.items() if len(values)},
        maximum={name: float(values.max()) for name, values in numbers.items() if len(values)},
        classes=_names(rows[dataset.target]) if dataset.task == "classification" else Counter(),
    )


def drift_reference(train: pd.DataFrame, dataset: DatasetConfig) -> DriftReference:
    """The distribution of the training rows, at least one."""
    edges = bin_edges(train, dataset)
    return reference_of([count_columns(train, dataset, edges)], edges)


def with_predictions(reference: DriftReference, labels: Sequence[str]) -> DriftReference:
    """The reference with a classifier's predictions for rows that it was not trained on.

    A model predicts rare classes less often than they occur, so its live predictions are not compared with the classes
    of the training rows.
    """
    update = {"predicted_rows": len(labels), "predicted_shares": _shares(Counter(labels))}
    return reference.model_copy(update=update)


def reference_of(parts: list[ColumnCounts], edges: Edges) -> DriftReference:
    """The distribution over all parts; columns with more than ``MAX_CATEGORIES`` values are counted by bucket."""
    counts = reduce(add, parts)
    few = {name: values for name, values in counts.categories.items() if len(values) <= MAX_CATEGORIES}
    return DriftReference(
        rows=counts.rows,
        edges=dict(edges),
        shares={name: _in_order(bins, len(edges[name]) + 1) for name, bins in counts.bins.items()},
        category_shares={name: _shares(values) for name, values in few.items()},
        bucket_shares={name: _buckets(values) for name, values in counts.categories.items() if name not in few},
        missing={name: count / counts.rows for name, count in counts.missing.items() if count},
        minimum=counts.minimum,
        maximum=counts.maximum,
        class_shares=_shares(counts.classes),
    )


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    return column.dropna().to_numpy(dtype=np.float64)


def _edges(values: NDArray[np.float64]) -> list[float]:
    deciles = np.quantile(values, np.linspace(0, 1, BINS + 1), method="lower")
    full = np.unique(deciles[1:][np.diff(deciles) == 0])
    # Clients may send float32: the bin also holds the nearest one.
    step = np.spacing(np.abs(full).astype(np.float32)).astype(np.float64)
    inner = np.setdiff1d(deciles[1:-1], full)
    edges: list[float] = np.unique(np.concatenate([inner, full - step, full + step])).tolist()
    return edges


def _bins(values: NDArray[np.float64], edges: list[float]) -> Counter[int]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return Counter(dict(enumerate(counts.tolist())))


def _names(column: pd.Series) -> Counter[str]:
    return Counter(map(category_name, column.dropna().tolist()))


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in sorted(counts.items())}


def _in_order(counts: Counter[int], cells: int) -> list[float]:
    return [counts[cell] / max(1, counts.total()) for cell in range(cells)]


def _buckets(counts: Counter[str]) -> list[float]:
    buckets = Counter[int]()
    for name, count in counts.items():
        buckets[bucket_of(name)] += count
    return _in_order(buckets, BUCKETS)
