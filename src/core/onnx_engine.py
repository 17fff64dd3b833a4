"""A model on ONNX Runtime, used by the gate and by serving."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from src.core.class_labels import HOW_TO_NAME
from src.core.errors import InvalidModelError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_outputs import choose_outputs
from src.core.predictions import Predictions, Threshold

# This project's name of the matrix of a model whose columns are all numeric; a graph with strings has one (n, 1) input
# per column.
INPUT_NAME = "features"
# The input names of this project's export: by position, as columns' names may be invalid in a graph.
COLUMN_INPUT = "column_{}"
# skl2onnx's name of a regression's output.
VALUE_OUTPUT = "variable"
# ONNX has no missing string.
MISSING_TEXT = ""
# The operator of forests and boosted trees in a graph's file.
TREES = b"TreeEnsemble"
# Trees process rows faster beside similar ones. Fewer rows gain little, and so do rows with more columns: those that
# decide the order are rarely the ones that decide the prediction.
FEWEST_IN_ORDER = 512
MOST_COLUMNS_IN_ORDER = 8
# Similar rows have the same cells of a grid, which has so many cells along each column.
CELLS = 16
DTYPES: dict[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
# The column types that each input type can hold exactly; integers and booleans have no missing value.
NUMERIC = frozenset({ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.BOOLEAN, ColumnType.DATE})
HOLDS: dict[type[Any], frozenset[ColumnType]] = {
    np.float32: NUMERIC,
    np.float64: NUMERIC,
    np.int64: NUMERIC - {ColumnType.NUMBER, ColumnType.DATE},
    np.bool_: frozenset({ColumnType.BOOLEAN}),
    np.object_: frozenset({ColumnType.STRING}),
}


class OnnxEngine:
    """One loaded graph, on one thread: predictions are bitwise equal whether rows come together or alone.

    Args:
        path: the ONNX file.
        schema: the model's columns.
        classes: class names in the order of the probabilities' columns; empty for a regression, None if only the graph
            may know them.
        threshold: the label rule, if it is not the largest probability.

    Raises:
        InvalidModelError: the file is not a graph, its inputs cannot be assigned to columns or hold their values, or
            its outputs are not one prediction per row.
    """

    name: str = "onnx"

    def __init__(
        self, path: Path, schema: FeatureSchema, classes: tuple[str, ...] | None, threshold: Threshold | None = None
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # By its path, because weights may lie in files beside it.
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            has_trees = TREES in path.read_bytes()
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise InvalidModelError(f"{path.name} is not a readable ONNX graph") from error
        inputs = {item.name: item.type for item in self._session.get_inputs()}
        if not set(inputs.values()) <= DTYPES.keys():
            raise InvalidModelError(f"{path.name} has inputs of types other than {', '.join(DTYPES)}")
        self._takes_matrix = _is_matrix(self._session.get_inputs(), schema)
        names = list(inputs) * len(schema.columns) if self._takes_matrix else _names_by_column(path, inputs, schema)
        for name, column in zip(names, schema.columns, strict=True):
            _require_fit(path, name, inputs[name], column)
        # The matrix, or each column in the schema's order.
        self._inputs = [(name, DTYPES[inputs[name]]) for name in names]
        types = {item.name: item.type for item in self._session.get_outputs()}
        self._outputs = choose_outputs(types, classes, threshold, self._first_map)
        self._gains_by_order = self._takes_matrix and has_trees and len(names) <= MOST_COLUMNS_IN_ORDER
        self.labels = self._outputs.classes
        self.gives_probabilities = self._outputs.gives_probabilities
        self.classes = tuple(map(str, self.labels))

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict every row; there must be at least one.

        Raises:
            ModelFailedError: an output is not finite, for example a linear model's with very large numbers, or not one
                prediction per row.
        """
        if not self._takes_matrix:
            columns = zip(self._inputs, table.columns, strict=True)
            feeds = {name: _filled(column, dtype).reshape(-1, 1) for (name, dtype), column in columns}
            return self._outputs.predictions(self._session.run(self._outputs.names, feeds), len(table))
        name, dtype = self._inputs[0]
        rows = table.matrix(dtype)
        if not self._gains_by_order or len(rows) < FEWEST_IN_ORDER:
            return self._outputs.predictions(self._session.run(self._outputs.names, {name: rows}), len(rows))
        # Similar rows take the same branches, which branch prediction makes faster: a forest on Iris takes half the
        # time.
        order = _similar_together(rows)
        values = self._session.run(self._outputs.names, {name: rows[order]})
        return self._outputs.predictions([_restored(value, order) for value in values], len(rows))

    def _first_map(self, output: str) -> Mapping[Any, float]:
        """An output's map for a row of zeros and empty text."""
        columns = len(self._inputs) if self._takes_matrix else 1
        feeds = {
            name: np.full((1, columns), MISSING_TEXT if dtype is np.object_ else 0, dtype)
            for name, dtype in self._inputs
        }
        try:
            return self._session.run([output], feeds)[0][0]  # type: ignore[no-any-return]
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise InvalidModelError(
                f"the graph fails on a row of zeros, so its classes are unknown; log it with {HOW_TO_NAME}"
            ) from error


