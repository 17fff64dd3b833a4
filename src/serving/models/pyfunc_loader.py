"""Loads a model through mlflow.pyfunc, which may run code of its files; MLflow is imported here alone, when needed."""

import contextlib
import gc
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from src.core.errors import InvalidModelError

MAX_REASON = 300


def require_pyfunc() -> None:
    """Raise InvalidModelError if MLflow cannot be imported; the message says what to install."""
    if any(importlib.util.find_spec(name) is None for name in ("mlflow", "pandas")):
        raise InvalidModelError(
            "the model has no ONNX flavour, and this environment lacks the dependency group pyfunc that could load it: "
            "set INFERENCE_EXTRA_GROUPS=pyfunc in .env and run docker compose up -d --build inference (without Docker: "
            ".uv/bin/uv sync --locked --group pyfunc)"
        )


def load_pyfunc(directory: Path) -> Any:
    """Load the model without MLflow's check of its input: the service's is as strict and accepts missing integers.

    Raises:
        InvalidModelError: it cannot be loaded.
    """
    pyfunc = _import_pyfunc()
    try:
        model = pyfunc.load_model(str(directory.resolve()))
    except ModuleNotFoundError as error:
        raise InvalidModelError(
            f"the model needs the Python module {error.name}, which is not installed here; add its package to the "
            "dependency group pyfunc in pyproject.toml, lock it and build again"
        ) from error
    except (Exception, SystemExit) as error:  # any error of the model's code, including SystemExit
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
        is_new = "mlflow.pyfunc" not in sys.modules
        from mlflow import pyfunc  # noqa: PLC0415 - heavy, and not installed where only ONNX is served
    if is_new:
        gc.freeze()  # as at the service's start; no model of this kind is loaded yet
    # MLflow's loggers have a handler and a format of their own.
    mlflow_logger = logging.getLogger("mlflow")
    mlflow_logger.handlers.clear()
    mlflow_logger.propagate = True
    return pyfunc


def raw_model_of(model: Any) -> Any:
    """The wrapped model of the library, or None if the MLflow flavour does not expose it."""
    try:
        return model.get_raw_model()
    except NotImplementedError:
        return None


@contextlib.contextmanager
def code_of_its_own(directory: Path) -> Iterator[None]:
    """A context to load and test a model in, with the modules of its own code folder.

    MLflow leaves each model's code folder on the path, and Python each module under its name: a model would get the
    code of one that was loaded before. If the new model is refused, the modules of the previous one are restored.
    """
    models = directory.resolve().parent
    path, modules = list(sys.path), _brought_by(models)
    sys.path[:] = [entry for entry in path if not Path(entry).is_relative_to(models)]
    for name in modules:
        del sys.modules[name]
    try:
        yield
    except BaseException:
        sys.path[:] = path
        for name in _brought_by(models):
            del sys.modules[name]
        sys.modules.update(modules)
        raise


def _brought_by(models: Path) -> dict[str, ModuleType]:
    """The imported modules that lie in any model's folder."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(models):
            found[name] = module
    return found
