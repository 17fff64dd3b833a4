"""A model's metadata and predictions in the Open Inference Protocol."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_request import BINARY_SIZE, InferRequest, Output, matrix_of
from src.serving.protocols.tensors import BOOL, BYTES, DTYPES, binary_of_strings, datatype_of
from src.serving.tables.answers import Answer
from src.serving.tables.problems import malformed

# The outputs' names, as MLServer has them for models of scikit-learn.
PREDICT = "predict"
PROBABILITIES = "predict_proba"
NUMBER = "FP64"
# The datatype of predictions by the type of the classes' labels.
DATATYPES: Mapping[type, str] = {str: BYTES, bool: BOOL, int: "INT64", float: NUMBER}


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
    data: Sequence[Any] | UnsetType = UNSET


class InferResponse(msgspec.Struct, frozen=True):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


def output_names(predictor: Predictor) -> list[str]:
    """The model's outputs: ``predict``, shape (n, 1), and ``predict_proba``, shape (n, classes), if it has those."""
    return [PREDICT, PROBABILITIES] if predictor.classes and predictor.gives_probabilities else [PREDICT]


def metadata_of(predictor: Predictor) -> ModelMetadata:
    """The model's metadata; the parameter ``classes`` of an output is a JSON list of the classes' names."""
    matrix = matrix_of(predictor.schema)
    outputs = [TensorMetadata(PREDICT, datatype_of_labels(predictor), [-1, 1])]
    if PROBABILITIES in output_names(predictor):
        classes = {"classes": msgspec.json.encode(predictor.classes).decode()}
        outputs.append(TensorMetadata(PROBABILITIES, NUMBER, [-1, len(predictor.classes)], classes))
    return ModelMetadata(
        name=predictor.version.name,
        versions=[predictor.version.version],
        platform=predictor.engine.platform,
        inputs=[
            TensorMetadata(column.name, datatype_of(column), [-1, 1], UNSET if column.required else {"optional": True})
            for column in predictor.schema.columns
        ],
        outputs=outputs,
        parameters={} if matrix is None else {"matrix_input": matrix},
    )


def encode_infer(
    predictor: Predictor, found: Predictions, request: InferRequest, request_id: str
) -> tuple[bytes, int | None]:
    """Encode a response: its body, and the length of its JSON if binary data follow.

    Raises InvalidRecordError if probabilities are requested by name and the model has none.
    """
    outputs: list[OutputTensor] = []
    buffers: list[bytes] = []
    for name, is_binary in request.outputs.items():
        if name == PROBABILITIES and found.probabilities is None:
            if request.message.outputs:
                raise malformed(f"the model has no output {PROBABILITIES} for these rows")
            continue
        shape, datatype, values = request.kept.get(name) or _values(predictor, found, name)
        if is_binary:
            buffers.append(values.tobytes() if isinstance(values, np.ndarray) else binary_of_strings(values))
            outputs.append(OutputTensor(name, datatype, shape, {BINARY_SIZE: len(buffers[-1])}))
        else:
            data = values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values
            outputs.append(OutputTensor(name, datatype, shape, data=data))
    header = _encode(predictor, request.message.id or request_id, outputs)
    return b"".join([header, *buffers]), len(header) if buffers else None


def encode_single(
    predictor: Predictor, answer: Answer, details: tuple[str | None, Iterable[str]], request_id: str
) -> bytes:
    """Encode a response for one row: ``details`` are the client's id and the outputs. ValueError if one is absent."""
    client_id, names = details
    shares = list((answer.probabilities or {}).values())
    if not shares and PROBABILITIES in names:
        raise ValueError
    tensors = {
        PREDICT: OutputTensor(PREDICT, datatype_of_labels(predictor), [1, 1], data=[answer.prediction]),
        PROBABILITIES: OutputTensor(PROBABILITIES, NUMBER, [1, len(shares)], data=shares),
    }
    return _encode(predictor, client_id or request_id, [tensors[name] for name in names])


def _encode(predictor: Predictor, response_id: str, outputs: list[OutputTensor]) -> bytes:
    return msgspec.json.encode(InferResponse(predictor.version.name, predictor.version.version, response_id, outputs))


def datatype_of_labels(predictor: Predictor) -> str:
    """The datatype of a model's predictions."""
    return DATATYPES[type(predictor.engine.labels[0])] if predictor.engine.labels else NUMBER


def _values(predictor: Predictor, found: Predictions, name: str) -> Output:
    if name == PROBABILITIES:
        shares = found.shown.astype(DTYPES[NUMBER], copy=False)
        return list(shares.shape), NUMBER, shares
    values, datatype = found.values, datatype_of_labels(predictor)
    return [len(values), 1], datatype, values if datatype == BYTES else np.array(values, dtype=DTYPES[datatype])
