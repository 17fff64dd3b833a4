"""Chooses the outputs of an ONNX graph by their types, and turns their values into predictions."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from src.core.class_labels import HOW_TO_NAME, ClassLabels
from src.core.errors import InvalidModelError, ModelFailedError
from src.core.predictions import Label, Predictions, Threshold, labels_from

# The output that is read if several are numbers.
PROBABILITIES_OUTPUT = "probabilities"
NUMBERS = {"tensor(float)", "tensor(double)"}
TEXT = "tensor(string)"
LABELS = {"tensor(int64)", TEXT}
# Probabilities by class for each row, which skl2onnx's option zipmap makes.
MAPS = re.compile(r"seq\(map\((int64|string),tensor\((float|double)\)\)\)")
# A decision function's values do not sum to 1.
SUM_TOLERANCE = 1e-3
# Up to this many numbers are checked faster one by one than as an array.
FEW_NUMBERS = 64
HOW_TO_CONVERT = "convert the model with skl2onnx's option zipmap, which is its default"


class Outputs(Protocol):
    """The outputs of a graph that are read.

    Attributes:
        names: their names.
        classes: the labels; none for a regression.
        gives_probabilities: whether they have probabilities.
    """

    names: list[str]
    classes: tuple[Label, ...]
    gives_probabilities: bool

    def predictions(self, values: list[Any], rows: int) -> Predictions:
        """The predictions for so many rows from the outputs' values. Raises ModelFailedError."""


@dataclass
class Numbers:
    """A regression's numbers."""

    names: list[str]
    classes: tuple[Label, ...] = ()
    gives_probabilities: bool = False

    def predictions(self, values: list[Any], rows: int) -> Predictions:
        """The numbers, one per row."""
        numbers = _one_per_row(values[0], rows)
        _require_finite(numbers)
        return Predictions(numbers.tolist())


@dataclass
class Probabilities:
    """Probabilities, from which the labels follow by the common rule; ``keys`` are those of maps."""

    names: list[str]
    classes: tuple[Label, ...]
    threshold: Threshold | None
    keys: list[Any] | None = None
    gives_probabilities: bool = True

    def predictions(self, values: list[Any], rows: int) -> Predictions:
        """The probabilities, with labels if a threshold decides them."""
        shares = _matrix(values[0], self.keys)
        if shares.shape != (rows, len(self.classes)):
            raise ModelFailedError(
                f"the model's probabilities for {rows} rows and {len(self.classes)} classes have the shape "
                f"{shares.shape}"
            )
        _require_finite(shares)
        if self.threshold is None:
            return Predictions(probabilities=shares, classes=self.classes)
        labels = [self.classes[index] for index in labels_from(shares, self.threshold).tolist()]
        return Predictions(labels, shares, self.classes)


@dataclass
class Labels:
    """The graph's own labels and, where ``names`` has two outputs, their probabilities as maps with ``keys``."""

    names: list[str]
    labels: ClassLabels
    keys: list[Any] | None = None
    classes: tuple[Label, ...] = field(init=False)
    gives_probabilities: bool = field(init=False)

    def __post_init__(self) -> None:
        self.classes = self.labels.classes
        self.gives_probabilities = len(self.names) > 1

    def predictions(self, values: list[Any], rows: int) -> Predictions:
        """The labels, with probabilities if there are any."""
        labels = [self.labels.label_of(value) for value in _one_per_row(values[0], rows).tolist()]
        if len(values) == 1:
            return Predictions(labels)
        shares = _matrix(values[1], self.keys)
        _require_finite(shares)
        return Predictions(labels, shares, self.classes)


def choose_outputs(
    types: Mapping[str, str],
    classes: tuple[str, ...] | None,
    threshold: Threshold | None,
    first_map: Callable[[str], Mapping[Any, float]],
) -> Outputs:
    """The outputs to read.

    Labels follow from the probabilities if the metadata list the classes, as in this project's models. Otherwise they
    are the graph's own, and its maps of probabilities name the classes.

    Args:
        types: the outputs' types by name.
        classes: the metadata's; empty for a regression, None if they are not listed.
        threshold: the label rule, if it is not the largest probability.
        first_map: returns the value of an output of maps for a row.

    Raises:
        InvalidModelError: they are not one prediction per row; the message says what to do.
    """
    numbers = [name for name, kind in types.items() if kind in NUMBERS]
    labels = [name for name, kind in types.items() if kind in LABELS]
    maps = [name for name, kind in types.items() if MAPS.fullmatch(kind)]
    if PROBABILITIES_OUTPUT in numbers:
        numbers = [PROBABILITIES_OUTPUT]
    one_each = len(numbers) + len(maps) <= 1 and len(labels) <= 1
    if classes and one_each and (numbers or maps):
        keys = list(first_map(maps[0])) if maps else None
        named = classes if keys is None else ClassLabels.of(classes, keys).classes
        return Probabilities([*numbers, *maps], named, threshold, keys)
    if classes and one_each and labels:
        return Labels(labels, ClassLabels.of(classes, _own_labels(classes, types[labels[0]])))
    if classes is None and one_each and labels and maps:
        shares = first_map(maps[0])
        are_probabilities = abs(sum(shares.values()) - 1) <= SUM_TOLERANCE
        return Labels([*labels, *(maps if are_probabilities else [])], ClassLabels.of((), list(shares)), list(shares))
    if not classes and one_each and numbers and not labels:
        return Numbers(numbers)
    raise _refusal(types, lacks_names=classes is None and one_each and bool(labels))


def _refusal(types: Mapping[str, str], *, lacks_names: bool) -> InvalidModelError:
    """What is wrong with the outputs, and what to do."""
    found = ", ".join(f"{name} of type {kind}" for name, kind in types.items())
    if lacks_names:
        return InvalidModelError(
            f"the graph's outputs ({found}) do not name its classes: {HOW_TO_CONVERT}, or log it with {HOW_TO_NAME}"
        )
    return InvalidModelError(
        f"the graph's outputs are {found}; serving takes one output of floats for a regression, and one of labels "
        f"(integers or text) and one of probabilities (floats or maps) for a classification: {HOW_TO_CONVERT}"
    )


def _own_labels(classes: tuple[str, ...], kind: str) -> list[str]:
    """The text of the labels of a graph with these classes: itself, or its place in the list."""
    if kind == TEXT or all(name.removeprefix("-").isdecimal() for name in classes):
        return list(classes)
    return [str(place) for place in range(len(classes))]


def _one_per_row(values: NDArray[Any], rows: int) -> NDArray[Any]:
    """An output of shape (rows,) or (rows, 1) as (rows,)."""
    if values.size != rows:
        raise ModelFailedError(
            f"the model's output for {rows} rows has the shape {values.shape}; it must be one value per row. "
            f"If these are probabilities, log it with {HOW_TO_NAME}"
        )
    return values.reshape(-1)


def _matrix(values: Any, keys: list[Any] | None) -> NDArray[np.floating[Any]]:
    """Probabilities as an array of shape (rows, classes)."""
    if keys is None:
        return np.asarray(values)
    return np.array([[shares[key] for key in keys] for shares in values])


def _require_finite(numbers: NDArray[Any]) -> None:
    if numbers.size <= FEW_NUMBERS:  # faster than numpy's calls
        finite = all(map(math.isfinite, numbers.ravel().tolist()))
    else:
        finite = bool(np.isfinite(numbers).all())
    if not finite:
        raise ModelFailedError("the model's answer is not finite; its numbers grow too large on these values")
