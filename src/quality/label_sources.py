"""Reads labels from CSV, NDJSON and Parquet files."""

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from src.core.errors import DataError
from src.quality.label_rows import KEY, LABEL, REQUEST_ID, TIME_COLUMN, NumberedRow, RawLabel
from src.quality.parquet_files import TIME

# Longer lines are refused, so that a file without line ends does not fill the memory.
MAX_LINE = 1_000_000
BATCH_ROWS = 10_000


Reader = Callable[[BinaryIO], Iterator[NumberedRow]]


def read_labels(path: Path, file: BinaryIO) -> Iterator[NumberedRow]:
    """The rows of a file, by its suffix.

    Raises:
        DataError: it has another suffix, form or header; the message follows the file's name.
    """
    try:
        reader = READERS[path.suffix.lower()]
    except KeyError:
        raise DataError(f"is not a file of labels; its name must end with {', '.join(READERS)}") from None
    return reader(file)


def _read_csv(file: BinaryIO) -> Iterator[NumberedRow]:
    reader = csv.reader(_lines(file))
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _places(header)
        for cells in reader:
            if cells:
                found = {name: cells[place] for name, place in places.items() if place < len(cells)}
                yield NumberedRow(f"line {reader.line_num}", _raw(found))
    except csv.Error as error:
        raise DataError(f"is not a CSV file: line {reader.line_num}: {error}") from None


def _read_ndjson(file: BinaryIO) -> Iterator[NumberedRow]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        row = _raw(found) if isinstance(found, dict) else "is not a JSON object"
        yield NumberedRow(f"line {number}", row)


def _read_parquet(file: BinaryIO) -> Iterator[NumberedRow]:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            places = _places(parquet.schema_arrow.names)
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(places)):
                columns = [_python_values(batch.column(name)) for name in places]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield NumberedRow(f"row {number}", _raw(dict(zip(places, cells, strict=True))))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a Parquet file: {' '.join(str(error).split())}") from None


READERS: Mapping[str, Reader] = {
    ".csv": _read_csv,
    ".ndjson": _read_ndjson,
    ".jsonl": _read_ndjson,
    ".parquet": _read_parquet,
}


def _lines(file: BinaryIO) -> Iterator[str]:
    mark = codecs.BOM_UTF8
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise DataError(f"has a line of more than {MAX_LINE} bytes")
        try:
            yield line.removeprefix(mark).decode()
        except UnicodeDecodeError:
            raise DataError("is not UTF-8 text") from None
        mark = b""


def _places(names: list[str]) -> dict[str, int]:
    """Where the columns of labels are."""
    places = {name: names.index(name) for name in (REQUEST_ID, KEY, LABEL, TIME_COLUMN) if name in names}
    if LABEL not in places or not {REQUEST_ID, KEY} & set(places):
        raise DataError(
            f"needs the columns {REQUEST_ID} or {KEY}, and {LABEL}; {TIME_COLUMN} is optional; in CSV, cells are "
            "separated by commas"
        )
    if twice := [name for name in places if names.count(name) > 1]:
        raise DataError(f"has the column {twice[0]} more than once")
    return places


def _raw(found: Mapping[str, Any]) -> RawLabel:
    return RawLabel(found.get(REQUEST_ID), found.get(KEY), found.get(LABEL), found.get(TIME_COLUMN))


def _python_values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(TIME, safe=False)  # Python's times have no nanoseconds
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):  # a time that Python does not know
        return [_python_value(cell) for cell in column]
    return values


def _python_value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        return b""  # no text, and no time
