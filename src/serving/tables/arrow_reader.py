"""Reads a batch as Arrow or Parquet. Runs in a worker only: a malformed body may crash the library's process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import read_ipc, read_ipc_stream, read_parquet
from numpy.typing import NDArray

from src.core.column_rules import LARGEST_INTEGER
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.typed_cells import float32_cell
from src.serving.tables.arrow_types import PLAIN, check_types, units_per_day
from src.serving.tables.columns import Checked, checked, each_checked, joined, part_of
from src.serving.tables.extra_columns import ExtraColumns, Kept
from src.serving.tables.formats import Format
from src.serving.tables.parts import MAX_PIECE_BYTES, PART_ROWS, Part, Rows, kept_places, positions
from src.serving.tables.problems import InvalidRecordError, malformed

READERS: Mapping[Format, Callable[[bytes], RecordBatchReader]] = {
    Format.ARROW_STREAM: read_ipc_stream,
    Format.ARROW_FILE: read_ipc,
    Format.PARQUET: lambda body: read_parquet(body, batch_size=PART_ROWS),
}


def arrow_parts(form: Format, schema: FeatureSchema, body: bytes, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of a body.

    Raises:
        InvalidRecordError: its columns are not the model's.
        BaseException: any error of the library on a malformed body, including a Rust panic.
    """
    reader = READERS[form](body)
    names = reader.schema.names
    places, others = positions(names, schema, extra), kept_places(names, schema, extra)
    check_types(schema, places, reader.schema.types)
    columns = [_Column(column) for column in schema.columns]
    gathered = _Gathered(schema, others)
    row = 0
    for batch in reader:
        for start in range(0, batch.num_rows, PART_ROWS):
            some = batch.slice(start, min(PART_ROWS, batch.num_rows - start))
            read = [
                column.read(None if place is None else some.column(place), some.num_rows, row)
                for column, place in zip(columns, places, strict=True)
            ]
            gathered.add(some, read)
            row += some.num_rows
            if gathered.rows >= PART_ROWS:
                yield from gathered.parts()
    if gathered.rows:
        yield from gathered.parts()
    if not row:
        raise malformed("the batch has no rows; send at least one")


class _Gathered:
    """Joins small pieces into a part, as a stream may consist of batches of one row each."""

    def __init__(self, schema: FeatureSchema, others: dict[str, int]) -> None:
        self._schema = schema
        self._others = others
        self._empty()

    def _empty(self) -> None:
        self.rows = 0
        self._pieces: list[list[Checked]] = []
        self._kept: dict[str, list[Any]] = {name: [] for name in self._others}

    def add(self, some: RecordBatch, read: list[Checked]) -> None:
        """Add rows with their checked columns."""
        self.rows += some.num_rows
        self._pieces.append(read)
        for name, place in self._others.items():
            self._kept[name] += [_plain(value) for value in some.column(place).to_pylist()]

    def parts(self) -> Iterator[Part]:
        """The rows that were added, in parts of about ``MAX_PIECE_BYTES`` of text at most; they are then removed."""
        columns = [joined(pieces) for pieces in zip(*self._pieces, strict=True)]
        kept, rows = self._kept, self.rows
        self._empty()
        whole = part_of(self._schema, columns, Kept.of(kept))
        if isinstance(whole, InvalidRecordError) or whole.text_bytes <= MAX_PIECE_BYTES:
            yield whole
            return
        size = max(1, rows * MAX_PIECE_BYTES // whole.text_bytes)
        for start in range(0, rows, size):
            some = {name: values[start : start + size] for name, values in kept.items()}
            yield Rows(whole.table.part(start, start + size), Kept.of(some))


def _plain(value: Any) -> Any:
    """A value as JSON holds it: a date as ISO 8601, any other type as Python's ``str``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _cells(array: Array) -> Sequence[Any]:
    cells: Any = array.to_pylist()
    if not DataType.is_floating(array.type) or DataType.is_float64(array.type):
        return cells  # type: ignore[no-any-return] # a list; its stub says an array
    return [None if cell is None else float32_cell(cell) for cell in cells]


class _Column:
    """Turns one column's Arrow arrays into checked ones."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def read(self, array: Array | None, rows: int, first_row: int) -> Checked:
        """Check an array of so many rows; None if the column is absent."""
        if array is not None and DataType.is_dictionary(array.type) and array.type.value_type is not None:
            array = array.cast(array.type.value_type)
        if array is None or DataType.is_null(array.type):
            return checked(self._column, self._empty(rows), np.ones(rows, dtype=np.bool_), first_row)
        if not PLAIN[self._column.type](array.type):
            return self._each(_cells(array), first_row)
        per_day = units_per_day(array.type)
        if per_day:
            array = array.cast(DataType.int32() if DataType.is_date32(array.type) else DataType.int64())
        missing, listed = None, array.to_pylist() if array.null_count else None
        values: Any = array.to_numpy() if listed is None else np.array([0 if cell is None else cell for cell in listed])
        if values.dtype.kind not in "iufb" or (values.dtype == np.uint64 and values.max() > LARGEST_INTEGER):
            return self._each(array.to_pylist(), first_row)
        if listed is not None:
            missing = np.array([cell is None for cell in listed], dtype=np.bool_)
        if values.dtype.kind == "f" and not self._column.required:  # NaN is how numpy writes a missing value
            missing = np.isnan(values) if missing is None else missing | np.isnan(values)
        return checked(self._column, self._typed(values, per_day), missing, first_row)

    def _each(self, cells: Sequence[Any], first_row: int) -> Checked:
        if self._column.type is not ColumnType.STRING or self._column.values:
            return each_checked(self._column, cells, first_row)
        missing = np.array([cell is None for cell in cells], dtype=np.bool_)
        return checked(self._column, np.array(cells, dtype=object), missing, first_row)

    def _typed(self, values: NDArray[Any], per_day: int) -> NDArray[Any]:
        """Values as ``checked`` takes them; ``per_day`` is a date's number of units in a day, or 0."""
        if self._column.type in {ColumnType.NUMBER, ColumnType.DATE}:
            return values.astype(np.float64) / (per_day or 1)
        if self._column.type is ColumnType.INTEGER:
            return values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
        return values.astype(np.bool_)

    def _empty(self, rows: int) -> NDArray[Any]:
        kinds: Mapping[ColumnType, Any] = {ColumnType.BOOLEAN: np.bool_, ColumnType.STRING: object}
        return np.zeros(rows, dtype=kinds.get(self._column.type, np.float64))
