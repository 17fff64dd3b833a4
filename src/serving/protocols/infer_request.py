"""Decodes an inference request of the Open Inference Protocol: its rows, and the requested outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import INPUT_NAME
from src.serving.protocols.infer_message import InferMessage, InputTensor, OutputWish, decode_message, parameter_of
from src.serving.protocols.tensors import check_datatype, kept_values, values_from_binary, values_from_json
from src.serving.tables.columns import Values, table_of_columns
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.problems import UNKNOWN_FIELD, InvalidRecordError, malformed

BINARY_SIZE = "binary_data_size"
BINARY_DATA = "binary_data"
ALL_BINARY = "binary_data_output"


class KeptTensor(NamedTuple):
    """An input that the model does not take, and that is returned as an output."""

    shape: list[int]
    datatype: str
    values: NDArray[Any] | list[str]


@dataclass(frozen=True)
class InferRequest:
    """A decoded request.

    Attributes:
        table: its rows.
        id: the client's id of the request, if any.
        outputs: name to whether it is requested in binary, in the requested order.
        asked: whether the client named the outputs; otherwise all are returned.
        kept: inputs that the model does not take and that are outputs, by name.
    """

    table: FeatureTable
    id: str | None
    outputs: Mapping[str, bool]
    asked: bool
    kept: Mapping[str, KeptTensor] = field(default_factory=dict)


def matrix_of(schema: FeatureSchema) -> str | None:
    """The name of the one tensor, shape (n, k), that may replace the tensors of the first k columns.

    ``schema.matrix_widths`` says which k are accepted; None where there are none. It is the name of the ONNX graph's
    own input.
    """
    return INPUT_NAME if schema.matrix_widths else None


def decode_infer(
    schema: FeatureSchema,
    outputs: Sequence[str],
    body: bytes,
    json_bytes: int | None,
    extra: ExtraColumns = ExtraColumns.REFUSE,
) -> InferRequest:
    """Decode the body of ``…/infer``.

    Args:
        schema: the model's columns.
        outputs: the names of the model's outputs.
        body: JSON, then the data of binary tensors without gaps.
        json_bytes: the JSON's length if binary data follow; None if all is JSON.
        extra: what to do with tensors that the model does not take.

    Raises:
        InvalidRecordError: the message says which part of the protocol or of the schema it violates.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise malformed("Inference-Header-Content-Length must not be larger than the body")
    request = decode_message(body if json_bytes is None else body[:json_bytes])
    binary = memoryview(b"" if json_bytes is None else body[json_bytes:])
    names = [*outputs, *_others(schema, request.inputs, extra)] if extra is ExtraColumns.KEEP else outputs
    if len(set(names)) < len(names):
        raise malformed(f"kept inputs must have different names, none of them {' or '.join(outputs)}; rename them")
    wishes = _wishes(request, names)
    columns, kept, rows = _columns(schema, request.inputs, binary, extra)
    return InferRequest(
        table=table_of_columns(schema, columns, rows),
        id=request.id,
        outputs=wishes,
        asked=bool(request.outputs),
        kept=kept,
    )


def _wishes(request: InferMessage, outputs: Sequence[str]) -> dict[str, bool]:
    wanted = request.outputs or [OutputWish(name) for name in outputs]
    if not {wish.name for wish in wanted} <= set(outputs):
        raise _unknown(f"unknown outputs; the model has {', '.join(outputs)}")
    default = parameter_of(request, ALL_BINARY, default=False)
    found = {wish.name: parameter_of(wish, BINARY_DATA, default) for wish in wanted}
    if not all(isinstance(binary, bool) for binary in found.values()):
        raise malformed(f"{BINARY_DATA} and {ALL_BINARY} must be true or false")
    return found


def _others(schema: FeatureSchema, tensors: Sequence[InputTensor], extra: ExtraColumns) -> list[str]:
    """The names of the tensors that the model does not take."""
    names = [tensor.name for tensor in tensors if tensor.name not in {*schema.names, matrix_of(schema)}]
    if names and extra is ExtraColumns.REFUSE:
        raise _unknown(_inputs_of(schema))
    return names


def _columns(
    schema: FeatureSchema, tensors: Sequence[InputTensor], binary: memoryview, extra: ExtraColumns
) -> tuple[dict[str, Values], dict[str, KeptTensor], int]:
    """The tensors' columns by name, the kept tensors by name, and their length."""
    others = _others(schema, tensors, extra)
    mine = [tensor for tensor in tensors if tensor.name not in others]
    known = {column.name: [column] for column in schema.columns}
    widths = range(1, 2)
    if len(mine) == 1 and _is_matrix(schema, mine[0]):
        widths, width = schema.matrix_widths, _width(mine[0])
        known = {mine[0].name: list(schema.columns[: width if width in widths else widths[-1]])}
    columns: dict[str, Values] = {}
    kept: dict[str, KeptTensor] = {}
    rows = None
    for tensor in tensors:
        content, binary = _content(tensor, binary)
        if tensor.name in others and extra is ExtraColumns.IGNORE:
            continue
        if tensor.name in others:
            rows = _rows(tensor, None, rows)
            values = kept_values(tensor.name, _values(tensor, content), tensor.datatype)
            kept[tensor.name] = KeptTensor(tensor.shape, tensor.datatype, values)
            continue
        if tensor.name not in known:
            raise _unknown(_inputs_of(schema))
        held = known.pop(tensor.name)
        for column in held:
            check_datatype(column, tensor.datatype)
        rows = _rows(tensor, widths, rows)
        found = _values(tensor, content)
        # In row-major order, a column is every k-th value.
        columns |= {column.name: found[place :: len(held)] for place, column in enumerate(held)}
    if len(binary):
        raise malformed(f"there is more binary data than the sum of all {BINARY_SIZE}")
    return columns, kept, rows or 0


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


def _rows(tensor: InputTensor, widths: range | None, rows: int | None) -> int:
    """The tensor's number of rows, the same for all; ``widths`` are its accepted numbers of columns, None for any."""
    shape, width = tensor.shape, _width(tensor)
    if width is None or shape[0] < 1 or (width < 1 if widths is None else width not in widths):
        expected = "[n] or [n, k]" if widths is None else _shape_of(widths)
        hint = "; optional columns may be left out at the end" if widths and len(widths) > 1 else ""
        raise malformed(f"the shape of {tensor.name} must be {expected} with n of at least 1{hint}")
    if rows is not None and shape[0] != rows:
        raise malformed("all inputs must have the same number of rows")
    return shape[0]


def _content(tensor: InputTensor, binary: memoryview) -> tuple[memoryview | None, memoryview]:
    """A tensor's binary data, None if its data are JSON; and the binary data of the tensors that follow."""
    size = parameter_of(tensor, BINARY_SIZE)
    if (size is None) == (tensor.data is None):
        raise malformed(f"{tensor.name} must have either data or {BINARY_SIZE}")
    if size is None:
        return None, binary
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise malformed(f"{BINARY_SIZE} of {tensor.name} must be a number of bytes that follow the JSON")
    return binary[:size], binary[size:]


def _values(tensor: InputTensor, content: memoryview | None) -> Values:
    if content is None:
        return values_from_json(tensor.name, tensor.data, tensor.shape, tensor.datatype)
    return values_from_binary(tensor.name, content, tensor.shape, tensor.datatype)


def _unknown(message: str) -> InvalidRecordError:
    return InvalidRecordError([InvalidInputError(message, kind=UNKNOWN_FIELD)])
