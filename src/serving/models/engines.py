"""The engines of the service, and which of them runs a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from src.core.errors import InvalidModelError
from src.core.mlmodel import ONNX_FLAVOUR, ModelDescription, describe
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    ONNX_FILE,
)
from src.core.onnx_engine import OnnxEngine
from src.serving.models.engine import ServedEngine
from src.serving.models.model_version import ModelVersion
from src.serving.models.pyfunc_engine import PyfuncEngine


class ServedOnnxEngine(OnnxEngine, ServedEngine):
    """A graph on ONNX Runtime. Predictions take microseconds."""

    title = "ONNX Runtime"
    platform = "onnxruntime_onnx"
    flavour = ONNX_FLAVOUR
    files = (MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE)

    @classmethod
    def load(cls, directory: Path, description: ModelDescription, *, verified: bool) -> Self:  # noqa: ARG003 - one rule for all
        """Load the graph of a model."""
        return cls(directory / ONNX_FILE, description.schema, description.classes, description.threshold)


# In the order of preference.
ENGINES: tuple[type[ServedEngine], ...] = (ServedOnnxEngine, PyfuncEngine)


@dataclass(frozen=True)
class EngineChoice:
    """The engine that a model is served on, why, and the model's description."""

    engine: type[ServedEngine]
    reason: str
    description: ModelDescription


def choose_engine(directory: Path, version: ModelVersion) -> EngineChoice:
    """Choose the engine for a model.

    Args:
        directory: contains at least the model's ``MLmodel``.
        version: the model's version.

    Raises:
        InvalidModelError: no engine fits; the message says what to do.
        OSError: the file cannot be read.
    """
    found = describe(directory)
    if version.verified and found.classes is None:
        raise InvalidModelError(f"the metadata in {MLMODEL_FILE} lacks {METADATA_CLASSES}")
    engine = next((engine for engine in ENGINES if engine.flavour in found.flavours), None)
    if engine is None:
        flavours = " and ".join(engine.flavour for engine in ENGINES)
        raise InvalidModelError(f"the model has neither of MLflow's flavours {flavours}; log it with one of them")
    engine.require()
    if engine.flavour == ONNX_FLAVOUR:
        return EngineChoice(engine, "the model has an ONNX flavour", found)
    why = f": {version.onnx_parity}" if version.onnx_parity else ""
    return EngineChoice(engine, f"the model has no ONNX flavour{why}", found)
