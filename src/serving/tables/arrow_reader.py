"""Reads a batch as Arrow or Parquet. Runs in a worker only: a malformed body may crash the library's process."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from arro3.core import Array, ChunkedArray, DataType, RecordBatch, RecordBatchReader, Schema
from arro3.io import read_ipc, read_ipc_stream, read_parquet
from numpy.typing import NDArray

from src.core.column_rules import SECONDS_PER_DAY
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.typed_cells import float32_cell
from src.serving.tables.columns import Problems, checked, convert_cell, each_checked
from src.serving.tables.parts import PART_ROWS, ExtraColumns, Format, Part, in_pieces, part_of, places_of
from src.serving.tables.problems import InvalidRecordError, malformed, problem_of

READERS: Mapping[Format, Callable[[bytes], RecordBatchReader]] = {
    Format.ARROW_STREAM: read_ipc_stream,
    Format.ARROW_FILE: read_ipc,
    Format.PARQUET: lambda body: read_parquet(body, batch_size=PART_ROWS),
}
# The length of a day in the units of dates and timestamps.
DAY_LENGTHS = {"day": 1} | {unit: SECONDS_PER_DAY * 1000**power for power, unit in enumerate(("s", "ms", "us", "ns"))}
# A letter for each group of types: integers, floats, decimals, booleans, texts, moments, null.
LETTERS: Mapping[str, tuple[Callable[[DataType], bool], ...]] = {
    "i": (DataType.is_integer,),
    "f": (DataType.is_floating,),
    "d": (DataType.is_decimal,),
    "b": (DataType.is_boolean,),
    "t": (DataType.is_string, DataType.is_large_string, DataType.is_string_view),
    "m": (DataType.is_date, DataType.is_timestamp),
    "n": (DataType.is_null,),
}


# The Arrow types that a column accepts: a description, and their letters. Arrays of the types with a capital letter are
# checked as a whole, others cell by cell.
ACCEPTED: Mapping[ColumnType, tuple[str, str]] = {
    ColumnType.NUMBER: ("numbers", "IFdtn"),
    ColumnType.INTEGER: ("integers, or of other numbers with whole values", "IFdtn"),
    ColumnType.BOOLEAN: ("booleans, or of 0 and 1", "Bifdtn"),
    ColumnType.STRING: ("texts, plain or in a dictionary", "Tn"),
    ColumnType.DATE: ("dates, timestamps, ISO 8601 texts, or numbers of days since 1970", "MIFtn"),
}
# A category may have been a number, boolean or date in the training data, where it was also read as text.
CATEGORY = ("texts, numbers, booleans or dates", "bifdmtn")


def _accepted(column: Column) -> tuple[str, str]:
    return CATEGORY if column.values else ACCEPTED[column.type]


def arrow_parts(form: Format, schema: FeatureSchema, body: bytes, extra: ExtraColumns | None) -> Iterator[Part]:
    """Read the parts of a body, or raise InvalidRecordError; a malformed body may raise any other BaseException."""
    reader = READERS[form](body)
    places, others = places_in(reader.schema, schema, extra)
    row = 0
    for rows, arrays in _batches(reader, places | others):
        kept = {name: [_plain(cell) for cell in arrays[name].to_pylist()] for name in others}
        yield from in_pieces(part_of(schema, arrays, rows, partial(read_array, first_row=row), kept), kept)
        row += rows
    if not row:
        raise malformed("the batch has no rows; send at least one")


def places_in(
    found: Schema, schema: FeatureSchema, extra: ExtraColumns | None
) -> tuple[dict[str, int], dict[str, int]]:
    """The same as ``places_of``; also raises InvalidRecordError if a column's Arrow type does not fit."""
    places, others = places_of(found.names, schema, extra)
    problems: Problems = []
    for column in schema.columns:
        what, letters = _accepted(column)
        if column.name in places and _letter(found.types[places[column.name]]) not in letters.lower():
            problems.append(problem_of(column, f"must be a column of {what}; its Arrow type is another"))
    if problems:
        raise InvalidRecordError(problems)
    return places, others


def _letter(kind: DataType) -> str:
    """The letter of a type, or of a dictionary's values."""
    plain = (DataType.is_dictionary(kind) and kind.value_type) or kind
    return next((letter for letter, checks in LETTERS.items() if any(check(plain) for check in checks)), "?")


def _batches(reader: RecordBatchReader, places: Mapping[str, int]) -> Iterator[tuple[int, dict[str, Array]]]:
    """The number of rows and the columns of parts of about ``PART_ROWS``: a stream may have batches of one row each."""
    pieces: list[RecordBatch] = []
    rows = 0

    def columns() -> dict[str, Array]:
        return {name: _joined([piece.column(place) for piece in pieces]) for name, place in places.items()}

    for batch in reader:
        for start in range(0, batch.num_rows, PART_ROWS):
            pieces.append(batch.slice(start, min(PART_ROWS, batch.num_rows - start)))
            rows += pieces[-1].num_rows
            if rows >= PART_ROWS:
                yield rows, columns()
                pieces, rows = [], 0
    if rows:
        yield rows, columns()


def _joined(arrays: list[Array]) -> Array:
    """One array, without a dictionary."""
    kind = arrays[0].type
    if DataType.is_dictionary(kind) and kind.value_type:
        arrays = [array.cast(kind.value_type) for array in arrays]
    return arrays[0] if len(arrays) == 1 else ChunkedArray(arrays).combine_chunks()


def _plain(cell: Any) -> Any:
    """A cell as JSON holds it: a date as ISO 8601, any other type as Python's ``str``."""
    if cell is None or isinstance(cell, bool | int | float | str):
        return cell
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def read_array(column: Column, array: Array, problems: Problems, first_row: int = 0) -> NDArray[Any]:
    """Check one column, which is no dictionary; see ``tables.columns``."""
    kind, letter = array.type, _letter(array.type)
    cells: Any
    if letter.upper() not in _accepted(column)[1]:
        cells = array.to_pylist()
        if letter == "f" and not DataType.is_float64(kind):
            cells = [None if cell is None else float32_cell(cell) for cell in cells]
        return each_checked(column, cells, problems, first_row, convert_cell)
    if letter == "m":
        array = array.cast(DataType.int64())
    missing = None
    if letter == "t" or array.null_count:
        cells = array.to_pylist()
        missing = np.array([cell is None for cell in cells], dtype=np.bool_)
        # A null's place has any value.
        values: Any = np.array(
            [False if cell is None else cell for cell in cells], dtype=object if letter == "t" else None
        )
    else:
        values = array.to_numpy()
    if letter == "m":
        values = values / DAY_LENGTHS["day" if DataType.is_date32(kind) else kind.time_unit or "ms"]
    if letter == "f" and not column.required:  # NaN is how numpy writes a missing value
        missing = np.isnan(values) if missing is None else missing | np.isnan(values)
    return checked(column, values, missing, problems, first_row)
