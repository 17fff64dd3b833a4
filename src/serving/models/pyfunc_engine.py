"""The engine for a model of any MLflow flavour; pandas is imported here alone, when it is needed."""

import contextlib
import logging
import threading
import traceback
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from src.core.class_labels import ClassLabels
from src.core.errors import ModelFailedError
from src.core.feature_schema import Column, ColumnType
from src.core.feature_table import FeatureTable
from src.core.mlmodel import PYFUNC_FLAVOUR, ModelDescription
from src.core.own_code import require_own_code
from src.core.predictions import Predictions, labels_from
from src.serving.models.engine import ServedEngine
from src.serving.models.pyfunc_loader import code_of_its_own, load_pyfunc, raw_model_of, require_pyfunc

# A column's type is the same for all requests, so that a row's prediction does not depend on the other rows.
# A missing integer is NaN and a missing boolean is None, as in the frames that pandas reads from files.
PANDAS_TYPES: dict[tuple[str, bool], Any] = {
    ("double", True): np.float64,
    ("double", False): np.float64,
    ("float", True): np.float32,
    ("float", False): np.float32,
    ("long", True): np.int64,
    ("long", False): np.float64,
    ("integer", True): np.int32,
    ("integer", False): np.float64,
    ("boolean", True): np.bool_,
    ("boolean", False): np.object_,
    ("string", True): "str",
    ("string", False): "str",
}

logger = logging.getLogger(__name__)


class PyfuncEngine(ServedEngine):
    """One loaded model. Predictions take milliseconds; calls from several threads wait for each other.

    Loading runs code that the model's files name or contain.

    Args:
        directory: the whole model; it must exist as long as the engine does, as the model may read files later.
        description: the content of its ``MLmodel``.
        common_rule: whether labels follow from the probabilities, if there are any, as in training's gate and on ONNX;
            else the model's predictions are used.

    Raises:
        InvalidModelError: it cannot be loaded, or it and its description differ in its classes.
    """

    name = "pyfunc"
    title = "MLflow pyfunc"
    platform = "mlflow_pyfunc"
    flavour = PYFUNC_FLAVOUR

    def __init__(self, directory: Path, description: ModelDescription, *, common_rule: bool = False) -> None:
        self._lock = threading.Lock()
        self._model = load_pyfunc(directory)
        raw = raw_model_of(self._model)
        self._own = ClassLabels.of_library(description, getattr(raw, "classes_", None))
        self._predict_proba = getattr(raw, "predict_proba", None) if self._own.classes else None
        # Models without the method may return probabilities from ``predict``.
        self.gives_probabilities = self._predict_proba is not None
        self._common_rule = common_rule
        self.labels = self._own.classes
        self.classes = self._own.names
        self._threshold = description.threshold

    @classmethod
    def require(cls) -> None:
        """Raise InvalidModelError if MLflow is not installed."""
        require_pyfunc()

    @classmethod
    def loading(cls, directory: Path) -> contextlib.AbstractContextManager[None]:
        """A context with the modules of the model's own code folder."""
        return code_of_its_own(directory)

    @classmethod
    def load(cls, directory: Path, description: ModelDescription, *, verified: bool) -> Self:
        """Load a model. Raises OtherCodeError if it uses classes of another ``src/pipeline``."""
        if description.code_sha256 is not None:
            require_own_code(description.code_sha256)
        return cls(directory, description, common_rule=verified)

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict at least one row.

        Raises:
            ModelFailedError: the model raises, or its answers are not one finite number or known label for each row.
        """
        try:
            frame = frame_of(table)
            with self._lock:
                probabilities = None if self._predict_proba is None else self._predict_proba(frame)
                by_rule = self._common_rule and probabilities is not None
                answers = probabilities if by_rule else self._model.predict(frame)
            return self._predictions(answers, None if by_rule else probabilities, len(table))
        except ModelFailedError:
            raise
        except Exception as error:  # noqa: BLE001 - any error of the model; its message may repeat the rows
            logger.error("the model failed: %s", _place_of(error))  # noqa: TRY400 - for the same reason
            raise ModelFailedError(
                f"the model failed on these values ({type(error).__name__}); the log says where"
            ) from None

    def _predictions(self, answers: Any, probabilities: Any, rows: int) -> Predictions:
        values = np.asarray(answers)
        if values.ndim > 1 and values.shape[1:] == (1,):
            values = values[:, 0]
        if values.ndim > 1 and self.classes and probabilities is None:
            # A model whose predictions are probabilities, such as a booster.
            found = self._checked(values, rows)
            return Predictions([self.labels[index] for index in labels_from(found, self._threshold)], found)
        if values.shape != (rows,):
            raise ModelFailedError(
                f"the model's output for {rows} rows has the shape {values.shape}; it must be one value per row"
            )
        if self.classes:
            shares = None if probabilities is None else self._checked(probabilities, rows)
            return Predictions([self._own.label_of(value) for value in values.tolist()], shares)
        numbers = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ModelFailedError("the model's answer is not a finite number")
        return Predictions(numbers.tolist())

    def _checked(self, probabilities: Any, rows: int) -> NDArray[np.float64]:
        """Probabilities of shape (rows, classes)."""
        found = np.asarray(probabilities, dtype=np.float64)
        if found.shape != (rows, len(self.classes)):
            raise ModelFailedError(
                f"the model's probabilities for {rows} rows and {len(self.classes)} classes have the shape "
                f"{found.shape}"
            )
        if not np.isfinite(found).all():
            raise ModelFailedError("the model's probabilities are not finite numbers")
        return found


def frame_of(table: FeatureTable) -> Any:
    """The table as a pandas DataFrame of the signature's types."""
    import pandas as pd  # noqa: PLC0415 - heavy, and not installed where only ONNX is served

    columns = zip(table.schema.columns, table.columns, strict=True)
    return pd.DataFrame(
        {column.name: pd.Series(_filled(column, values), dtype=_type_of(column)) for column, values in columns}
    )


def _type_of(column: Column) -> Any:
    return PANDAS_TYPES[column.mlflow_type, column.required]


def _filled(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.object_) if column.type is ColumnType.BOOLEAN and not column.required else values


def _place_of(error: Exception) -> str:
    """The error's type and where it was raised, without its message, which may repeat what a client sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno} in {frame.name}"
