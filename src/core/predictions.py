"""What an engine answers, and the one rule by which probabilities become a label."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.feature_table import FeatureTable

# Trees vote in fractions that tie exactly in theory and differ in the last bits in practice: labels are the
# argmax of probabilities rounded to this many places, so that sklearn and ONNX Runtime break ties alike.
DECIMALS = 5
SCALE = 10.0**DECIMALS
# How far two answers to the same row may differ.
TOLERANCE = 1e-5

EngineName = Literal["onnx", "pyfunc"]


class Threshold(NamedTuple):
    """The label rule of two classes where it is not the larger probability.

    Attributes:
        positive: the place, 0 or 1, of the class that this is about.
        least: its least probability, from 0 to 1, at which it is the label.
    """

    positive: int
    least: float


class Predictions:
    """Answers to the rows of a table.

    Args:
        values: (n,) the class's name for a classification, a number for a regression; may be left out where the
            probabilities decide.
        probabilities: (n, classes); None where the model has none.
        classes: class names in the order of the probabilities.
    """

    def __init__(
        self,
        values: Sequence[Any] | None = None,
        probabilities: NDArray[np.floating[Any]] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.given = values
        self.probabilities = probabilities
        self.classes = classes

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The answers to a table, of those to its parts."""
        found = [part.probabilities for part in parts if part.probabilities is not None]
        given = [value for part in parts for value in part.given or ()]
        return cls(given or None, np.concatenate(found) if found else None, parts[0].classes)

    @cached_property
    def values(self) -> Sequence[Any]:
        """(n,) the class's name for a classification, a number for a regression."""
        if self.given is not None:
            return self.given
        return [self.classes[index] for index in self.indices.tolist()]

    @cached_property
    def indices(self) -> NDArray[np.intp]:
        """(n,) each label's place among the classes; where the probabilities decide."""
        indices: NDArray[np.intp] = np.argmax(self._whole, axis=1)
        return indices

    @property
    def shown(self) -> NDArray[np.float64]:
        """(n, classes) the probabilities to the places that decide the label; for answers that have them."""
        shown: NDArray[np.float64] = self._whole / SCALE
        return shown

    @cached_property
    def _whole(self) -> NDArray[np.float64]:
        """(n, classes) the probabilities as ``rounded`` has them, once for the labels and for what is shown."""
        assert self.probabilities is not None  # noqa: S101 - else the values are given, and nobody asks
        return rounded(self.probabilities)


class Engine(Protocol):
    """Runs one loaded model. It never changes, and may be called from any thread."""

    @property
    def name(self) -> EngineName:
        """Which kind of engine it is."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row, at least one. Errors of the model itself are of any kind."""


def values_agree(expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers of a regression, shape (n,), are equal but for the rounding of single precision.

    Beside its own size the largest one's counts, too: large leaves of the trees may cancel out.
    """
    rounding = TOLERANCE * np.abs(expected) + TOLERANCE / 10 * np.abs(expected).max(initial=0)
    return np.asarray(np.abs(found - expected) <= rounding)


def labels_from(probabilities: NDArray[np.floating[Any]], threshold: Threshold | None = None) -> NDArray[np.intp]:
    """Class indices, shape (n,), of probabilities, shape (n, classes): of the largest, or as the threshold says."""
    whole = rounded(probabilities)
    if threshold is None:
        largest: NDArray[np.intp] = np.argmax(whole, axis=1)
        return largest
    reached = whole[:, threshold.positive] >= round(threshold.least * SCALE)
    return np.where(reached, threshold.positive, 1 - threshold.positive)


def rounded(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities in units of the last place that counts: the whole numbers that decide the label, same shape."""
    # In double precision, as Python's own numbers are: one row may be rounded without numpy, to the same bits.
    whole: NDArray[np.float64] = np.rint(probabilities.astype(np.float64) * SCALE)
    return whole + 0.0  # there is no -0
