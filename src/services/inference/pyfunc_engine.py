"""A model of any MLflow flavour behind the engines' contract; only this module imports MLflow and pandas, and late."""

import importlib.util
import logging
import os
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import Column, ColumnType
from src.core.feature_table import FeatureTable
from src.core.mlmodel import ModelDescription
from src.core.predictions import Predictions, labels_from
from src.services.inference.pyfunc_classes import ClassNames

# Each column always has the same type, whatever the rows of a request are: a row gets the answer that it gets alone.
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
MAX_REASON = 300

logger = logging.getLogger(__name__)


def require_pyfunc() -> None:
    """Raise InvalidModelError, saying what to install, where MLflow cannot be imported."""
    if any(importlib.util.find_spec(name) is None for name in ("mlflow", "pandas")):
        raise InvalidModelError(
            "the model has no ONNX flavour, and this environment lacks the dependency group pyfunc that could load it: "
            "set INFERENCE_EXTRA_GROUPS=pyfunc in .env and run docker compose up -d --build inference (without Docker: "
            ".uv/bin/uv sync --locked --group pyfunc)"
        )


class PyfuncEngine:
    """One loaded model. Its answers take milliseconds; calls from several threads wait for each other.

    Loading runs code that the model's files name or hold.

    Args:
        directory: the whole model; it must stay as long as the engine does, as the model may read files late.
        description: what its ``MLmodel`` says.

    Raises:
        InvalidModelError: it cannot be loaded, or it and its description differ in its classes.
    """

    name: Literal["pyfunc"] = "pyfunc"

    def __init__(self, directory: Path, description: ModelDescription) -> None:
        self._lock = threading.Lock()
        self._model = _load(directory)
        raw = _raw_model(self._model)
        self._names = ClassNames.of(description, getattr(raw, "classes_", None))
        self._predict_proba = getattr(raw, "predict_proba", None) if self._names.classes else None
        self.classes = self._names.classes

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row, at least one.

        Raises:
            ModelFailedError: the model raises, or its answers are not one finite number or known label for each row.
        """
        try:
            frame = frame_of(table)
            with self._lock:
                answers = self._model.predict(frame)
                probabilities = self._predict_proba(frame) if self._predict_proba is not None else None
            return self._predictions(answers, probabilities, len(table))
        except ModelFailedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the model raises; what it says may repeat the rows
            logger.error("the model failed: %s", _place_of(error))  # noqa: TRY400 - for the same reason
            raise ModelFailedError(
                f"the model failed on these values ({type(error).__name__}); the log says where"
            ) from None

    def _predictions(self, answers: Any, probabilities: Any, rows: int) -> Predictions:
        values = np.asarray(answers)
        if values.ndim > 1 and values.shape[1:] == (1,):
            values = values[:, 0]
        if values.ndim > 1 and self.classes and probabilities is None:
            # A model that answers with probabilities alone, as boosters do.
            probabilities = values
            values = np.array(self.classes, dtype=object)[labels_from(self._checked(probabilities, rows))]
        if values.shape != (rows,):
            raise ModelFailedError(
                f"the model's answer to {rows} rows has the shape {values.shape}; it must be one each"
            )
        shares = None if probabilities is None else self._checked(probabilities, rows)
        if self.classes:
            return Predictions([self._names.name_of(value) for value in values.tolist()], shares)
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


def _load(directory: Path) -> Any:
    """The model as MLflow loads it, without MLflow's own check of input: ours is as strict, and takes missing integers.

    Raises:
        InvalidModelError: it cannot be loaded.
    """
    pyfunc = _import_pyfunc()
    _forget_code(directory)
    path = list(sys.path)
    try:
        model = pyfunc.load_model(str(directory))
    except ModuleNotFoundError as error:
        sys.path[:] = path
        raise InvalidModelError(
            f"the model needs the Python module {error.name}, which is not installed here; add its package to the "
            "dependency group pyfunc in pyproject.toml, lock it and build again"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the model's code raises or ends
        sys.path[:] = path
        lines = str(error).strip().splitlines() or [""]
        raise InvalidModelError(
            f"MLflow cannot load the model ({type(error).__name__}: {lines[0][:MAX_REASON]})"
        ) from error
    model.metadata.signature.inputs = None
    return model


def _import_pyfunc() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")  # MLflow, of its own code
        from mlflow import pyfunc  # noqa: PLC0415 - heavy, and not installed where only ONNX is served
    # MLflow's loggers have a handler and a format of their own.
    mlflow_logger = logging.getLogger("mlflow")
    mlflow_logger.handlers.clear()
    mlflow_logger.propagate = True
    return pyfunc


def _forget_code(directory: Path) -> None:
    """Have Python import the code that a model brings from this model, not from one that was loaded before.

    MLflow leaves each model's code folder on the path, and Python each module under its name.
    """
    others = directory.parent
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(others):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not Path(entry).is_relative_to(others)]


def _raw_model(model: Any) -> Any:
    """The library's own model inside, or None where MLflow's flavour does not show it."""
    try:
        return model.get_raw_model()
    except NotImplementedError:
        return None


def _place_of(error: Exception) -> str:
    """The error's type and where it was raised, without its message, which may repeat what a client sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno} in {frame.name}"
