"""Synthetic tables of three classes, with independent rows, rows of customers, or rows of a time series."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter

Kind = Literal["hash", "group", "time"]
FEATURES = tuple(f"x{number}" for number in range(8))
CLASSES = ("blue", "green", "red")
TARGET = "label"
ROWS_PER_CUSTOMER = 5
# The share of a feature's variance, and of the labels' noise, that a customer's rows have in common.
SHARED = 0.4
# The correlation of a feature with its value in the previous row.
MEMORY = 0.4
NOISE = 0.5


@dataclass(frozen=True)
class World:
    """A distribution of rows; each draw has new customers, or a new time series."""

    kind: Kind
    random: np.random.Generator

    def rows(self, count: int, *, start: float = 0.0) -> pd.DataFrame:
        """Draw rows, the oldest first: features, the label, the customer and the day."""
        random = self.random
        size = count // ROWS_PER_CUSTOMER if self.kind == "group" else count
        customers = random.integers(0, size, count) if self.kind == "group" else np.arange(count)
        features = self._features(count, customers)
        noise = random.gumbel(size=(count, len(CLASSES))) * NOISE
        if self.kind == "group":
            own = random.gumbel(size=(size, len(CLASSES)))[customers] * NOISE
            noise = np.where(random.random((count, 1)) < SHARED, own, noise)
        labels = np.array(CLASSES)[np.argmax(_logits(features) + noise, axis=1)]
        names = random.integers(0, 2**40, size)[customers]
        frame = pd.DataFrame(features, columns=list(FEATURES))
        return frame.assign(**{TARGET: labels, "customer": names, "day": start + np.arange(count) / 100})

    def _features(self, count: int, customers: NDArray[np.intp]) -> NDArray[np.float64]:
        random = self.random
        own = random.normal(size=(count, len(FEATURES)))
        if self.kind == "group":
            shared = random.normal(size=(int(customers.max()) + 1, len(FEATURES)))[customers]
            return np.asarray(np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own)
        if self.kind == "time":
            own[1:] *= np.sqrt(1 - MEMORY**2)
            return np.asarray(lfilter([1.0], [1.0, -MEMORY], own, axis=0))
        return own


def _logits(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logits of each row, shape (n, classes)."""
    columns = features.T
    return np.column_stack(
        [
            1.5 * columns[0] + columns[1] * columns[2],
            1.5 * columns[3] - columns[1],
            np.abs(columns[4]) + columns[5] * columns[0],
        ]
    )
