"""An engine's predictions, and the rule by which probabilities become labels."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.feature_table import FeatureTable

# Trees' votes may tie exactly in theory and differ in the last bits in practice: labels are the argmax of
# probabilities rounded to this many places, so that scikit-learn and ONNX Runtime resolve ties equally.
DECIMALS = 5
SCALE = 10.0**DECIMALS
# The maximum difference of two predictions for the same row.
TOLERANCE = 1e-5

# What a prediction shows for a class.
Label = str | bool | int | float


class Threshold(NamedTuple):
    """The label rule of two classes where it is not the larger probability.

    Attributes:
        positive: the index, 0 or 1, of the positive class.
        least: its probability, from 0 to 1, from which it is the label.
    """

    positive: int
    least: float


class Predictions:
    """Predictions for the rows of a table.

    Args:
        values: (n,) labels, or numbers for a regression; None to derive labels from the probabilities.
        probabilities: (n, classes); None where the model has none.
        classes: the classes' labels in the order of the probabilities.
    """

    def __init__(
        self,
        values: Sequence[Any] | None = None,
        probabilities: NDArray[np.floating[Any]] | None = None,
        classes: tuple[Label, ...] = (),
    ) -> None:
        self.given = values
        self.probabilities = probabilities
        self.classes = classes

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The predictions for a table, from those for its parts."""
        found = [part.probabilities for part in parts if part.probabilities is not None]
        given = [value for part in parts for value in part.given or ()]
        return cls(given or None, np.concatenate(found) if found else None, parts[0].classes)

    @cached_property
    def values(self) -> Sequence[Any]:
        """(n,) labels, or numbers for a regression."""
        if self.given is not None:
            return self.given
        return [self.classes[index] for index in self.indices.tolist()]

    @cached_property
    def indices(self) -> NDArray[np.intp]:
        """(n,) each label's index among the classes, derived from the probabilities."""
        indices: NDArray[np.intp] = np.argmax(self._whole, axis=1)
        return indices

    @property
    def shown(self) -> NDArray[np.float64]:
        """(n, classes) the probabilities, rounded like those that decide the label."""
        shown: NDArray[np.float64] = self._whole / SCALE
        return shown

    @cached_property
    def _whole(self) -> NDArray[np.float64]:
        """(n, classes) the result of ``rounded``, computed once for ``indices`` and ``shown``."""
        assert self.probabilities is not None  # noqa: S101 - else the values are given, and nobody asks
        return rounded(self.probabilities)


class Engine(Protocol):
    """One loaded model; immutable and thread-safe."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict every row; there must be at least one. A model may raise errors of any type."""


def values_agree(expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers of a regression are equal except for single-precision rounding, shape (n,).

    The tolerance also grows with the largest number: large leaves of trees may cancel out.
    """
    rounding = TOLERANCE * np.abs(expected) + TOLERANCE / 10 * np.abs(expected).max(initial=0)
    return np.asarray(np.abs(found - expected) <= rounding)


def labels_from(probabilities: NDArray[np.floating[Any]], threshold: Threshold | None = None) -> NDArray[np.intp]:
    """Class indices, shape (n,), from probabilities, shape (n, classes): the largest, or by the threshold."""
    whole = rounded(probabilities)
    if threshold is None:
        largest: NDArray[np.intp] = np.argmax(whole, axis=1)
        return largest
    reached = whole[:, threshold.positive] >= round(threshold.least * SCALE)
    return np.where(reached, threshold.positive, 1 - threshold.positive)


def rounded(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities rounded to ``DECIMALS`` places, as whole numbers in units of the last place; same shape."""
    # In double precision like Python's floats: a row rounded without numpy has the same bits.
    whole: NDArray[np.float64] = np.rint(probabilities.astype(np.float64) * SCALE)
    return whole + 0.0  # turns -0 into 0
