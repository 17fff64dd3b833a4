"""MLflow's own description of a model, read by the gate and by serving alike."""

from pathlib import Path
from typing import Any

import yaml

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.model_registry import METADATA_CLASSES, MLMODEL_FILE


def read_mlmodel(directory: Path) -> tuple[FeatureSchema, tuple[str, ...]]:
    """The input schema and the class names of the model in this directory.

    The names are in the order of the probabilities; there are none for a regression.

    Raises:
        InvalidModelError: its ``MLmodel`` lacks them or they are not what the contract says.
        OSError: it cannot be read.
    """
    try:
        content = _content(directory)
        inputs, classes = content["signature"]["inputs"], content["metadata"][METADATA_CLASSES]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InvalidModelError(f"{MLMODEL_FILE} lacks a signature or its metadata lacks {METADATA_CLASSES}") from error
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InvalidModelError(f"{METADATA_CLASSES} in {MLMODEL_FILE} must be a list of names")
    if len(set(classes)) != len(classes):
        raise InvalidModelError(f"{METADATA_CLASSES} in {MLMODEL_FILE} must be different names")
    return FeatureSchema.from_signature(inputs), tuple(classes)


def has_flavour(directory: Path, name: str) -> bool:
    """Whether the model in this directory says that it can be loaded in this way, such as ``onnx``.

    Raises:
        InvalidModelError: its ``MLmodel`` lists no flavours.
        OSError: it cannot be read.
    """
    try:
        return name in dict(_content(directory)["flavors"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidModelError(f"{MLMODEL_FILE} lists no flavors") from error


def _content(directory: Path) -> Any:
    return yaml.safe_load((directory / MLMODEL_FILE).read_text(encoding="utf-8"))
