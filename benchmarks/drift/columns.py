"""Columns with a known distribution, from which training rows and traffic are drawn, with or without drift."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.dataset_config import DatasetConfig
from src.serving.watch.references import Reference, feature_references
from src.training.drift_reference import ColumnCounts, drift_reference, reference_of

NAME = "x"
# The share of the mass that a drift moves.
MOVED = 0.2

Random = np.random.Generator
Draw = Callable[[Random, int], NDArray[Any]]


class Column(ABC):
    """One column.

    Attributes:
        drifts: functions that draw drifted values, by the name of the drift.
    """

    drifts: dict[str, Draw]

    @abstractmethod
    def reference(self, random: Random, rows: int) -> Reference:
        """A fresh reference of so many training rows."""

    @abstractmethod
    def draw(self, random: Random, size: int) -> NDArray[Any]:
        """Draw values without drift, shape (size,)."""


class Categories(Column):
    """A column of categories.

    Args:
        shares: (k,) the share of each category, descending; they sum to 1.
    """

    def __init__(self, shares: NDArray[np.float64]) -> None:
        self._shares = shares
        self._names = np.array([f"value {place}" for place in range(len(shares))], dtype=object)
        self._schema = _dataset("category").feature_schema
        onto = shares.copy()
        place = len(shares) // 2
        onto *= 1 - MOVED / (1 - shares[place])
        onto[place] = shares[place] + MOVED
        spread = shares.copy()
        # Every second category gains, so that all categories change and a fifth of the mass moves.
        gains = np.arange(len(shares)) % 2 == 1
        spread[gains] *= 1 + MOVED / shares[gains].sum()
        spread[~gains] *= 1 - MOVED / shares[~gains].sum()
        self.drifts = {
            "onto one category": lambda random, size: self._draw(random, size, onto),
            "onto a new category": self._with_new,
            "spread over half of the categories": lambda random, size: self._draw(random, size, spread),
        }

    def reference(self, random: Random, rows: int) -> Reference:
        """A fresh reference of so many training rows."""
        drawn = random.multinomial(rows, self._shares).tolist()
        names = Counter({name: count for name, count in zip(self._names.tolist(), drawn, strict=True) if count})
        reference = reference_of([ColumnCounts(rows, {}, {NAME: names}, Counter())], {})
        return feature_references(self._schema, reference)[NAME]

    def draw(self, random: Random, size: int) -> NDArray[Any]:
        """Draw values without drift, shape (size,)."""
        return self._draw(random, size, self._shares)

    def _draw(self, random: Random, size: int, shares: NDArray[np.float64]) -> NDArray[Any]:
        return self._names[random.choice(len(shares), size, p=shares)]

    def _with_new(self, random: Random, size: int) -> NDArray[Any]:
        return np.where(random.random(size) < MOVED, "new", self.draw(random, size))


class Numbers(Column):
    """A column of numbers.

    Args:
        draw: draws values without drift.
        deviation: their standard deviation.
    """

    def __init__(self, draw: Draw, deviation: float) -> None:
        self._draw = draw
        self._dataset = _dataset("number")
        self.drifts = {
            "1 standard deviation": lambda random, size: draw(random, size) + deviation,
            "a fifth at one value": lambda random, size: self._partly(random, size, deviation / 2),
            "a fifth missing": lambda random, size: self._partly(random, size, np.nan),
        }

    def reference(self, random: Random, rows: int) -> Reference:
        """A fresh reference of so many training rows."""
        train = pd.DataFrame({NAME: self._draw(random, rows), "y": 0.0})
        return feature_references(self._dataset.feature_schema, drift_reference(train, self._dataset))[NAME]

    def draw(self, random: Random, size: int) -> NDArray[Any]:
        """Draw values without drift, shape (size,)."""
        return self._draw(random, size)

    def _partly(self, random: Random, size: int, value: float) -> NDArray[Any]:
        return np.where(random.random(size) < MOVED, value, self._draw(random, size))


def _dataset(kind: str) -> DatasetConfig:
    features = {NAME: {"type": kind, "missing": True}}
    raw = {"source": "x.csv", "target": "y", "features": features, "target_range": {}, "duplicates": "keep"}
    return DatasetConfig.model_validate(raw)


def _half_zero(random: Random, size: int) -> NDArray[np.float64]:
    return np.where(random.random(size) < 0.5, 0.0, random.exponential(size=size).round(1))  # noqa: PLR2004 - half


def _at_maximum(random: Random, size: int) -> NDArray[np.float64]:
    return np.where(random.random(size) < 0.92, 100.0, random.uniform(0, 99, size))  # noqa: PLR2004 - most


def _with_gaps(random: Random, size: int) -> NDArray[np.float64]:
    return np.where(random.random(size) < 0.05, np.nan, random.standard_normal(size))  # noqa: PLR2004 - one in twenty


def _equal(count: int) -> Column:
    return Categories(np.full(count, 1 / count))


def _zipf(count: int) -> Column:
    shares = 1 / np.arange(1, count + 1)
    return Categories(shares / shares.sum())


RARE = "2 categories, 97 : 3"
COLUMNS: dict[str, Column] = {
    "2 categories": _equal(2),
    "20 categories": _equal(20),
    "100 categories": _equal(100),
    "500 categories": _equal(500),
    RARE: Categories(np.array([0.97, 0.03])),
    "20 categories, Zipf": _zipf(20),
    "100 categories, Zipf": _zipf(100),
    "500 categories, Zipf": _zipf(500),
    "5,000 categories, Zipf": _zipf(5000),
    "numbers, normal": Numbers(lambda random, size: random.standard_normal(size), 1.0),
    "numbers, normal, 5 % missing": Numbers(_with_gaps, 1.0),
    "numbers, half of them 0": Numbers(_half_zero, 0.87),
    "numbers, 92 % at the maximum": Numbers(_at_maximum, 16.0),
}
# 30 features of mixed kind.
MODEL: tuple[str, ...] = tuple(
    name
    for name, times in {
        "numbers, normal": 6,
        "numbers, normal, 5 % missing": 3,
        "numbers, half of them 0": 3,
        "2 categories": 3,
        RARE: 3,
        "20 categories": 3,
        "20 categories, Zipf": 3,
        "100 categories, Zipf": 3,
        "500 categories, Zipf": 2,
        "5,000 categories, Zipf": 1,
    }.items()
    for _ in range(times)
)
