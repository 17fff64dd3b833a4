"""Converts a fitted model to the ONNX graph that serving runs, and proves that both give the same answers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.pipeline import Pipeline

from src.core.errors import InvalidModelError, ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.model_registry import ONNX_FILE
from src.core.onnx_engine import INPUT_NAME, OnnxEngine
from src.core.predictions import TOLERANCE, Engine, labels_from
from src.pipeline.frames import table_of

Export = Callable[[Pipeline, FeatureSchema], bytes]


def prove_onnx(model: Pipeline, schema: FeatureSchema, classes: tuple[str, ...], rows: pd.DataFrame) -> bytes:
    """The first graph of a fitted model that answers these rows as the model does.

    Args:
        model: fitted.
        schema: its columns.
        classes: class names in the order of the probabilities.
        rows: columns of the schema.

    Raises:
        ModelParityError: there is none, saying what is wrong with each.
    """
    problems: list[str] = []
    for precision, export in EXPORTS.items():
        try:
            graph = export(model, schema)
            check_parity(model, load_graph(graph, schema, classes), schema, rows)
        except ModelParityError as error:
            problems.append(f"{precision}: {error}")
        else:
            return graph
    raise ModelParityError("; ".join(problems))


def export_single(model: Pipeline, schema: FeatureSchema) -> bytes:
    """The graph that computes in single precision, as trees do.

    Raises:
        ModelParityError: the model has no such graph.
    """
    return _convert(model, FloatTensorType([None, len(schema.columns)]))


def export_double(model: Pipeline, schema: FeatureSchema) -> bytes:
    """The graph whose steps before the last compute in double precision, as scikit-learn's do; slower to feed.

    Raises:
        ModelParityError: the model has no such graph.
    """
    # Where scikit-learn's trees cast too: a scaled value must be rounded once, and last.
    cast = Pipeline([*model.steps[:-1], ("cast", CastTransformer(dtype=np.float32)), model.steps[-1]])
    return _convert(cast, DoubleTensorType([None, len(schema.columns)]))


# In the order in which they are tried.
EXPORTS: dict[str, Export] = {"single precision": export_single, "double precision": export_double}


def load_graph(graph: bytes, schema: FeatureSchema, classes: tuple[str, ...]) -> OnnxEngine:
    """A graph as serving loads it.

    Raises:
        ModelParityError: serving would not take it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_FILE
        path.write_bytes(graph)
        try:
            return OnnxEngine(path, schema, classes)
        except InvalidModelError as error:
            raise ModelParityError(str(error)) from error


def check_parity(model: Pipeline, engine: Engine, schema: FeatureSchema, rows: pd.DataFrame) -> None:
    """Require the same label and, within ``TOLERANCE``, the same probabilities for every row.

    Raises:
        ModelParityError: saying for how many rows they differ, and by how much.
    """
    expected = model.predict_proba(rows)
    try:
        found = np.asarray(engine.predict(table_of(rows, schema)).probabilities)
    except Exception as error:  # ONNX Runtime's own errors share no base but Exception
        raise ModelParityError(f"ONNX Runtime cannot answer: {_first_line(error)}") from error
    if found.shape != expected.shape:
        raise ModelParityError(f"ONNX answers in the shape {found.shape}, scikit-learn in {expected.shape}")
    # Labels of both sides by the same rule: scikit-learn's own argmax breaks exact ties by the last bits.
    wrong_labels = int((labels_from(expected) != labels_from(found)).sum())
    worst = float(np.abs(expected - found).max())
    if wrong_labels or not worst <= TOLERANCE:  # a NaN is not
        raise ModelParityError(
            f"ONNX and scikit-learn disagree on {wrong_labels} of {len(rows)} labels and by up to {worst:.2g} in "
            "probability"
        )


def _convert(model: Pipeline, input_type: Any) -> bytes:
    try:
        graph = to_onnx(model, initial_types=[(INPUT_NAME, input_type)], options={"zipmap": False})
    except Exception as error:  # the converters raise errors of many kinds, all meaning this
        raise ModelParityError(f"no conversion to ONNX: {_first_line(error)}") from error
    return bytes(graph.SerializeToString())


def _first_line(error: Exception) -> str:
    """What is wrong; the libraries append pages of what they know besides."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
