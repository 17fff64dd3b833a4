"""The messages between the service and its workers, on two pipes: a length, then a MessagePack document."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.extra_columns import NOTHING, ExtraColumns, Kept
from src.serving.tables.parts import Rows
from src.serving.tables.problems import InvalidRecordError

LENGTH = struct.Struct("<Q")
Read = Callable[[int], bytes]
Write = Callable[[bytes], object]


class ReadTask(msgspec.Struct, tag="read", frozen=True):
    """Read the body of ``size`` bytes that follows. Answered by tables, problems and an ``End``."""

    form: str
    columns: tuple[Column, ...]
    max_rows: int
    extra: ExtraColumns
    size: int


class WriteTask(msgspec.Struct, tag="write", frozen=True):
    """Write the tables that follow, up to an ``End``. Each is answered by a ``Piece``, the end by an ``End``.

    ``kinds`` are the columns' kinds of ``extra_columns``, by name.
    """

    form: str
    kinds: dict[str, str]
    metadata: dict[str, str]


class Numbers(msgspec.Struct, tag="numbers", frozen=True):
    """A column of numbers or booleans in numpy's memory layout."""

    dtype: str
    data: bytes


class Objects(msgspec.Struct, tag="objects", frozen=True):
    """A column of texts, or with missing values."""

    values: list[str | bool | int | float | None]


class Table(msgspec.Struct, tag="table", frozen=True):
    """Some rows, by column, with their kept columns."""

    columns: list[Numbers | Objects]
    kinds: dict[str, str]
    packed: bytes


class Problems(msgspec.Struct, tag="problems", frozen=True):
    """Problems of some rows: message, kind, column and row of each."""

    problems: list[tuple[str, str, str | None, int | None]]


class TooManyRows(msgspec.Struct, tag="rows", frozen=True):
    """There are more rows than the task allows."""


class Piece(msgspec.Struct, tag="piece", frozen=True):
    """Bytes of the written file; may be empty."""

    data: bytes


class End(msgspec.Struct, tag="end", frozen=True):
    """The task has ended."""


Message = ReadTask | WriteTask | Table | Problems | TooManyRows | Piece | End


def send(write: Write, message: Message) -> None:
    """Write a message."""
    content = msgspec.msgpack.encode(message)
    write(LENGTH.pack(len(content)) + content)


def receive(read: Read) -> Message:
    """Read the next message; ``read`` must return exactly the requested number of bytes."""
    (length,) = LENGTH.unpack(read(LENGTH.size))
    message: Message = msgspec.msgpack.decode(read(length), type=Message)
    return message


def table_message(columns: Sequence[NDArray[Any]], kept: Kept = NOTHING) -> Table:
    """Arrays of shape (n,) as a message."""
    return Table(
        [
            Objects(column.tolist()) if column.dtype == object else Numbers(column.dtype.str, column.tobytes())
            for column in columns
        ],
        *kept,
    )


def arrays_of(message: Table) -> list[NDArray[Any]]:
    """The arrays of a message; they are read-only."""
    return [
        np.array(column.values, dtype=object)
        if isinstance(column, Objects)
        else np.frombuffer(column.data, dtype=np.dtype(column.dtype))
        for column in message.columns
    ]


def rows_of(message: Table, schema: FeatureSchema) -> Rows:
    """The rows of a message."""
    table = FeatureTable.from_columns(schema, arrays_of(message))
    return Rows(table, Kept(message.kinds, message.packed))


def problems_message(error: InvalidRecordError) -> Problems:
    """Problems as a message."""
    return Problems([(str(item), item.kind, item.field, item.row) for item in error.problems])


def error_of(message: Problems) -> InvalidRecordError:
    """The problems of a message."""
    return InvalidRecordError(
        [InvalidInputError(text, kind=kind, field=field, row=row) for text, kind, field, row in message.problems]
    )
