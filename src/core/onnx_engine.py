"""A model on ONNX Runtime: training's gate and serving's answers come from this one piece of code."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from src.core.errors import InvalidModelError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions

# The matrix of a model whose columns are all numeric; a graph with strings has one (n, 1) input per column.
INPUT_NAME = "features"
PROBABILITIES_OUTPUT = "probabilities"
# skl2onnx's name of a regression's output.
VALUE_OUTPUT = "variable"
# ONNX has no missing string.
MISSING_TEXT = ""
DTYPES: dict[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxEngine:
    """One loaded graph, on one thread: rows answered together get bitwise the answers that each gets alone.

    Args:
        path: the ONNX file.
        schema: the model's columns.
        classes: class names in the order of the probabilities' columns; empty for a regression.

    Raises:
        InvalidModelError: the file is not a graph of ours.
    """

    name: Literal["onnx"] = "onnx"

    def __init__(self, path: Path, schema: FeatureSchema, classes: tuple[str, ...]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no base but Exception
            raise InvalidModelError(f"{path.name} is not a readable ONNX graph") from error
        output = PROBABILITIES_OUTPUT if classes else VALUE_OUTPUT
        if output not in {item.name for item in self._session.get_outputs()}:
            raise InvalidModelError(f"{path.name} has no output {output!r}")
        inputs = {item.name: item.type for item in self._session.get_inputs()}
        text = any(column.type is ColumnType.STRING for column in schema.columns)
        self._takes_matrix = list(inputs) == [INPUT_NAME] and not text
        if not self._takes_matrix and len(inputs) != len(schema.columns):
            raise InvalidModelError(f"{path.name} must take {INPUT_NAME!r}, or one input per column in their order")
        if not set(inputs.values()) <= DTYPES.keys():
            raise InvalidModelError(f"{path.name} has inputs of types other than {', '.join(DTYPES)}")
        self._inputs = [(name, DTYPES[kind]) for name, kind in inputs.items()]
        self._outputs = [output]
        self.classes = classes

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row, at least one."""
        answers = self._run(table)
        if not self.classes:
            return Predictions(answers.reshape(-1).tolist())
        return Predictions(probabilities=answers, classes=self.classes)

    def _run(self, table: FeatureTable) -> NDArray[Any]:
        """The graph's output: (n, classes) probabilities or (n, 1) numbers."""
        if self._takes_matrix:
            name, dtype = self._inputs[0]
            feeds = {name: table.matrix(dtype)}
        else:
            feeds = {
                name: _filled(column, dtype).reshape(-1, 1)
                for (name, dtype), column in zip(self._inputs, table.columns, strict=True)
            }
        return self._session.run(self._outputs, feeds)[0]  # type: ignore[no-any-return]


def _filled(column: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    """A column as the graph's input type."""
    if dtype is not np.object_:
        return column.astype(dtype)
    return np.where(column == None, MISSING_TEXT, column)  # noqa: E711 - element by element
