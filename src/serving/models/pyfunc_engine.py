"""The engine for a model of any MLflow flavour. MLflow and pandas are imported here alone, when they are needed."""

import contextlib
import gc
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.class_labels import ClassLabels
from src.core.errors import InvalidModelError, ModelFailedError, first_line
from src.core.feature_table import FeatureTable
from src.core.mlmodel import PYFUNC_FLAVOUR, ModelDescription
from src.core.own_code import require_own_code
from src.core.predictions import Predictions, labels_from
from src.serving.models.engine import ServedEngine

# The pandas types of a signature's column: of one that is required, and of one with missing values. All requests have
# the same, so that a row's prediction does not depend on the other rows. A missing integer is NaN and a missing boolean
# is None, as in the frames that pandas reads from files.
PANDAS_TYPES: dict[str, tuple[Any, Any]] = {
    "double": (np.float64, np.float64),
    "float": (np.float32, np.float32),
    "long": (np.int64, np.float64),
    "integer": (np.int32, np.float64),
    "boolean": (np.bool_, np.object_),
    "string": ("str", "str"),
}
MAX_REASON = 300

logger = logging.getLogger(__name__)


class PyfuncEngine(ServedEngine):
    """One loaded model. Predictions take milliseconds; calls from several threads wait for each other.

    Loading runs code that the model's files name or contain. Of a verified model with probabilities, labels follow from
    these, as in training's gate and on ONNX; any other gives its own labels.
    """

    name = "pyfunc"
    title = "MLflow pyfunc"
    platform = "mlflow_pyfunc"
    flavour = PYFUNC_FLAVOUR
    modules = ("mlflow", "pandas")

    def __init__(self, directory: Path, description: ModelDescription, *, verified: bool) -> None:
        if description.code_sha256 is not None:
            require_own_code(description.code_sha256)
        self._lock = threading.RLock()
        self._model = _load(directory)
        raw = None
        with contextlib.suppress(NotImplementedError):  # most flavours give the model of their library
            raw = self._model.get_raw_model()
        self._own = ClassLabels.of_library(description, getattr(raw, "classes_", None))
        self._predict_proba = getattr(raw, "predict_proba", None) if self._own.classes else None
        # Models without the method may return probabilities from ``predict``.
        self.gives_probabilities = self._predict_proba is not None
        self._by_rule = verified and self.gives_probabilities
        self.labels = self._own.classes
        self.classes = self._own.names
        self._threshold = description.threshold

    @classmethod
    @contextlib.contextmanager
    def loading(cls, directory: Path) -> Iterator[None]:
        """A context with the modules of the model's own code folder.

        MLflow leaves each model's code folder on the path, and Python each module under its name: a model would get the
        code of one that was loaded before. If the new model is refused, the modules of the previous one are restored.
        """
        models = directory.resolve().parent
        path, modules = list(sys.path), _forget_modules(models)
        sys.path[:] = [entry for entry in path if not Path(entry).is_relative_to(models)]
        try:
            yield
        except BaseException:
            sys.path[:] = path
            _forget_modules(models)
            sys.modules.update(modules)
            raise

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict at least one row.

        Raises ModelFailedError if the model raises, or its answers are not one finite number or known label per row.
        """
        try:
            frame = frame_of(table)
            with self._lock:
                probabilities = None if self._predict_proba is None else self._predict_proba(frame)
                answers = probabilities if self._by_rule else self._model.predict(frame)
            return self._predictions(answers, None if self._by_rule else probabilities, len(table))
        except ModelFailedError:
            raise
        except Exception as error:  # noqa: BLE001 - any error of the model; its message may repeat the rows
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            logger.error("the model failed: %s at %s:%d in %s", kind, frame.filename, frame.lineno, frame.name)  # noqa: TRY400 - for the same reason
            raise ModelFailedError(f"the model failed on these values ({kind}); the log says where") from None

    def exclusive(self) -> contextlib.AbstractContextManager[Any]:
        """See ``ServedEngine``."""
        return self._lock

    def _predictions(self, answers: Any, probabilities: Any, rows: int) -> Predictions:
        values = np.asarray(answers)
        if values.ndim > 1 and values.shape[1:] == (1,):
            values = values[:, 0]
        if values.ndim > 1 and self.classes and probabilities is None:
            # By the rule, or of a model whose predictions are probabilities, such as a booster.
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
        found, shape = np.asarray(probabilities, dtype=np.float64), (rows, len(self.classes))
        if found.shape != shape:
            raise ModelFailedError(
                f"the model's probabilities for {rows} rows and {shape[1]} classes have the shape {found.shape}"
            )
        if not np.isfinite(found).all():
            raise ModelFailedError("the model's probabilities are not finite numbers")
        return found


def frame_of(table: FeatureTable) -> Any:
    """The table as a pandas DataFrame of the signature's types."""
    import pandas as pd  # noqa: PLC0415 - heavy, and not installed where only ONNX is served

    series = {}
    for column, values in zip(table.schema.columns, table.columns, strict=True):
        dtype = PANDAS_TYPES[column.mlflow_type][not column.required]
        series[column.name] = pd.Series(values.astype(dtype) if dtype is np.object_ else values, dtype=dtype)
    return pd.DataFrame(series)


def _load(directory: Path) -> Any:
    """Load a model without MLflow's check of its input: the service's is as strict and accepts missing integers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    is_new = "mlflow.pyfunc" not in sys.modules
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")  # MLflow, of its own code
        from mlflow import pyfunc  # noqa: PLC0415 - heavy, and not installed where only ONNX is served
    if is_new:
        gc.freeze()  # as at the service's start; no model of this kind is loaded yet
    # MLflow's loggers have a handler and a format of their own.
    mlflow_logger = logging.getLogger("mlflow")
    mlflow_logger.handlers.clear()
    mlflow_logger.propagate = True
    try:
        model = pyfunc.load_model(str(directory.resolve()))
    except ModuleNotFoundError as error:
        raise InvalidModelError(
            f"the model needs the Python module {error.name}, which is not installed here; add its package to the "
            "dependency group pyfunc in pyproject.toml, lock it and build again"
        ) from error
    except (Exception, SystemExit) as error:  # any error of the model's code, including SystemExit
        reason = first_line(error)[:MAX_REASON]
        raise InvalidModelError(f"MLflow cannot load the model ({type(error).__name__}: {reason})") from error
    model.metadata.signature.inputs = None
    return model


def _forget_modules(folder: Path) -> dict[str, ModuleType]:
    """Remove the imported modules that lie in a folder, and return them."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {name: sys.modules.pop(name) for name, file in files.items() if file and Path(file).is_relative_to(folder)}
