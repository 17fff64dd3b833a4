"""The names of a model's classes, from its description and from the library's own model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.mlmodel import BOOLEAN_CLASSES, BOOLEAN_TYPES, ModelDescription
from src.core.model_registry import METADATA_CLASSES


@dataclass(frozen=True)
class ClassNames:
    """Class names in the order of the probabilities (none for a regression), and their lookup by the model's labels."""

    classes: tuple[str, ...]
    by_label: dict[str, str]

    @classmethod
    def of(cls, description: ModelDescription, labels: Any) -> "ClassNames":
        """Find the class names of a model.

        Args:
            description: may list the class names in its metadata.
            labels: the library's own ``classes_``, or None.

        Raises:
            InvalidModelError: they contradict each other, or neither names the labels that the model returns.
        """
        named = description.classes or ()
        if labels is None:
            return cls._without_labels(description, named)
        if np.ndim(labels) != 1 or isinstance(labels[0], np.ndarray | list):
            raise InvalidModelError("the model has several outputs; serving supports one output per row")
        own = tuple(str(label) for label in np.asarray(labels).tolist())
        numbered = own == tuple(map(str, range(len(own))))
        if named and named != own and not (numbered and len(named) == len(own)):
            raise InvalidModelError(
                f"the {METADATA_CLASSES} in the model's metadata are not the model's own: {', '.join(own)}; "
                "log it with those, in that order"
            )
        names = named or own
        return cls(names, dict(zip(own, names, strict=True)))

    @classmethod
    def _without_labels(cls, description: ModelDescription, named: tuple[str, ...]) -> "ClassNames":
        if not named and description.answers in BOOLEAN_TYPES:
            named = BOOLEAN_CLASSES
        if not named and description.answers_labels:
            raise InvalidModelError(
                "the model's signature has labels as output, but their names are unknown; log it with "
                f"metadata={{'{METADATA_CLASSES}': [...]}}, in the order of its probabilities if it gives any"
            )
        return cls(named, {name: name for name in named})

    def name_of(self, label: object) -> str:
        """The class of a label. Raises ModelFailedError for an unknown label."""
        try:
            return self.by_label[str(label)]
        except KeyError:
            raise ModelFailedError("the model's answer is not one of its classes") from None
