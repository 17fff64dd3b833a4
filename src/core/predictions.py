"""What an engine answers, and the one rule by which probabilities become a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.feature_table import FeatureTable

# Trees vote in fractions that tie exactly in theory and differ in the last bits in practice: labels are the
# argmax of probabilities rounded to this many places, so that sklearn and ONNX Runtime break ties alike.
DECIMALS = 5
# How far two answers to the same row may differ.
TOLERANCE = 1e-5

EngineName = Literal["onnx", "pyfunc"]


@dataclass(frozen=True)
class Predictions:
    """Answers to the rows of a table.

    Attributes:
        values: (n,) the class's name for a classification, a number for a regression.
        probabilities: (n, classes) in the order of the engine's classes; None where the model has none.
    """

    values: Sequence[Any]
    probabilities: NDArray[np.floating[Any]] | None = None


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


def labels_from(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Class indices, shape (n,), of probabilities, shape (n, classes)."""
    labels: NDArray[np.intp] = np.argmax(np.round(probabilities, DECIMALS), axis=1)
    return labels
