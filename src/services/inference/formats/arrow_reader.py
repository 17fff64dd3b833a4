"""A batch as Arrow or Parquet. Runs in a worker only: the library may end its process over a malformed body."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from arro3.core import Array, DataType, RecordBatchReader
from arro3.io import read_ipc, read_ipc_stream, read_parquet
from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.services.inference.formats import Format
from src.services.inference.formats.parts import PART_ROWS, Checked, Part, TooManyRowsError, checked, part_of, positions
from src.services.inference.formats.records import (
    NOT_A_BOOLEAN,
    NOT_A_NUMBER,
    NOT_A_STRING,
    NOT_AN_INTEGER,
    InvalidRecordError,
    malformed,
)

READERS: Mapping[Format, Callable[[bytes], RecordBatchReader]] = {
    Format.ARROW_STREAM: read_ipc_stream,
    Format.ARROW_FILE: read_ipc,
    Format.PARQUET: lambda body: read_parquet(body, batch_size=PART_ROWS),
}
# A dictionary's texts may be repeated in every row: the body's length does not limit them.
MAX_TEXT = 1 << 26
WHOLE_LIMIT = 2**63 - 1
# As far as a float holds every whole number.
EXACT_LIMIT = 2**53


def arrow_parts(form: Format, schema: FeatureSchema, body: bytes, max_rows: int) -> Iterator[Part]:
    """The parts of a body.

    Raises:
        InvalidRecordError: its columns are not the model's.
        TooManyRowsError: it has too many rows.
        BaseException: whatever the library raises on a malformed body, a Rust panic among it.
    """
    reader = READERS[form](body)
    places = positions(reader.schema.names, schema)
    _check_types(schema, places, reader.schema.types)
    columns = [_Column(column) for column in schema.columns]
    gathered: list[list[Checked]] = []
    row, waiting, text = 0, 0, 0
    for batch in reader:
        if row + batch.num_rows > max_rows:
            raise TooManyRowsError(max_rows)
        for start in range(0, batch.num_rows, PART_ROWS):
            some = batch.slice(start, min(PART_ROWS, batch.num_rows - start))
            gathered.append(
                [
                    column.read(None if place is None else some.column(place), some.num_rows, row)
                    for column, place in zip(columns, places, strict=True)
                ]
            )
            row, waiting = row + some.num_rows, waiting + some.num_rows
            text += sum(column.text for column in columns)
            if text > MAX_TEXT:
                raise malformed(f"the texts are longer than {MAX_TEXT} characters together; send several batches")
            if waiting >= PART_ROWS:
                yield _joined(schema, gathered)
                gathered, waiting = [], 0
    if gathered:
        yield _joined(schema, gathered)
    if not row:
        raise malformed("the batch has no rows; send at least one")


def _joined(schema: FeatureSchema, pieces: list[list[Checked]]) -> Part:
    """A part of several small pieces: a stream may come in batches of one row each."""
    return part_of(
        schema,
        [
            Checked(
                np.concatenate([piece.values for piece in column]),
                sum(piece.rows for piece in column),
                [problem for piece in column for problem in piece.problems],
            )
            for column in zip(*pieces, strict=True)
        ],
    )


def _check_types(schema: FeatureSchema, places: list[int | None], types: list[DataType]) -> None:
    """Raises InvalidRecordError where a column cannot hold what the model takes."""
    problems: list[InvalidInputError] = []
    for column, place in zip(schema.columns, places, strict=True):
        if place is None:
            continue
        found = types[place]
        if DataType.is_dictionary(found) and found.value_type is not None:
            found = found.value_type
        what, kind, fits = TAKEN[column.type]
        if not (fits(found) or DataType.is_null(found)):
            text = f"{column.name} must be a column of {what}; its Arrow type is another"
            problems.append(InvalidInputError(text, kind=kind, field=column.name))
    if problems:
        raise InvalidRecordError(problems)


def _is_number(found: DataType) -> bool:
    return DataType.is_integer(found) or DataType.is_floating(found)


def _is_text(found: DataType) -> bool:
    return DataType.is_string(found) or DataType.is_large_string(found) or DataType.is_string_view(found)


# How a column's type is called, the problem of another one, and which Arrow types it takes.
TAKEN: Mapping[ColumnType, tuple[str, str, Callable[[DataType], bool]]] = {
    ColumnType.NUMBER: ("integers or floats", NOT_A_NUMBER, _is_number),
    ColumnType.INTEGER: ("integers, or of floats that are whole", NOT_AN_INTEGER, _is_number),
    ColumnType.BOOLEAN: ("booleans", NOT_A_BOOLEAN, DataType.is_boolean),
    ColumnType.STRING: ("texts, plain or in a dictionary", NOT_A_STRING, _is_text),
}


class _Column:
    """Turns one column's Arrow arrays into checked ones."""

    def __init__(self, column: Column) -> None:
        self._column = column
        # How many characters the last array had.
        self.text = 0

    def read(self, array: Array | None, rows: int, first_row: int) -> Checked:
        """An array of so many rows; None where the column is left out."""
        if array is not None and DataType.is_dictionary(array.type) and array.type.value_type is not None:
            array = array.cast(array.type.value_type)
        if array is None or DataType.is_null(array.type):
            return checked(self._column, self._empty(rows), np.ones(rows, dtype=np.bool_), first_row)
        if not array.null_count and self._column.type is not ColumnType.STRING:
            return checked(self._column, self._typed(array.to_numpy()), None, first_row)
        listed: list[Any] = array.to_pylist()
        missing = np.array([value is None for value in listed], dtype=np.bool_)
        if self._column.type is ColumnType.STRING:
            self.text = sum(len(value) for value in listed if value is not None)
            return checked(self._column, np.array(listed, dtype=object), missing, first_row)
        values = np.array([0 if value is None else value for value in listed])
        return checked(self._column, self._typed(values), missing, first_row)

    def _typed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as ``checked`` takes them."""
        if self._column.type is ColumnType.NUMBER:
            return values.astype(np.float64)
        if self._column.type is ColumnType.INTEGER:
            if values.dtype == np.uint64 and (beyond := values > WHOLE_LIMIT).any():
                # The part will be refused; what is good in it must only still look so.
                return np.where(beyond, float(WHOLE_LIMIT), np.minimum(values, EXACT_LIMIT))
            return values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
        return values.astype(np.bool_)

    def _empty(self, rows: int) -> NDArray[Any]:
        kinds: Mapping[ColumnType, Any] = {ColumnType.BOOLEAN: np.bool_, ColumnType.STRING: object}
        return np.zeros(rows, dtype=kinds.get(self._column.type, np.float64))
