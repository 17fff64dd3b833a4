"""What an engine is to serving, and the one for ONNX graphs."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from src.core.feature_table import FeatureTable
from src.core.mlmodel import ONNX_FLAVOUR, ModelDescription
from src.core.model_registry import DRIFT_FILE, GOLDEN_FILE, MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE
from src.core.onnx_engine import OnnxEngine
from src.core.predictions import Label, Predictions


class ServedEngine(ABC):
    """One loaded model, immutable. To add an engine, derive a class and list it in ``ENGINES``."""

    name: str  # in answers and metrics; the optional dependency group of the engine has the same name
    title: ClassVar[str]  # on the page
    platform: ClassVar[str]  # in the Open Inference Protocol; Triton's name if it has one
    flavour: ClassVar[str]  # MLflow's name of the models that it runs
    modules: ClassVar[Sequence[str]] = ()  # of the dependency group; the engine cannot run without them
    files: ClassVar[Sequence[str] | None] = None  # those of a verified model that it reads; None for all
    is_parallel: ClassVar[bool] = False  # whether several threads may predict at the same time
    classes: tuple[str, ...]  # names in the order of the probabilities; empty for a regression
    labels: tuple[Label, ...]  # the classes as predictions show them, of one type, in the same order
    gives_probabilities: bool  # whether predictions have probabilities, as far as is known before the first

    @abstractmethod
    def __init__(self, directory: Path, description: ModelDescription, *, verified: bool) -> None:
        """Load a model from a directory that exists as long as the engine does.

        It is ``verified`` if the training pipeline registered it. Raises InvalidModelError if it cannot be loaded.
        """

    @abstractmethod
    def predict(self, table: FeatureTable) -> Predictions:
        """Predict every row; there must be at least one. A model may raise errors of any type."""

    def exclusive(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which no other thread predicts, for an engine whose calls wait for each other: to time one."""
        return contextlib.nullcontext()

    @classmethod
    def loading(cls, directory: Path) -> contextlib.AbstractContextManager[None]:  # noqa: ARG003 - others use it
        """The context to load and to test the model of a directory in."""
        return contextlib.nullcontext()


class ServedOnnxEngine(OnnxEngine, ServedEngine):
    """A graph on ONNX Runtime. Predictions take microseconds."""

    title = "ONNX Runtime"
    platform = "onnxruntime_onnx"
    flavour = ONNX_FLAVOUR
    is_parallel = True
    files = (MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE)

    def __init__(self, directory: Path, description: ModelDescription, *, verified: bool) -> None:  # noqa: ARG002 - one rule for all
        super().__init__(directory / ONNX_FILE, description.schema, description.classes, description.threshold)
