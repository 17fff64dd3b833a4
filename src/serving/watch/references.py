"""The training rows of each column, with which live values are compared."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.category_keys import bucket_of, category_key, category_name
from src.core.column_rules import date_text
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.serving.watch.two_sample import Comparison, compare

MISSING = -1

Keys = NDArray[np.int64]


class Reference(NamedTuple):
    """The training rows of one column."""

    place: int  # the column's index in the schema; the predicted classes have the next one
    keys: Keys  # (k,) those that training rows have
    counts: Keys  # (k,) how many have each
    keys_of: Callable[[NDArray[Any]], Keys]  # of values, shape (n,)
    limits: tuple[float, float] | None = None  # of a number: the smallest and the largest training value
    categories: frozenset[str | None] | None = None  # of a text column, if known: its values, and None

    def compare(self, live: Keys) -> Comparison:
        """Compare live values by their keys, at least one."""
        # Sorted by key, which depends neither on frequency nor on the sample that a key is from.
        keys, cells = np.unique(np.concatenate([self.keys, live]), return_inverse=True)
        training = np.bincount(cells[: len(self.keys)], self.counts, len(keys)).astype(np.int64)
        window = np.bincount(cells[len(self.keys) :], minlength=len(keys))
        return compare(training, window, ordered=self.limits is not None)

    def unseen(self, values: NDArray[Any]) -> int:
        """The number of values outside the limits or the categories, not counting missing ones."""
        if self.limits is not None:
            numbers = values.astype(np.float64)
            return int(((numbers < self.limits[0]) | (numbers > self.limits[1])).sum())
        if self.categories is not None:
            return len(values) - sum(map(self.categories.__contains__, values.tolist()))
        return 0


def feature_references(schema: FeatureSchema, recorded: DriftReference) -> dict[str, Reference]:
    """The reference of each column that has one, in the schema's order."""
    found = {column.name: _feature(column, place, recorded) for place, column in enumerate(schema.columns)}
    return {name: reference for name, reference in found.items() if reference and reference.counts.any()}


def class_reference(classes: Sequence[str], place: int, recorded: DriftReference) -> Reference | None:
    """The predictions for rows that the model was not trained on; None if there are no classes, or none are known.

    Models of earlier releases have the classes of the training rows instead. A class's key is its index among the
    classes; any other label has the next one.
    """
    rows, shares = recorded.predicted_rows, recorded.predicted_shares
    if not rows:
        rows, shares = recorded.rows, recorded.class_shares
    counts = np.array([round(shares.get(name, 0.0) * rows) for name in classes])
    return Reference(place, np.arange(len(classes)), counts, lambda labels: labels) if counts.any() else None


def training_range(column: Column, recorded: DriftReference | None, *, digits: int) -> str:
    """The smallest and the largest training value of a number or date, as text; empty if there are none."""
    if recorded is None or column.name not in recorded.minimum or column.type is ColumnType.BOOLEAN:
        return ""
    text = date_text if column.type is ColumnType.DATE else f"{{:.{digits}g}}".format
    return f"{text(recorded.minimum[column.name])} to {text(recorded.maximum[column.name])}"


def _feature(column: Column, place: int, recorded: DriftReference) -> Reference | None:
    name = column.name
    known = {category: category_key(category) for category in recorded.category_shares.get(name, {})}
    shares: Sequence[float]
    keys_of: Callable[[NDArray[Any]], Keys]
    limits = categories = None
    if name in recorded.edges:
        shares, edges = recorded.shares[name], np.array(recorded.edges[name], dtype=np.float64)
        keys_of = partial(_bins, edges=edges)
        limits = recorded.minimum[name], recorded.maximum[name]
    elif name in recorded.bucket_shares:
        shares = recorded.bucket_shares[name]
        keys_of = partial(_keys, known={}, key_of=bucket_of)
    elif name in recorded.category_shares:
        shares = list(recorded.category_shares[name].values())
        keys_of = partial(_keys, known=known, key_of=category_key)
    else:
        return None
    if column.type is ColumnType.STRING and (texts := column.values or known):
        categories = frozenset([*texts, None])
    missing = recorded.missing.get(name, 0.0) * recorded.rows
    keys = np.array([*(known.values() or range(len(shares))), MISSING], dtype=np.int64)
    counts = np.array([*(round(share * (recorded.rows - missing)) for share in shares), round(missing)])
    return Reference(place, keys, counts, keys_of, limits, categories)


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
