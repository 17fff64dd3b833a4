"""A classifier on ONNX Runtime: training's gate and serving's answers come from this one piece of code."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from src.core.errors import InvalidModelError
from src.core.model_registry import GoldenRows

INPUT_NAME = "features"
PROBABILITIES_OUTPUT = "probabilities"
# Trees vote in fractions that tie exactly in theory and differ in the last bits in practice: labels are the
# argmax of probabilities rounded to this many places, so that sklearn and ONNX Runtime break ties alike.
DECIMALS = 5
TOLERANCE = 1e-5


def labels_from(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Class indices, shape (n,), of probabilities, shape (n, classes)."""
    labels: NDArray[np.intp] = np.argmax(np.round(probabilities, DECIMALS), axis=1)
    return labels


class OnnxClassifier:
    """One loaded graph: a float32 matrix in, class probabilities out, on one thread.

    Args:
        path: the ONNX file.
        classes: class names in the order of the probabilities' columns.

    Raises:
        InvalidModelError: the file is not a graph of ours.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no base but Exception
            raise InvalidModelError(f"{path.name} is not a readable ONNX graph") from error
        outputs = {output.name for output in self._session.get_outputs()}
        inputs = [item.name for item in self._session.get_inputs()]
        if inputs != [INPUT_NAME] or PROBABILITIES_OUTPUT not in outputs:
            raise InvalidModelError(f"{path.name} must map {INPUT_NAME!r} to {PROBABILITIES_OUTPUT!r}")
        self.classes = classes

    def probabilities(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Class probabilities, shape (n, classes), of rows, shape (n, features)."""
        inputs = {INPUT_NAME: np.ascontiguousarray(rows, dtype=np.float32)}
        return self._session.run([PROBABILITIES_OUTPUT], inputs)[0]  # type: ignore[no-any-return]

    def predict(self, rows: NDArray[np.floating[Any]]) -> tuple[list[str], NDArray[np.float32]]:
        """Class names and probabilities, shape (n, classes), of rows, shape (n, features)."""
        probabilities = self.probabilities(rows)
        return [self.classes[index] for index in labels_from(probabilities)], probabilities

    def verify(self, golden: GoldenRows) -> None:
        """Answer the golden rows.

        Raises:
            InvalidModelError: there are none, or the answers are not those of training time.
        """
        if not golden.rows:
            raise InvalidModelError("the model brings no golden rows")
        try:
            labels, probabilities = self.predict(np.asarray(golden.rows))
            wrong = labels != golden.labels or not np.allclose(
                probabilities, golden.probabilities, rtol=0, atol=TOLERANCE
            )
        except Exception as error:  # a graph of another shape fails in many ways, all meaning this
            raise InvalidModelError("the model cannot answer its golden rows") from error
        if wrong:
            raise InvalidModelError("the model's answers to its golden rows are not those of training time")
