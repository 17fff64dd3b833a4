"""A model's metadata and predictions in the Open Inference Protocol."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_request import BINARY_SIZE, InferRequest, matrix_of
from src.serving.protocols.tensors import BOOL, BYTES, FLOATS, INTEGERS, binary_of_strings, datatype_of
from src.serving.tables.problems import malformed

# The outputs' names, as MLServer has them for models of scikit-learn.
PREDICT = "predict"
PROBABILITIES = "predict_proba"
NUMBER = "FP64"
# The datatype of predictions by the type of the classes' labels.
DATATYPES: Mapping[type, str] = {str: BYTES, bool: BOOL, int: "INT64", float: NUMBER}
DTYPES: Mapping[str, str] = {**FLOATS, **INTEGERS, BOOL: "?"}


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Mapping[str, str | bool] | UnsetType = UNSET


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A model's metadata.

    ``parameters.matrix_input`` names the one tensor, shape (n, k), that may be sent in place of the first k ``inputs``:
    at least all up to the last required one, at most all before the first text or boolean. It is absent where there
    is no such k.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class OutputTensor(msgspec.Struct, frozen=True):
    """An output; ``data`` is in row-major order, or absent where it is binary."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class InferResponse(msgspec.Struct, frozen=True):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


def output_names(predictor: Predictor) -> list[str]:
    """The names of the model's outputs."""
    return [PREDICT, PROBABILITIES] if predictor.classes and predictor.gives_probabilities else [PREDICT]


def outputs_of(predictor: Predictor) -> list[TensorMetadata]:
    """The model's outputs.

    ``predict``, shape (n, 1), is the class's label or a number. ``predict_proba``, shape (n, classes), exists if the
    model has probabilities; its parameter ``classes`` is a JSON list of the classes' names.
    """
    predict = TensorMetadata(PREDICT, datatype_of_labels(predictor), [-1, 1])
    if PROBABILITIES not in output_names(predictor):
        return [predict]
    classes = {"classes": msgspec.json.encode(predictor.classes).decode()}
    return [predict, TensorMetadata(PROBABILITIES, NUMBER, [-1, len(predictor.classes)], classes)]


def metadata_of(predictor: Predictor) -> ModelMetadata:
    """The model's metadata."""
    matrix = matrix_of(predictor.schema)
    return ModelMetadata(
        name=predictor.version.name,
        versions=[predictor.version.version],
        platform=predictor.engine.platform,
        inputs=[
            TensorMetadata(column.name, datatype_of(column), [-1, 1], UNSET if column.required else {"optional": True})
            for column in predictor.schema.columns
        ],
        outputs=outputs_of(predictor),
        parameters={} if matrix is None else {"matrix_input": matrix},
    )


def encode_infer(
    predictor: Predictor, found: Predictions, request: InferRequest, request_id: str
) -> tuple[bytes, int | None]:
    """Encode a response: its body, and the length of its JSON if binary data follow.

    Args:
        predictor: the model that predicted.
        found: the predictions.
        request: the request.
        request_id: the response's id if the client gave none.

    Raises:
        InvalidRecordError: probabilities are requested by name, and the model has none.
    """
    wanted: Mapping[str, bool] = request.outputs
    if found.probabilities is None and PROBABILITIES in wanted:
        if request.asked:
            raise malformed(f"the model has no output {PROBABILITIES} for these rows")
        wanted = {name: binary for name, binary in wanted.items() if name != PROBABILITIES}
    outputs: list[OutputTensor] = []
    buffers: list[bytes] = []
    for name, binary in wanted.items():
        shape, datatype, values = request.kept.get(name) or _values(predictor, found, name)
        if not binary:
            data = values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values
            outputs.append(OutputTensor(name, datatype, shape, data=data))
            continue
        content = values.tobytes() if isinstance(values, np.ndarray) else binary_of_strings(values)
        outputs.append(OutputTensor(name, datatype, shape, {BINARY_SIZE: len(content)}))
        buffers.append(content)
    version = predictor.version
    header = msgspec.json.encode(InferResponse(version.name, version.version, request.id or request_id, outputs))
    return b"".join([header, *buffers]), len(header) if buffers else None


def _values(predictor: Predictor, found: Predictions, name: str) -> tuple[list[int], str, Any]:
    """An output's shape, datatype and values: a list of strings, or a little-endian array."""
    if name == PROBABILITIES:
        assert found.probabilities is not None  # noqa: S101 - checked above
        shares = found.shown.astype("<f8")
        return list(shares.shape), NUMBER, shares
    values, datatype = found.values, datatype_of_labels(predictor)
    return [len(values), 1], datatype, values if datatype == BYTES else np.array(values, dtype=DTYPES[datatype])


def datatype_of_labels(predictor: Predictor) -> str:
    """The datatype of a model's predictions."""
    return DATATYPES[type(predictor.labels[0])] if predictor.labels else NUMBER
