"""The labels of a model's classes, from its description and from the library's own model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.mlmodel import BOOLEAN_TYPES, ModelDescription
from src.core.model_registry import METADATA_CLASSES
from src.core.predictions import Label

HOW_TO_NAME = f"metadata={{'{METADATA_CLASSES}': [...]}}, in the order of its probabilities if it gives any"


@dataclass(frozen=True)
class ClassLabels:
    """Labels in the order of the probabilities (none for a regression), and their lookup by the model's own values.

    They are the names that the metadata list, else the model's own values: numbers, booleans or text.
    """

    classes: tuple[Label, ...]
    by_own: dict[str, Label]

    @property
    def names(self) -> tuple[str, ...]:
        """The labels as text."""
        return tuple(map(str, self.classes))

    @classmethod
    def of(cls, named: tuple[str, ...], own: Sequence[Any]) -> "ClassLabels":
        """The classes of a model whose own values are known.

        Args:
            named: the names in its metadata, if any; they may replace the numbers 0, 1, …
            own: its own values.

        Raises:
            InvalidModelError: they contradict each other.
        """
        texts = tuple(map(str, own))
        numbered = texts == tuple(map(str, range(len(texts))))
        if named and named != texts and not (numbered and len(named) == len(texts)):
            raise InvalidModelError(
                f"the {METADATA_CLASSES} in the model's metadata are not the model's own: {', '.join(texts)}; "
                "log it with those, in that order"
            )
        labels: tuple[Label, ...] = named or tuple(value if isinstance(value, Label) else str(value) for value in own)
        return cls(labels, dict(zip(texts, labels, strict=True)))

    @classmethod
    def of_library(cls, description: ModelDescription, own: Any) -> "ClassLabels":
        """The classes of a library's model.

        Args:
            description: may list the names in its metadata.
            own: the library's own ``classes_``, or None.

        Raises:
            InvalidModelError: they contradict each other, or neither names the labels that the model returns.
        """
        named = description.classes or ()
        if own is not None:
            if np.ndim(own) != 1 or isinstance(own[0], np.ndarray | list):
                raise InvalidModelError("the model has several outputs; serving supports one output per row")
            return cls.of(named, np.asarray(own).tolist())
        if not named and description.answers in BOOLEAN_TYPES:
            return cls.of((), (False, True))
        if not named and description.answers_labels:
            raise InvalidModelError(
                f"the model's signature has labels as output, but their names are unknown; log it with {HOW_TO_NAME}"
            )
        return cls.of(named, named)

    def label_of(self, own: object) -> Label:
        """The label for one of the model's own values. Raises ModelFailedError for an unknown value."""
        try:
            return self.by_own[str(own)]
        except KeyError:
            raise ModelFailedError("the model's answer is not one of its classes") from None