def _similar_together(rows: NDArray[Any]) -> NDArray[np.intp]:
    """An order of rows, shape (n, columns), by the cells of a grid over their ranges; a missing value is zero."""
    known = np.nan_to_num(rows.astype(np.float64, copy=False))
    low = known.min(axis=0)
    span = known.max(axis=0) - low
    cells = ((known - low) / np.where(span, span, 1.0) * (CELLS - 1)).astype(np.int64)
    order: NDArray[np.intp] = np.argsort(cells @ (CELLS ** np.arange(rows.shape[1])))
    return order


def _restored(value: Any, order: NDArray[np.intp]) -> Any:
    """An output for sorted rows, an array or a list of maps, in the rows' own order."""
    found: Any = np.empty_like(value) if isinstance(value, np.ndarray) else np.empty(len(value), dtype=object)
    found[order] = value
    return found


def _is_matrix(inputs: Sequence[Any], schema: FeatureSchema) -> bool:
    """Whether a graph's only input, a ``NodeArg``, takes all columns, none of which is text."""
    if len(inputs) > 1 or any(column.type is ColumnType.STRING for column in schema.columns):
        return False
    width = inputs[0].shape[-1] if inputs[0].shape else None
    return width == len(schema.columns) or not isinstance(width, int)


def _names_by_column(path: Path, inputs: Mapping[str, str], schema: FeatureSchema) -> Sequence[str]:
    """The name of each column's input, in the schema's order.

    Raises:
        InvalidModelError: the names are ambiguous; inputs in another order would give wrong predictions.
    """
    found = set(inputs)
    ours = [COLUMN_INPUT.format(index) for index in range(len(schema.columns))]
    spelt = [_as_skl2onnx_spells(name) for name in schema.names]
    for names in (schema.names, spelt, ours):
        if found == set(names) and len(found) == len(names):  # two columns may have the same input name
            return names
    if len(inputs) == len(schema.columns) == 1:  # unambiguous
        return list(inputs)
    raise InvalidModelError(
        f"{path.name} must take one matrix of all {len(schema.columns)} columns, none of them text, or one input per "
        f"column: name its inputs as the signature names the columns, or {ours[0]}, ... in their order"
    )


def _as_skl2onnx_spells(name: str) -> str:
    """A column's name as skl2onnx changes it: other characters become underscores, before a leading digit too."""
    spelt = re.sub(r"[^\w+]", "_", name)
    return f"_{spelt}" if re.match("[0-9]", spelt) else spelt


def _require_fit(path: Path, name: str, kind: str, column: Column) -> None:
    dtype = DTYPES[kind]
    if column.type not in HOLDS[dtype]:
        raise InvalidModelError(f"{path.name} takes column {column.name!r}, of type {column.type}, as {kind}")
    if not column.required and dtype in {np.int64, np.bool_}:
        raise InvalidModelError(
            f"{path.name} takes column {column.name!r} as {kind}, which has no missing value: make the "
            f"input {name!r} a float, or require the column in the signature"
        )


def _filled(column: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    """A column as the graph's input type."""
    if dtype is not np.object_:
        return column.astype(dtype)
    return np.where(column == None, MISSING_TEXT, column)  # noqa: E711 - elementwise
