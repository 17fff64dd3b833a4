"""The messages between the service and its workers, as MessagePack."""

from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import FeatureSchema
from src.serving.tables.parts import NOTHING, ExtraColumns, Format, Kept


class ReadTask(msgspec.Struct, tag="read", frozen=True):
    """Read the body that follows. Answered by ``Table`` and ``Problems``, and an ``End``."""

    form: Format
    schema: FeatureSchema
    extra: ExtraColumns | None


class WriteTask(msgspec.Struct, tag="write", frozen=True):
    """Write the tables that follow, up to an ``End``. Each is answered by a ``Piece``, and the end by an ``End``."""

    form: Format
    kinds: dict[str, str]  # by column
    metadata: dict[str, str]


class Table(msgspec.Struct, tag="table", frozen=True):
    """Some rows: the type and the memory of each column's array, or its values if they are objects."""

    columns: list[tuple[str, bytes | list[str | bool | int | float | None]]]
    kept: Kept

    @classmethod
    def of(cls, columns: Iterable[NDArray[Any] | Sequence[Any]], kept: Kept = NOTHING) -> "Table":
        """Columns of n values each: an array, or any values of which some may be missing."""
        return cls(
            [
                (column.dtype.str, column.tobytes())
                if isinstance(column, np.ndarray) and column.dtype != object
                else ("O", list(column))
                for column in columns
            ],
            kept,
        )

    def arrays(self) -> list[NDArray[Any]]:
        """The arrays; those of numbers are read-only."""
        return [
            np.frombuffer(values, np.dtype(dtype)) if isinstance(values, bytes) else np.array(values, dtype=object)
            for dtype, values in self.columns
        ]


class Problems(msgspec.Struct, tag="problems", frozen=True):
    """Problems of some rows: message, kind, column and row of each."""

    problems: list[tuple[str, str, str | None, int | None]]


class Piece(msgspec.Struct, tag="piece", frozen=True):
    """Bytes of the written file; may be empty."""

    data: bytes


class End(msgspec.Struct, tag="end", frozen=True):
    """The task has ended, with the rest of the written file."""

    data: bytes = b""


Message = ReadTask | WriteTask | Table | Problems | Piece | End
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def send(pipe: Connection, message: Message) -> None:
    """Send a message, or raise OSError if the other end is closed."""
    pipe.send_bytes(msgspec.msgpack.encode(message))


def receive(pipe: Connection) -> Message:
    """The next message; raises OSError or EOFError if the other end is closed."""
    return _DECODER.decode(pipe.recv_bytes())
