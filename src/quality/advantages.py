"""The advantage of a new version over the previous one on rows with a label: numbers from -1 to 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.evidence import Floats


def class_advantages(truth: NDArray[Any], new: NDArray[Any], previous: NDArray[Any]) -> Floats:
    """The advantages for class labels, shape (n,): 1 where only the new version is right, -1 where only the other."""
    return np.asarray((new == truth).astype(np.float64) - (previous == truth))


def number_advantages(truth: Floats, new: Floats, previous: Floats) -> Floats:
    """The advantages for numbers, shape (n,): the difference of the absolute errors relative to their sum.

    It does not depend on the unit, and a single large error counts as much as any other.
    """
    mine, other = np.abs(new - truth), np.abs(previous - truth)
    total = mine + other
    return np.asarray(np.divide(other - mine, total, out=np.zeros_like(total), where=total > 0))
