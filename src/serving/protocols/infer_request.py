"""Decodes an inference request of the Open Inference Protocol: its rows, and the requested outputs."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import Column, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import INPUT_NAME
from src.serving.protocols.tensors import FLOATS, FloatTensor, InputTensor, check_datatype, kept_values, values_of
from src.serving.tables.columns import Values
from src.serving.tables.parts import ExtraColumns, table_of_columns
from src.serving.tables.pieces import decode_with_nan
from src.serving.tables.problems import UNKNOWN_FIELD, malformed, unknown_columns

BINARY_SIZE = "binary_data_size"
BINARY_DATA = "binary_data"
ALL_BINARY = "binary_data_output"
FORM = (
    "the request must be a JSON object with inputs, a list of tensors with name, shape, datatype and data; "
    "id is a string, outputs is a list of objects with a name, and parameters are objects"
)

# An output's shape, datatype and values: a list of strings, or a little-endian array.
Output = tuple[list[int], str, NDArray[Any] | Sequence[str]]


class OutputWish(msgspec.Struct, frozen=True):
    """An output that the client requests."""

    name: str
    parameters: dict[str, Any] | None = None


class InferMessage(msgspec.Struct, frozen=True):
    """The JSON of a request."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[OutputWish] | None = None
    parameters: dict[str, Any] | None = None


class FloatMessage(InferMessage, frozen=True):
    """The same with flat lists of numbers only, whose types need no further check."""

    inputs: list[FloatTensor]  # type: ignore[assignment] # a list of a subtype, in an immutable object


class InferRequest(NamedTuple):
    """A decoded request: its JSON, and its rows."""

    message: InferMessage
    table: FeatureTable
    outputs: Mapping[str, bool]  # in their order, by name: whether the output is returned in binary
    kept: Mapping[str, Output]  # inputs that the model does not take and that are returned as outputs

    @property
    def kept_columns(self) -> dict[str, Sequence[Any]]:
        """Those of ``kept`` that have one value per row."""
        columns = {
            name: values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values
            for name, (_, _, values) in self.kept.items()
        }
        return {name: values for name, values in columns.items() if len(values) == len(self.table)}


def matrix_of(schema: FeatureSchema) -> str | None:
    """The name of the one tensor, shape (n, k), that may replace the first k columns, as in ``schema.matrix_widths``.

    It is the name of the ONNX graph's own input; None where no k is accepted.
    """
    return INPUT_NAME if schema.matrix_widths else None


