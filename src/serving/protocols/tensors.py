"""Tensors of the Open Inference Protocol: datatypes, and conversion from and to JSON and binary data."""

import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType
from src.serving.tables.columns import Values
from src.serving.tables.problems import (
    NOT_A_BOOLEAN,
    NOT_A_DATE,
    NOT_A_NUMBER,
    NOT_A_STRING,
    NOT_AN_INTEGER,
    NOT_FINITE,
    InvalidRecordError,
    malformed,
)

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
INTEGERS = {f"{kind}{bits}": f"<{kind[0].lower()}{bits // 8}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
BOOL = "BOOL"
BYTES = "BYTES"
# What a column takes: an integer may come as a float, as NaN is the only form of a missing one; a date comes as
# ISO 8601 or as a number of days.
ACCEPTED: Mapping[ColumnType, tuple[frozenset[str], str]] = {
    ColumnType.NUMBER: (frozenset(FLOATS) | frozenset(INTEGERS), NOT_A_NUMBER),
    ColumnType.INTEGER: (frozenset(FLOATS) | frozenset(INTEGERS), NOT_AN_INTEGER),
    ColumnType.BOOLEAN: (frozenset({BOOL}), NOT_A_BOOLEAN),
    ColumnType.STRING: (frozenset({BYTES}), NOT_A_STRING),
    ColumnType.DATE: (frozenset(FLOATS) | frozenset(INTEGERS) | {BYTES}, NOT_A_DATE),
}
OWN: Mapping[str, str] = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": BOOL,
    "string": BYTES,
}
LENGTH = struct.Struct("<I")


def datatype_of(column: Column) -> str:
    """A column's datatype in the model's metadata."""
    return OWN[column.mlflow_type]


def check_datatype(column: Column, datatype: str) -> None:
    """Check that a column takes a tensor of this datatype.

    Raises:
        InvalidRecordError: it does not.
    """
    accepted, kind = ACCEPTED[column.type]
    if datatype not in accepted:
        message = f"{column.name} takes tensors of the datatype {datatype_of(column)}"
        raise InvalidRecordError([InvalidInputError(message, kind=kind, field=column.name)])


def values_from_json(name: str, data: object, shape: Sequence[int], datatype: str) -> Values:
    """The values of a JSON tensor in row-major order, nested as its shape says or flat.

    Values that are not of the datatype are left to the column's check if its message is more precise.

    Args:
        name: of the tensor, a column's or the matrix', for messages.
        data: the decoded JSON.
        shape: (n,) or (n, k), checked.
        datatype: one that the column takes.

    Raises:
        InvalidRecordError: there are more or fewer values than the shape says, or the datatype cannot hold them.
    """
    values = _flat(data, shape)
    if values is None:
        raise malformed(f"the data of {name} must be a list of as many values as its shape says")
    kinds = set(map(type, values))
    if datatype in INTEGERS:
        if not kinds <= {int, type(None)}:
            raise _problem(name, "must have whole numbers, as its datatype says", NOT_AN_INTEGER)
        return _array(name, values, INTEGERS[datatype]) if kinds == {int} else values
    if datatype in FLOATS and kinds <= {float, int}:
        return _array(name, values, FLOATS[datatype])
    return values


def values_from_binary(name: str, content: memoryview, shape: Sequence[int], datatype: str) -> NDArray[Any]:
    """The values of a binary tensor in row-major order: little-endian, without gaps; strings with their lengths.

    Args:
        name: of the tensor, for messages.
        content: exactly its bytes.
        shape: (n,) or (n, k), checked.
        datatype: of the protocol.

    Raises:
        InvalidRecordError: the size is not what shape and datatype say, or the content is not of the datatype.
    """
    count = _size(shape)
    if datatype == BYTES:
        return np.array(_strings(name, content, count), dtype=object)
    known = {BOOL: "u1", **FLOATS, **INTEGERS}
    if datatype not in known:
        raise malformed(f"the datatype of {name} is unknown")
    dtype = np.dtype(known[datatype])
    if len(content) != count * dtype.itemsize:
        raise malformed(f"the binary data of {name} must have the size that its shape and datatype say")
    array = np.frombuffer(content, dtype=dtype)
    if datatype != BOOL:
        return array
    if array.size and array.max() > 1:
        raise _problem(name, "must have 1 for true and 0 for false", NOT_A_BOOLEAN)
    return array.astype(np.bool_)


def kept_values(name: str, values: Values, datatype: str) -> NDArray[Any] | list[str]:
    """The values of a tensor that the model does not take, as an output has them: an array, or a list of strings.

    Raises:
        InvalidRecordError: they are not of the datatype.
    """
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    listed = list(values)
    kinds = set(map(type, listed))
    if datatype == BYTES and kinds <= {str}:
        return listed
    if datatype == BOOL and kinds <= {bool}:
        return np.array(listed, dtype=np.bool_)
    if datatype in FLOATS and kinds <= {float, int, type(None)}:  # null is NaN
        return _array(name, listed, FLOATS[datatype])
    raise malformed(f"the data of {name} must be of its datatype")


def binary_of_strings(values: Sequence[str]) -> bytes:
    """Strings as a binary tensor."""
    encoded: dict[str, bytes] = {}
    for value in set(values):
        content = value.encode()
        encoded[value] = LENGTH.pack(len(content)) + content
    return b"".join([encoded[value] for value in values])


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _flat(data: object, shape: Sequence[int]) -> list[Any] | None:
    if not isinstance(data, list):
        return None
    if len(shape) > 1 and data and all(isinstance(row, list) and len(row) == shape[1] for row in data):
        data = list(itertools.chain.from_iterable(data))
    return data if len(data) == _size(shape) else None


def _array(name: str, values: list[Any], dtype: str) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # values too large for a small float become infinite, which is reported
            return np.array(values, dtype=dtype)
    except OverflowError:
        raise _problem(name, "must have numbers that its datatype can hold", NOT_FINITE) from None


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


def _problem(name: str, what: str, kind: str) -> InvalidRecordError:
    return InvalidRecordError([InvalidInputError(f"{name} {what}", kind=kind)])
