"""Decodes an inference request of the Open Inference Protocol: its rows, and the requested outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import INPUT_NAME
from src.serving.protocols import lenient_json
from src.serving.protocols.columns import Values, table_of_columns
from src.serving.protocols.tensors import check_datatype, values_from_binary, values_from_json
from src.serving.tables.problems import UNKNOWN_FIELD, InvalidRecordError, malformed

BINARY_SIZE = "binary_data_size"
BINARY_DATA = "binary_data"
ALL_BINARY = "binary_data_output"
FORM = (
    "the request must be a JSON object with inputs, a list of tensors with name, shape, datatype and data; "
    "id is a string, outputs is a list of objects with a name, and parameters are objects"
)


class InputTensor(msgspec.Struct, frozen=True):
    """A tensor of a request; ``data`` is absent if it is binary. An optional member that is null counts as absent."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class OutputWish(msgspec.Struct, frozen=True):
    """An output that the client requests."""

    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct, frozen=True):
    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[OutputWish] | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class InferRequest:
    """A decoded request.

    Attributes:
        table: its rows.
        id: the client's id of the request, if any.
        outputs: name to whether it is requested in binary, in the requested order.
        asked: whether the client named the outputs; otherwise all are returned.
    """

    table: FeatureTable
    id: str | None
    outputs: Mapping[str, bool]
    asked: bool


def matrix_of(schema: FeatureSchema) -> str | None:
    """The name of the one tensor, shape (n, k), that may replace the tensors of the first k columns.

    ``schema.matrix_widths`` says which k are accepted; None where there are none. It is the name of the ONNX graph's
    own input.
    """
    return INPUT_NAME if schema.matrix_widths else None


def decode_infer(schema: FeatureSchema, outputs: Sequence[str], body: bytes, json_bytes: int | None) -> InferRequest:
    """Decode the body of ``…/infer``.

    Args:
        schema: the model's columns.
        outputs: the names of the model's outputs.
        body: JSON, then the data of binary tensors without gaps.
        json_bytes: the JSON's length if binary data follow; None if all is JSON.

    Raises:
        InvalidRecordError: the message says which part of the protocol or of the schema it violates.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise malformed("Inference-Header-Content-Length must not be larger than the body")
    request = _decode(body if json_bytes is None else body[:json_bytes])
    binary = memoryview(b"" if json_bytes is None else body[json_bytes:])
    wishes = _wishes(request, outputs)
    columns, rows = _columns(schema, request.inputs, binary)
    return InferRequest(
        table=table_of_columns(schema, columns, rows),
        id=request.id,
        outputs=wishes,
        asked=bool(request.outputs),
    )


def _decode(header: bytes) -> _Request:
    try:
        return msgspec.json.decode(header, type=_Request)
    except (ValueError, RecursionError):
        pass
    document = lenient_json.decode(header)
    try:
        return msgspec.convert(document, _Request)
    except (ValueError, RecursionError):
        raise malformed(FORM) from None


def _wishes(request: _Request, outputs: Sequence[str]) -> dict[str, bool]:
    wanted = request.outputs or [OutputWish(name) for name in outputs]
    if not {wish.name for wish in wanted} <= set(outputs):
        raise _unknown(f"unknown outputs; the model has {', '.join(outputs)}")
    default = _parameter(request, ALL_BINARY, default=False)
    found = {wish.name: _parameter(wish, BINARY_DATA, default) for wish in wanted}
    if not all(isinstance(binary, bool) for binary in found.values()):
        raise malformed(f"{BINARY_DATA} and {ALL_BINARY} must be true or false")
    return found


def _parameter(holder: InputTensor | OutputWish | _Request, name: str, default: Any = None) -> Any:
    value = (holder.parameters or {}).get(name)
    return default if value is None else value


def _columns(
    schema: FeatureSchema, tensors: Sequence[InputTensor], binary: memoryview
) -> tuple[dict[str, Values], int]:
    """The tensors' columns by name, and their length."""
    known = {column.name: [column] for column in schema.columns}
    widths = range(1, 2)
    if len(tensors) == 1 and _is_matrix(schema, tensors[0]):
        widths, width = schema.matrix_widths, _width(tensors[0])
        known = {tensors[0].name: list(schema.columns[: width if width in widths else widths[-1]])}
    columns: dict[str, Values] = {}
    rows = None
    for tensor in tensors:
        if tensor.name not in known:
            raise _unknown(_inputs_of(schema))
        held = known.pop(tensor.name)
        for column in held:
            check_datatype(column, tensor.datatype)
        rows = _rows(tensor, widths, rows)
        values, binary = _values(tensor, binary)
        # In row-major order, a column is every k-th value.
        columns |= {column.name: values[place :: len(held)] for place, column in enumerate(held)}
    if len(binary):
        raise malformed(f"there is more binary data than the sum of all {BINARY_SIZE}")
    return columns, rows or 0


def _inputs_of(schema: FeatureSchema) -> str:
    """The message for a tensor of another name."""
    message = f"unknown inputs; the model takes {', '.join(schema.names)}, each once"
    matrix = matrix_of(schema)
    if matrix is None:
        return message
    return f"{message}, or a single tensor named {matrix} with the shape {_shape_of(schema.matrix_widths)}"


def _shape_of(widths: range) -> str:
    """The shape of a tensor with so many columns, for messages."""
    least, most = widths[0], widths[-1]
    if most == 1:
        return "[n] or [n, 1]"
    return f"[n, {least}]" if least == most else f"[n, {least}] to [n, {most}]"


def _is_matrix(schema: FeatureSchema, tensor: InputTensor) -> bool:
    """Whether a request's only tensor is the matrix; one of a column's shape may be a column of the same name."""
    is_column = tensor.name in schema.names and _width(tensor) == 1
    return tensor.name == matrix_of(schema) and not is_column


def _width(tensor: InputTensor) -> int | None:
    """How many columns a tensor has; None where its shape is not [n] or [n, k]."""
    return [*tensor.shape, 1][1] if len(tensor.shape) in {1, 2} else None


def _rows(tensor: InputTensor, widths: range, rows: int | None) -> int:
    """The tensor's number of rows, the same for all."""
    shape = tensor.shape
    if _width(tensor) not in widths or shape[0] < 1:
        hint = "; optional columns may be left out at the end" if len(widths) > 1 else ""
        raise malformed(f"the shape of {tensor.name} must be {_shape_of(widths)} with n of at least 1{hint}")
    if rows is not None and shape[0] != rows:
        raise malformed("all inputs must have the same number of rows")
    return shape[0]


def _values(tensor: InputTensor, binary: memoryview) -> tuple[Values, memoryview]:
    """A tensor's values, and the binary data of the tensors that follow."""
    size = _parameter(tensor, BINARY_SIZE)
    if (size is None) == (tensor.data is None):
        raise malformed(f"{tensor.name} must have either data or {BINARY_SIZE}")
    if size is None:
        return values_from_json(tensor.name, tensor.data, tensor.shape, tensor.datatype), binary
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise malformed(f"{BINARY_SIZE} of {tensor.name} must be a number of bytes that follow the JSON")
    return values_from_binary(tensor.name, binary[:size], tensor.shape, tensor.datatype), binary[size:]


def _unknown(message: str) -> InvalidRecordError:
    return InvalidRecordError([InvalidInputError(message, kind=UNKNOWN_FIELD)])
