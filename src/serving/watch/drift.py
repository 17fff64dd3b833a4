"""Drift: whether the newest values of a column have the distribution of the training rows."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.category_keys import bucket_of, category_key, category_name
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.serving.watch.two_sample import Comparison, compare

# With fewer rows, only the largest changes would be detected.
MIN_ROWS = 200
# False alarms per window without drift, over all features of a model and its predictions. Half of the documented rate,
# because the test's p-values are approximations.
FALSE_ALARMS = 0.0005
# A smaller excess is not drift, however significant: a tenth of the rows, or a fifth of a standard deviation.
LARGE = 0.05
MISSING = -1

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Drift:
    """The drift of one column.

    Attributes:
        score: its distance from training beyond chance (0: none); NaN with fewer than ``MIN_ROWS`` rows.
        drifted: whether the distance is large, and significant over all columns of the model.
    """

    score: float
    drifted: bool

    @property
    def flag(self) -> float:
        """As a gauge: 1 drifted, 0 not, NaN with too few rows."""
        return math.nan if math.isnan(self.score) else float(self.drifted)

    @classmethod
    def of(cls, comparison: Comparison | None, tests: int) -> "Drift":
        """The drift by one of so many comparisons (Bonferroni 1936); ``comparison`` is None with too few rows."""
        if comparison is None:
            return cls(math.nan, drifted=False)
        significant = comparison.p_value * tests <= FALSE_ALARMS
        return cls(comparison.excess, drifted=significant and comparison.excess >= LARGE)


class Window:
    """The newest values of one column as keys, compared with the training rows.

    Args:
        reference: how many training rows have each key.
        size: the number of values that it holds.
        ordered: whether neighbouring keys are neighbouring values.
    """

    def __init__(self, reference: Mapping[int, int], size: int, *, ordered: bool = False) -> None:
        self._reference = np.array(sorted(reference), dtype=np.int64)
        self._counts = np.array([reference[key] for key in sorted(reference)], dtype=np.int64)
        self._ordered = ordered
        self._keys = np.zeros(size, dtype=np.int64)
        self._next = 0
        self.size = size
        self.rows = 0

    def add(self, keys: Keys) -> None:
        """Add values by their keys, oldest first; they replace the oldest ones."""
        newest = keys[-self.size :]
        self._keys[(self._next + np.arange(len(newest))) % self.size] = newest
        self._next = (self._next + len(newest)) % self.size
        self.rows = min(self.size, self.rows + len(newest))

    def compare(self) -> Comparison | None:
        """Compare the window with the training rows; None with fewer than ``MIN_ROWS`` values or no training rows."""
        if self.rows < MIN_ROWS or not self._counts.any():
            return None
        # Sorted by key, which depends neither on frequency nor on the sample that a key is from.
        keys, cells = np.unique(np.concatenate([self._reference, self._keys[: self.rows]]), return_inverse=True)
        training = np.bincount(cells[: len(self._reference)], self._counts, len(keys)).astype(np.int64)
        window = np.bincount(cells[len(self._reference) :], minlength=len(keys))
        return compare(training, window, ordered=self._ordered)


class FeatureWindow(Window):
    """The newest values of a feature.

    Args:
        reference: how many training rows have each key.
        size: the number of values that it holds.
        keys_of: the keys of values, shape (n,).
        limits: the smallest and the largest training value of a number; None for other columns.
        categories: the known values of a text column; None for other columns, and if unknown.
    """

    def __init__(
        self,
        reference: Mapping[int, int],
        size: int,
        keys_of: Callable[[NDArray[Any]], Keys],
        *,
        limits: tuple[float, float] | None = None,
        categories: Collection[str] | None = None,
    ) -> None:
        super().__init__(reference, size, ordered=limits is not None)
        self.keys_of = keys_of
        self.limits = limits
        self.categories = None if categories is None else frozenset(categories)
        self._known = None if categories is None else frozenset([*categories, None])

    def out_of_range(self, values: NDArray[Any]) -> int:
        """The number of values outside the limits, not counting missing ones."""
        if self.limits is None:
            return 0
        numbers = values.astype(np.float64)
        return int(((numbers < self.limits[0]) | (numbers > self.limits[1])).sum())

    def unknown(self, values: NDArray[Any]) -> int:
        """The number of values that are not categories, not counting missing ones."""
        if self._known is None:
            return 0
        return len(values) - sum(map(self._known.__contains__, values.tolist()))


def feature_windows(schema: FeatureSchema, reference: DriftReference | None, size: int) -> dict[str, FeatureWindow]:
    """A window for each column of the schema that the reference has, in the schema's order."""
    if reference is None:
        return {}
    windows = {column.name: _window_of(column, reference, size) for column in schema.columns}
    return {name: window for name, window in windows.items() if window is not None}


def class_window(classes: Sequence[str], reference: DriftReference | None, size: int) -> Window | None:
    """A window for the predicted classes, if there are any and their shares are known.

    They are compared with the predictions for rows that the model was not trained on or, for a model of an earlier
    release, with the classes of the training rows. A class's key is its index among the classes; any other label has
    the next one.
    """
    if reference is None or not classes:
        return None
    rows, known = reference.predicted_rows, reference.predicted_shares
    if not rows:
        rows, known = reference.rows, reference.class_shares
    return Window(_counts({place: known.get(name, 0.0) for place, name in enumerate(classes)}, rows), size)


def _window_of(column: Column, reference: DriftReference, size: int) -> FeatureWindow | None:
    name = column.name
    missing = reference.missing.get(name, 0.0) * reference.rows
    present, other = reference.rows - missing, {MISSING: round(missing)}
    if name in reference.edges:
        edges = np.array(reference.edges[name], dtype=np.float64)
        counts = _counts(dict(enumerate(reference.shares[name])), present) | other
        limits = reference.minimum[name], reference.maximum[name]
        return FeatureWindow(counts, size, lambda values: _bins(values, edges), limits=limits)
    known = tuple(reference.category_shares.get(name, ()))
    categories = (column.values or known or None) if column.type is ColumnType.STRING else None
    if name in reference.bucket_shares:
        counts = _counts(dict(enumerate(reference.bucket_shares[name])), present) | other
        return FeatureWindow(counts, size, lambda values: _keys(values, {}, bucket_of), categories=categories)
    if name in reference.category_shares:
        keys = {category: category_key(category) for category in known}
        by_key = Counter[int]()
        for category, share in reference.category_shares[name].items():
            by_key[keys[category]] += round(share * present)
        counts = {**by_key, **other}
        return FeatureWindow(counts, size, lambda values: _keys(values, keys, category_key), categories=categories)
    return None


def _counts(shares: Mapping[int, float], rows: float) -> dict[int, int]:
    return {key: round(share * rows) for key, share in shares.items()}


def _bins(values: NDArray[Any], edges: NDArray[np.float64]) -> Keys:
    """(n,) the bins of numbers; a value equal to an edge belongs to the bin on its left."""
    numbers = values.astype(np.float64)
    return np.where(np.isnan(numbers), MISSING, np.searchsorted(edges, numbers, side="left")).astype(np.int64)


def _keys(values: NDArray[Any], known: Mapping[str, int], key_of: Callable[[str], int]) -> Keys:
    """(n,) the keys of texts and booleans; known values are looked up."""

    def key(value: Any) -> int:
        is_missing = value is None or value != value  # noqa: PLR0124 - NaN alone differs from itself
        return MISSING if is_missing else key_of(category_name(value))

    return np.array([known[v] if v in known else key(v) for v in values.tolist()], dtype=np.int64)
