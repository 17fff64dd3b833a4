"""A scikit-learn model as an engine: the reference for ONNX, and what the gate scores where there is no ONNX."""

from pathlib import Path
from typing import Any

import skops.io
from sklearn.pipeline import Pipeline

from src.core.errors import InvalidModelError, OtherCodeError, UntrustedModelError
from src.core.feature_table import FeatureTable
from src.core.model_registry import SKOPS_TRUSTED_TYPES
from src.core.own_code import is_own, require_own_code
from src.core.predictions import Predictions, Threshold, labels_from
from src.training.frames import frame_of


class SklearnEngine:
    """A fitted model. Serving runs the same model through mlflow.pyfunc.

    Args:
        model: fitted; a classification has ``predict_proba``.
        classes: class names in the order of the probabilities; empty for a regression.
        threshold: the label rule, if it is not the largest probability.
    """

    name: str = "pyfunc"

    def __init__(self, model: Pipeline, classes: tuple[str, ...], threshold: Threshold | None = None) -> None:
        self._model = model
        self._threshold = threshold
        self.classes = classes

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict every row; there must be at least one."""
        frame = frame_of(table)
        if not self.classes:
            return Predictions(self._model.predict(frame).tolist())
        probabilities = self._model.predict_proba(frame)
        return Predictions(
            [self.classes[index] for index in labels_from(probabilities, self._threshold)], probabilities
        )


def load_skops(file: Path, code_sha256: str | None = None) -> Any:
    """Load a model whose manifest is verified; nothing is unpickled, and only trusted types are created.

    Args:
        file: the model.
        code_sha256: of the ``src/pipeline`` whose classes the model contains; None if it contains none.

    Raises:
        InvalidModelError: the file is not a skops file.
        UntrustedModelError: it needs a type that is not in ``SKOPS_TRUSTED_TYPES``.
        OtherCodeError: it contains classes of another ``src/pipeline``.
        OSError: it cannot be read.
    """
    content = file.read_bytes()
    try:
        own = own_types(content)
        if own:
            require_own_code(code_sha256)
        return skops.io.loads(content, trusted=[*SKOPS_TRUSTED_TYPES, *own])
    except (UntrustedModelError, OtherCodeError):
        raise
    except Exception as error:  # an invalid file raises errors of many types
        raise InvalidModelError(f"{file.name} cannot be loaded") from error


def own_types(content: bytes) -> list[str]:
    """The adopter's classes in a skops file, by their full names.

    Raises:
        UntrustedModelError: naming types that are neither trusted nor the adopter's.
    """
    found = sorted(set(skops.io.get_untrusted_types(data=content)) - set(SKOPS_TRUSTED_TYPES))
    unknown = [name for name in found if not is_own(name)]
    if unknown:
        raise UntrustedModelError(
            f"the model contains the types {', '.join(unknown)}, which are not trusted; if loading them is "
            "harmless, add them to SKOPS_TRUSTED_TYPES in src/core/model_registry.py"
        )
    return found
