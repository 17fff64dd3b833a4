"""Converts a fitted model to the ONNX graph that serving runs, and verifies that both predict the same."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType, TensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from skl2onnx.sklapi import CastTransformer
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline

from src.core.errors import InvalidModelError, ModelParityError, first_line
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.model_registry import ONNX_FILE
from src.core.onnx_engine import COLUMN_INPUT, INPUT_NAME, VALUE_OUTPUT, OnnxEngine
from src.core.onnx_outputs import PROBABILITIES_OUTPUT
from src.core.predictions import TOLERANCE, Engine, Threshold, labels_from, values_agree
from src.training.fitted_parts import threshold_of
from src.training.frames import table_of
from src.training.onnx_converters import register_converters
from src.training.sklearn_engine import SklearnEngine

Floats = NDArray[np.floating[Any]]
RAW = "raw_answers"
# In skl2onnx's message about a class without a converter.
CLASS_NAME = re.compile(r"<class '(?:.*\.)?(\w+)'>")
MAX_REASON = 120
Export = Callable[[Pipeline, FeatureSchema], bytes]


def prove_onnx(model: Pipeline, schema: FeatureSchema, classes: tuple[str, ...], rows: pd.DataFrame) -> bytes:
    """The first graph of a fitted model whose predictions for these rows equal the model's.

    Args:
        model: fitted.
        schema: its columns.
        classes: class names in the order of the probabilities; empty for a regression.
        rows: columns of the schema.

    Raises:
        ModelParityError: there is none; the message has the problem of each graph.
    """
    problems: dict[str, list[str]] = {}
    for precision, export in EXPORTS.items():
        try:
            graph = export(model, schema)
            check_parity(model, load_graph(graph, schema, classes), schema, rows)
        except ModelParityError as error:
            problems.setdefault(str(error), []).append(precision)
        else:
            return graph
    if len(problems) == 1:
        raise ModelParityError(*problems)
    raise ModelParityError("; ".join(f"in {' and '.join(found)} precision: {text}" for text, found in problems.items()))


def export_single(model: Pipeline, schema: FeatureSchema) -> bytes:
    """The graph that computes in single precision, like trees.

    Raises:
        ModelParityError: the model has no such graph.
    """
    return _convert(model, schema, FloatTensorType)


def export_double(model: Pipeline, schema: FeatureSchema) -> bytes:
    """The graph whose steps before the last compute in double precision, like scikit-learn's; its input is slower.

    Raises:
        ModelParityError: the model has no such graph.
    """
    # At the same point as in scikit-learn's trees: a scaled value must be rounded once, at the end.
    cast = Pipeline([*model.steps[:-1], ("cast", CastTransformer(dtype=np.float32)), model.steps[-1]])
    return _convert(cast, schema, DoubleTensorType)


# In the order of preference.
EXPORTS: dict[str, Export] = {"single": export_single, "double": export_double}


def load_graph(graph: bytes, schema: FeatureSchema, classes: tuple[str, ...]) -> OnnxEngine:
    """A graph as serving loads it.

    Raises:
        ModelParityError: serving would refuse it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_FILE
        path.write_bytes(graph)
        try:
            return OnnxEngine(path, schema, classes)
        except InvalidModelError as error:
            raise ModelParityError(str(error)) from error


def check_parity(model: Pipeline, engine: Engine, schema: FeatureSchema, rows: pd.DataFrame) -> None:
    """Require equal predictions for all rows: equal labels and probabilities within ``TOLERANCE``, or equal numbers.

    Raises:
        ModelParityError: with the number of different rows and the largest difference.
    """
    table = table_of(rows, schema)
    threshold = threshold_of(model)
    expected = SklearnEngine(model, engine.classes, threshold).predict(table)
    try:
        found = engine.predict(table)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ModelParityError(f"ONNX Runtime cannot answer: {first_line(error)}") from error
    if expected.probabilities is None or found.probabilities is None:
        _compare_numbers(np.array(expected.values, dtype=np.float64), np.array(found.values, dtype=np.float64))
    else:
        _compare_probabilities(expected.probabilities, found.probabilities, threshold)


def _compare_probabilities(expected: Floats, found: Floats, threshold: Threshold | None) -> None:
    if found.shape != expected.shape:
        raise ModelParityError(f"ONNX answers in the shape {found.shape}, scikit-learn in {expected.shape}")
    _require_finite(expected, found)
    # Both labels by the same rule: scikit-learn's own argmax resolves ties by the last bits.
    wrong_labels = int((labels_from(expected, threshold) != labels_from(found, threshold)).sum())
    worst = float(np.abs(expected - found).max())
    if wrong_labels or worst > TOLERANCE:
        raise ModelParityError(
            f"ONNX and scikit-learn disagree on {wrong_labels} of {len(expected)} labels and by up to {worst:.2g} in "
            "probability"
        )


