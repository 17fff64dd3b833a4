"""Drift: how far a sliding window of live values lies from the training values, as a population stability index."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import Column, FeatureSchema
from src.core.model_registry import DriftReference

# With fewer rows the index tells more about chance than about the data.
MIN_ROWS = 200
# What an empty bin counts as: an index must stay finite.
HALF = 0.5


def psi(expected: NDArray[np.float64], counts: NDArray[np.intp]) -> float:
    """The population stability index of binned values against the shares expected of them.

    Below 0.1 means no change worth a look, above 0.25 that the data are not those of training any more.

    Args:
        expected: (bins,) shares that sum to 1.
        counts: (bins,) how many values fell into each.
    """
    smooth = (counts + HALF) / (counts.sum() + HALF * len(counts))
    # As if the expected shares had been counted over as many rows, so that an empty bin on both sides is no difference.
    known = (expected * counts.sum() + HALF) / (counts.sum() + HALF * len(counts))
    return float(np.sum((smooth - known) * np.log(smooth / known)))


class Window:
    """The bins of the newest values.

    Args:
        expected: (bins,) the training values' shares.
        size: how many values it holds.
    """

    def __init__(self, expected: Sequence[float], size: int) -> None:
        self._expected = np.asarray(expected, dtype=np.float64)
        self._bins = np.zeros(size, dtype=np.intp)
        self._next = 0
        self.size = size
        self.rows = 0

    def add(self, bins: NDArray[np.intp]) -> None:
        """Take up values by their bins, oldest first; older ones make room."""
        size = self.size
        newest = bins[-size:]
        self._bins[(self._next + np.arange(len(newest))) % size] = newest
        self._next = (self._next + len(newest)) % size
        self.rows = min(size, self.rows + len(newest))

    @property
    def counts(self) -> NDArray[np.intp]:
        """(bins,) how many of the values fell into each."""
        return np.bincount(self._bins[: self.rows], minlength=len(self._expected))

    @property
    def score(self) -> float:
        """The index of the window; NaN while it has fewer than ``MIN_ROWS`` values."""
        return psi(self._expected, self.counts) if self.rows >= MIN_ROWS else float("nan")


class Bins(Protocol):
    """Sorts values into the bins of training."""

    def of(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """(n,) the bins of values, shape (n,)."""


class NumberBins:
    """Bins of a number, those of training; a missing value has one of its own, the last.

    Args:
        edges: inner edges, ascending; a value equal to one belongs to the bin on its left.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        # numpy sorts NaN behind infinity.
        self._edges = np.array([*edges, np.inf], dtype=np.float64)

    def of(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """(n,) the bins of values, shape (n,)."""
        return np.searchsorted(self._edges, values.astype(np.float64), side="left")


class CategoryBins:
    """One bin per category of training, then one for all others and one, the last, for a missing value."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._known: Mapping[Any, int] = {name: index for index, name in enumerate(categories)}

    def of(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """(n,) the bins of values, shape (n,)."""
        other = len(self._known)
        return np.array(
            [other + 1 if v is None else self._known.get(_key(v), other) for v in values.tolist()], dtype=np.intp
        )


def _key(value: object) -> str:
    """As JSON writes it, which is how the reference names it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class DriftWindow:
    """The newest values of one column, in the bins of training.

    Args:
        bins: those of training.
        expected: the training rows' share of each.
        size: how many values it holds.
        limits: the least and the largest training value; None where there is no order.
    """

    def __init__(
        self, bins: Bins, expected: Sequence[float], size: int, limits: tuple[float, float] | None = None
    ) -> None:
        self._bins = bins
        self._window = Window(expected, size)
        self._limits = limits

    def add(self, values: NDArray[Any]) -> int:
        """Take up values, oldest first; return how many lie outside the limits."""
        self._window.add(self._bins.of(values[-self._window.size :]))
        if self._limits is None:
            return 0
        numbers = values.astype(np.float64)
        return int(((numbers < self._limits[0]) | (numbers > self._limits[1])).sum())

    @property
    def rows(self) -> int:
        """How many values it holds."""
        return self._window.rows

    @property
    def score(self) -> float:
        """The population stability index; NaN while it has fewer than ``MIN_ROWS`` values."""
        return self._window.score


def feature_windows(schema: FeatureSchema, reference: DriftReference | None, size: int) -> dict[str, DriftWindow]:
    """A window for each column of the schema that the reference knows, in the schema's order."""
    if reference is None:
        return {}
    windows = {column.name: _window_of(column, reference, size) for column in schema.columns}
    return {name: window for name, window in windows.items() if window is not None}


def class_window(classes: tuple[str, ...], reference: DriftReference | None, size: int) -> Window | None:
    """A window for the predicted classes, where there are any and their training shares are known.

    Each class is a bin, in their order; one more is for all other labels.
    """
    if reference is None or not classes:
        return None
    shares = [reference.class_shares.get(name, 0.0) for name in classes]
    return Window([*shares, 0.0], size)


def _window_of(column: Column, reference: DriftReference, size: int) -> DriftWindow | None:
    name = column.name
    missing = reference.missing.get(name, 0.0)
    if name in reference.edges:
        # The shares are those of the values that are there.
        shares = [share * (1 - missing) for share in reference.shares[name]]
        limits = reference.minimum[name], reference.maximum[name]
        return DriftWindow(NumberBins(reference.edges[name]), [*shares, missing], size, limits)
    if name in reference.category_shares:
        known = {key: share * (1 - missing) for key, share in reference.category_shares[name].items()}
        return DriftWindow(CategoryBins(list(known)), [*known.values(), 0.0, missing], size)
    return None
