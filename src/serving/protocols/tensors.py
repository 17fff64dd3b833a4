"""Tensors of the Open Inference Protocol as JSON and binary data; a request's invalid one raises InvalidRecordError."""

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import Column, ColumnType
from src.serving.tables.columns import Values
from src.serving.tables.problems import NOT_FINITE, WRONG_TYPE, InvalidRecordError, malformed, problem_of

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
INTEGERS = {f"{kind}{bits}": f"<{kind[0].lower()}{bits // 8}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
BOOL = "BOOL"
BYTES = "BYTES"
DTYPES: Mapping[str, str] = {**FLOATS, **INTEGERS, BOOL: "?"}
NUMBERS = frozenset({*FLOATS, *INTEGERS})
# What a column takes: an integer may come as a float, as NaN is the only form of a missing one; a date comes as
# ISO 8601 or as a number of days.
ACCEPTED: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.NUMBER: NUMBERS,
    ColumnType.INTEGER: NUMBERS,
    ColumnType.BOOLEAN: frozenset({BOOL}),
    ColumnType.STRING: frozenset({BYTES}),
    ColumnType.DATE: NUMBERS | {BYTES},
}
OWN = {"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": BOOL, "string": BYTES}
LENGTH = struct.Struct("<I")


class InputTensor(msgspec.Struct, frozen=True):
    """A tensor of a request; ``data`` is absent if it is binary. An optional member that is null counts as absent."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class FloatTensor(InputTensor, frozen=True, kw_only=True):
    """A tensor whose JSON data were decoded as a flat list of floats."""

    data: list[float]


def datatype_of(column: Column) -> str:
    """A column's datatype in the model's metadata."""
    return OWN[column.mlflow_type]


def check_datatype(column: Column, datatype: str) -> None:
    """Check that a column takes a tensor of this datatype."""
    if datatype not in ACCEPTED[column.type]:
        raise InvalidRecordError([problem_of(column, f"takes tensors of the datatype {datatype_of(column)}")])


def values_of(tensor: InputTensor, content: memoryview | None) -> Values:
    """The values of a tensor of shape (n,) or (n, k), in row-major order.

    JSON data may be nested as the shape says, or flat. Values that are not of the datatype are left to the column's
    check if its message is more precise. Binary ``content`` is little-endian, without gaps; strings with their lengths.
    """
    if content is not None:
        return _of_binary(tensor, content)
    values, shape, datatype = tensor.data, tensor.shape, tensor.datatype
    if isinstance(tensor, FloatTensor):
        types: set[type] = {float}
    else:
        types = set(map(type, values)) if isinstance(values, list) else set()
    if types == {list} and len(shape) > 1 and set(map(len, values)) == {shape[1]}:
        values = list(itertools.chain.from_iterable(values))
        types = set(map(type, values))
    if not isinstance(values, list) or len(values) != math.prod(shape):
        raise malformed(f"the data of {tensor.name} must be a list of as many values as its shape says")
    if datatype in INTEGERS and not types <= {int, type(None)}:
        raise malformed(
            f"{tensor.name} must have whole numbers, as its datatype says", kind=WRONG_TYPE[ColumnType.INTEGER]
        )
    return _array(tensor, values) if datatype in NUMBERS and types <= {int, float} else values


def _of_binary(tensor: InputTensor, content: memoryview) -> NDArray[Any]:
    name, count = tensor.name, math.prod(tensor.shape)
    if tensor.datatype == BYTES:
        return np.array(_strings(name, content, count), dtype=object)
    if tensor.datatype not in DTYPES:
        raise malformed(f"the datatype of {name} is unknown")
    dtype = np.dtype(DTYPES[tensor.datatype])
    if len(content) != count * dtype.itemsize:
        raise malformed(f"the binary data of {name} must have the size that its shape and datatype say")
    array = np.frombuffer(content, dtype=dtype)
    if tensor.datatype == BOOL and (array.view(np.uint8) > 1).any():
        raise malformed(f"{name} must have 1 for true and 0 for false", kind=WRONG_TYPE[ColumnType.BOOLEAN])
    return array


def kept_values(tensor: InputTensor, values: Values) -> NDArray[Any] | list[str]:
    """The values of a tensor that the model does not take, as an output has them: an array, or a list of strings."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    listed, datatype = list(values), tensor.datatype
    types = set(map(type, listed))
    if datatype == BYTES and types <= {str}:
        return listed
    if (datatype == BOOL and types <= {bool}) or (datatype in FLOATS and types <= {float, int, type(None)}):
        return _array(tensor, listed)  # null is NaN
    raise malformed(f"the data of {tensor.name} must be of its datatype")


def binary_of_strings(values: Sequence[str]) -> bytes:
    """Strings as a binary tensor."""
    encoded = {value: value.encode() for value in set(values)}
    packed = {value: LENGTH.pack(len(content)) + content for value, content in encoded.items()}
    return b"".join([packed[value] for value in values])


def _array(tensor: InputTensor, values: list[Any]) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # values too large for a small float become infinite, which is reported
            return np.array(values, dtype=DTYPES[tensor.datatype])
    except OverflowError:
        raise malformed(f"{tensor.name} must have numbers that its datatype can hold", kind=NOT_FINITE) from None


def _strings(name: str, content: memoryview, count: int) -> list[str]:
    strings: list[str] = []
    position = 0
    try:
        while position < len(content) and len(strings) < count:
            (length,) = LENGTH.unpack_from(content, position)
            position += LENGTH.size + length
            strings.append(str(content[position - length : position], "utf-8"))
    except (struct.error, UnicodeDecodeError):
        raise malformed(f"the binary data of {name} must be UTF-8 strings, each preceded by its length") from None
    if len(strings) != count or position != len(content):
        raise malformed(f"the binary data of {name} must have as many strings as its shape says")
    return strings