def _compare_numbers(expected: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    if found.shape != expected.shape:
        raise ModelParityError(f"ONNX answers in the shape {found.shape}, scikit-learn in {expected.shape}")
    _require_finite(expected, found)
    wrong = int((~values_agree(expected, found)).sum())
    if wrong:
        worst = float(np.abs(expected - found).max())
        raise ModelParityError(
            f"ONNX and scikit-learn disagree on {wrong} of {len(expected)} numbers, by up to {worst:.2g}"
        )


def _require_finite(expected: Floats, found: Floats) -> None:
    """Refuse NaN and infinities, which comparisons would not detect."""
    for name, answers in (("scikit-learn", expected), ("ONNX", found)):
        count = int((~np.isfinite(answers)).sum())
        if count:
            raise ModelParityError(f"{name} answers with {count} values that are not finite")


def _convert(model: Pipeline, schema: FeatureSchema, number: type[TensorType]) -> bytes:
    """A graph with one matrix as input or, where there is text, with one input per column in the schema's order."""
    kinds = [StringTensorType if column.type is ColumnType.STRING else number for column in schema.columns]
    inputs = [(COLUMN_INPUT.format(index), kind([None, 1])) for index, kind in enumerate(kinds)]
    if StringTensorType not in kinds:
        inputs = [(INPUT_NAME, number([None, len(kinds)]))]
    inner, is_log = _without_wrappers(model)
    options = {"zipmap": False} if is_classifier(model) else None
    try:
        opsets = register_converters(model)
        graph = to_onnx(inner, initial_types=inputs, options=options, target_opset=opsets)
    except Exception as error:  # the converters raise errors of many types
        raise ModelParityError(_unconverted(error)) from error
    if is_classifier(model) and len(model.classes_) == 2:  # noqa: PLR2004 - one is computed as 1 minus the other
        _clip_probabilities(graph)
    if is_log:
        _append_exponential(graph)
    return bytes(graph.SerializeToString())


def _unconverted(error: Exception) -> str:
    """Why there is no graph, in one short sentence; libraries append advice and arrays."""
    if isinstance(error, MissingShapeCalculator | MissingConverter) and (found := CLASS_NAME.search(str(error))):
        return f"no conversion to ONNX exists for {found[1]}"
    reason = first_line(error).partition(". ")[0]
    return f"no conversion to ONNX: {reason if len(reason) <= MAX_REASON else f'{reason[:MAX_REASON]}…'}"


def _without_wrappers(model: Pipeline) -> tuple[Pipeline, bool]:
    """A fitted model without wrappers that skl2onnx cannot convert, and whether its predictions are logarithms.

    A threshold affects labels only, which engines compute themselves.
    """
    last, is_log = model[-1], False
    if isinstance(last, FixedThresholdClassifier):
        last = last.estimator_.estimator
    if isinstance(last, TransformedTargetRegressor):
        if last.func is not np.log1p:
            return model, False
        last, is_log = last.regressor_, True
    return Pipeline([*model.steps[:-1], (model.steps[-1][0], last)]), is_log


def _append_exponential(graph: onnx.ModelProto) -> None:
    """Invert log(1 + target) in double precision: exp(prediction) - 1."""
    (output,) = graph.graph.output
    centre = _centre_trees(graph)
    _rename(graph, VALUE_OUTPUT, RAW)
    constants = {"one": 1.0, "centre": centre}
    graph.graph.initializer.extend(
        helper.make_tensor(name, onnx.TensorProto.DOUBLE, [], [value]) for name, value in constants.items()
    )
    graph.graph.node.extend(
        [
            helper.make_node("Cast", [RAW], ["raw_double"], to=onnx.TensorProto.DOUBLE),
            helper.make_node("Add", ["raw_double", "centre"], ["logarithm"]),
            helper.make_node("Exp", ["logarithm"], ["exponential"]),
            helper.make_node("Sub", ["exponential", "one"], [VALUE_OUTPUT]),
        ]
    )
    output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def _centre_trees(graph: onnx.ModelProto) -> float:
    """Subtract each tree's mean from its leaves, so that answers lie around 0; return the sum of the means.

    A sum of trees in single precision is rounded relative to its size, and the exponential turns an absolute error of a
    logarithm into a relative one of the answer.
    """
    ensembles = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
    if len(ensembles) != 1:
        return 0.0
    attributes = {attribute.name: attribute for attribute in ensembles[0].attribute}
    leaves, trees = np.array(attributes["target_weights"].floats), np.array(attributes["target_treeids"].ints)
    means = np.bincount(trees, leaves) / np.bincount(trees)
    attributes["target_weights"].floats[:] = (leaves - means[trees]).tolist()
    return float(means.sum())


def _rename(graph: onnx.ModelProto, old: str, new: str) -> None:
    """Give a node's output another name."""
    for node in graph.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def _clip_probabilities(graph: onnx.ModelProto) -> None:
    """Clip them to 0 to 1, which single-precision rounding exceeds by up to 1e-7."""
    outputs = {item.name: item.type.tensor_type.elem_type for item in graph.graph.output}
    if PROBABILITIES_OUTPUT not in outputs:
        return
    _rename(graph, PROBABILITIES_OUTPUT, RAW)
    limits = {"zero": 0.0, "one": 1.0}
    kind = outputs[PROBABILITIES_OUTPUT]
    graph.graph.initializer.extend(helper.make_tensor(name, kind, [], [value]) for name, value in limits.items())
    # No Clip: its limits are inputs from version 11 on, and a graph of few operators may state an earlier one.
    graph.graph.node.extend(
        [
            helper.make_node("Max", [RAW, "zero"], ["not_below_zero"]),
            helper.make_node("Min", ["not_below_zero", "one"], [PROBABILITIES_OUTPUT]),
        ]
    )