def decode_infer(
    schema: FeatureSchema,
    outputs: Sequence[str],
    body: bytes,
    json_bytes: int | None,
    extra: ExtraColumns = ExtraColumns.REFUSE,
) -> InferRequest:
    """Decode the body of ``…/infer`` for a model with these columns and outputs, or raise InvalidRecordError.

    The data of binary tensors follow the JSON, without gaps: then ``json_bytes`` is its length. ``extra`` says what to
    do with tensors that the model does not take.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise malformed("Inference-Header-Content-Length must not be larger than the body")
    header = body[:json_bytes]
    message = _message(header)
    known = {*schema.names, matrix_of(schema)}
    own = [tensor for tensor in message.inputs if tensor.name in known]
    others = [tensor.name for tensor in message.inputs if tensor.name not in known]
    offered = [*outputs, *others] if extra is ExtraColumns.KEEP else outputs
    if len(set(offered)) < len(offered):
        raise malformed(f"kept inputs must have different names, none of them {' or '.join(outputs)}; rename them")
    wanted = _wanted(message, offered)
    held, widths = _expected(schema, own)
    is_once = len(held.keys() & {tensor.name for tensor in own}) == len(own)
    if not is_once or (others and extra is ExtraColumns.REFUSE):
        problem = str(unknown_columns(schema, others, "inputs")) if is_once else "each column must be given once"
        if matrix := matrix_of(schema):
            problem += f"; all may be a single tensor named {matrix} with the shape {_shape_of(schema.matrix_widths)}"
        raise malformed(problem, kind=UNKNOWN_FIELD)
    binary = memoryview(body)[len(header) :]
    columns, kept, rows = _columns(message.inputs, held, widths, binary, keeps=extra is ExtraColumns.KEEP)
    return InferRequest(message, table_of_columns(schema, columns, rows), wanted, kept)


def _message(header: bytes) -> InferMessage:
    """Decode the JSON of a request, or raise InvalidRecordError."""
    with contextlib.suppress(ValueError, RecursionError):
        floats = msgspec.json.decode(header, type=FloatMessage)
        if all(tensor.datatype in FLOATS for tensor in floats.inputs):
            return floats
    message: InferMessage = decode_with_nan(header, InferMessage, FORM)
    return message


def _wanted(request: InferMessage, outputs: Sequence[str]) -> dict[str, bool]:
    wishes = request.outputs or [OutputWish(name) for name in outputs]
    if not {wish.name for wish in wishes} <= set(outputs):
        raise malformed(f"unknown outputs; the model has {', '.join(outputs)}", kind=UNKNOWN_FIELD)
    default = _parameter(request, ALL_BINARY, default=False)
    found = {wish.name: _parameter(wish, BINARY_DATA, default) for wish in wishes}
    if not all(isinstance(binary, bool) for binary in found.values()):
        raise malformed(f"{BINARY_DATA} and {ALL_BINARY} must be true or false")
    return found


def _columns(
    tensors: Sequence[InputTensor],
    held: Mapping[str, Sequence[Column]],
    widths: range,
    binary: memoryview,
    *,
    keeps: bool,
) -> tuple[dict[str, Values], dict[str, Output], int]:
    """The values by column, the kept tensors by name, and their number of rows."""
    columns: dict[str, Values] = {}
    kept: dict[str, Output] = {}
    rows: set[int] = set()
    for tensor in tensors:
        content, binary = _content(tensor, binary)
        if tensor.name in held:
            own = held[tensor.name]
            rows.add(_rows(tensor, widths))
            for column in own:
                check_datatype(column, tensor.datatype)
            values = values_of(tensor, content)
            # In row-major order, a column is every k-th value.
            columns |= {column.name: values[place :: len(own)] for place, column in enumerate(own)}
        elif keeps:
            rows.add(_rows(tensor, None))
            kept[tensor.name] = tensor.shape, tensor.datatype, kept_values(tensor, values_of(tensor, content))
    if len(rows) > 1:
        raise malformed("all inputs must have the same number of rows")
    if binary:
        raise malformed(f"there is more binary data than the sum of all {BINARY_SIZE}")
    return columns, kept, max(rows, default=0)


def _expected(schema: FeatureSchema, tensors: Sequence[InputTensor]) -> tuple[dict[str, Sequence[Column]], range]:
    """The columns that each tensor holds, by its name, and how many columns a tensor may have."""
    if len(tensors) == 1 and tensors[0].name == matrix_of(schema):
        name, width = tensors[0].name, _width(tensors[0])
        if width != 1 or name not in schema.names:  # else it is a column of the same name
            return {name: schema.columns[:width]}, schema.matrix_widths
    return {column.name: [column] for column in schema.columns}, range(1, 2)


def _shape_of(widths: range) -> str:
    """The shape of a tensor with so many columns, for messages."""
    least, most = widths[0], widths[-1]
    if most == 1:
        return "[n] or [n, 1]"
    return f"[n, {least}]" if least == most else f"[n, {least}] to [n, {most}]"


def _width(tensor: InputTensor) -> int | None:
    """How many columns a tensor has; None where its shape is not [n] or [n, k]."""
    return [*tensor.shape, 1][1] if len(tensor.shape) in {1, 2} else None


def _rows(tensor: InputTensor, widths: range | None) -> int:
    """The tensor's number of rows; ``widths`` are its accepted numbers of columns, None for any."""
    shape, width = tensor.shape, _width(tensor)
    if width is None or shape[0] < 1 or (width < 1 if widths is None else width not in widths):
        expected = "[n] or [n, k]" if widths is None else _shape_of(widths)
        hint = "; optional columns may be left out at the end" if widths and len(widths) > 1 else ""
        raise malformed(f"the shape of {tensor.name} must be {expected} with n of at least 1{hint}")
    return shape[0]


def _content(tensor: InputTensor, binary: memoryview) -> tuple[memoryview | None, memoryview]:
    """A tensor's binary data, None if its data are JSON; and the binary data of the tensors that follow."""
    size = _parameter(tensor, BINARY_SIZE)
    if (size is None) == (tensor.data is None):
        raise malformed(f"{tensor.name} must have either data or {BINARY_SIZE}")
    if size is None:
        return None, binary
    if type(size) is not int or not 0 <= size <= len(binary):
        raise malformed(f"{BINARY_SIZE} of {tensor.name} must be a number of bytes that follow the JSON")
    return binary[:size], binary[size:]


def _parameter(holder: InputTensor | OutputWish | InferMessage, name: str, default: Any = None) -> Any:
    """A parameter's value; the default if it is absent or null."""
    value = (holder.parameters or {}).get(name)
    return default if value is None else value
