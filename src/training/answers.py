"""A model's predictions together with the true values."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """A model's answers to n rows.

    Attributes:
        version: the model's version, or a description of a baseline, for messages.
        classes: class names in the order of the probabilities; empty for a regression.
        truth: (n,) the true class names (str), or numbers (float64) of a regression.
        values: (n,) the predictions, of the same type.
        probabilities: (n, classes), each row sums to 1; None where the model has none.
    """

    version: str
    classes: tuple[str, ...]
    truth: NDArray[Any]
    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[Any]) -> Self:
        """The answers to some of the rows.

        Args:
            rows: indices, which may repeat, or a mask of shape (n,).
        """
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return replace(self, truth=self.truth[rows], values=self.values[rows], probabilities=probabilities)

    def followed_by(self, other: Self) -> Self:
        """These answers followed by those of a model with the same classes."""
        probabilities = None
        if self.probabilities is not None and other.probabilities is not None:
            probabilities = np.concatenate([self.probabilities, other.probabilities])
        return replace(
            self,
            truth=np.concatenate([self.truth, other.truth]),
            values=np.concatenate([self.values, other.values]),
            probabilities=probabilities,
        )

    def among(self, classes: tuple[str, ...]) -> Self:
        """The same answers with probabilities of these classes; 0 for classes that the model does not know."""
        if self.probabilities is None or self.classes == classes:
            return self
        columns = np.zeros((len(self), len(classes)))
        for place, name in enumerate(classes):
            if name in self.classes:
                columns[:, place] = self.probabilities[:, self.classes.index(name)]
        total = columns.sum(axis=1, keepdims=True)
        # Without a probability for any of these classes, all are equally likely.
        probabilities = np.divide(columns, total, out=np.full_like(columns, 1 / len(classes)), where=total > 0)
        return replace(self, classes=classes, probabilities=probabilities)
