"""Reads labels from CSV, NDJSON and Parquet files, and checks them row by row."""

import codecs
import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from src.core.errors import DataError
from src.core.feedback import MAX_KEY, MAX_LABEL
from src.core.prediction_log import canonical_id
from src.core.typed_cells import number_cell, text_cell
from src.quality.parquet_files import TIME

REQUEST_ID, KEY, LABEL, TIME_COLUMN = "request_id", "id", "label", "time"
# Longer lines are refused, so that a file without line ends does not fill the memory.
MAX_LINE = 1_000_000
BATCH_ROWS = 10_000
# In messages.
AN_ID, A_LABEL = "an id", "a label"


class RawLabel(NamedTuple):
    """The cells of a row: any values, None where there are none. ``key`` is the team's own id, the column ``id``."""

    request_id: Any
    key: Any
    label: Any
    time: Any


class CheckedLabel(NamedTuple):
    """A label of a request's row, or of a key."""

    request_id: str | None
    key: str | None
    label: str
    time: datetime | None


class NumberedRow(NamedTuple):
    """A row of a source and what to call it, such as ``line 3``; a text says what is wrong with it."""

    place: str
    row: RawLabel | str


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


def check_label(raw: RawLabel, classes: Collection[str]) -> CheckedLabel:
    """A row as it is stored.

    Args:
        raw: the row.
        classes: the model's classes, of which a typed label is the one of equal value; none for a regression, whose
            labels are finite numbers.

    Raises:
        ValueError: what the row lacks, to follow "row 3".
    """
    request_id, key = _text(raw.request_id, AN_ID, MAX_KEY), _text(raw.key, AN_ID, MAX_KEY)
    if (request_id is None) == (key is None):
        raise ValueError("has no id" if request_id is None else f"has both {REQUEST_ID} and {KEY}")
    label = _text(raw.label, A_LABEL, MAX_LABEL, classes)
    if label is None:
        raise ValueError("has no label")
    if classes and label not in classes:
        raise ValueError("has a label that is not a class of the model")
    if not classes and number_cell(label) is None:
        raise ValueError("has a label that is not a finite number")
    return CheckedLabel(None if request_id is None else canonical_id(request_id), key, label, _moment(raw.time))


def is_missing(cell: Any) -> bool:
    """Whether a cell of a typed table has no value: null, or not a number, or not a time."""
    return cell is None or (isinstance(cell, float | datetime) and cell != cell)  # noqa: PLR0124 - as NaN and NaT do


def _text(cell: Any, name: str, longest: int, known: Collection[str] = ()) -> str | None:
    """A cell as text, None if it is missing or empty."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if is_missing(cell):
        return None
    text = text_cell(cell, known)
    if text is None:
        raise ValueError(f"has {name} that is neither text nor a finite number")
    text = text if text in known else text.strip()
    if len(text) > longest:
        raise ValueError(f"has {name} of more than {longest} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"has {name} that is not valid Unicode") from None
    return text or None


def _moment(cell: Any) -> datetime | None:
    """A time in UTC, which is the zone where there is none; a date is its midnight."""
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        return None
    written = cell.isoformat() if isinstance(cell, date) else cell
    try:
        moment = datetime.fromisoformat(written.strip() if isinstance(written, str) else written)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("has a time that is not ISO 8601, such as 2026-03-04T12:00:00Z") from None


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
        raise DataError(f"needs the columns {REQUEST_ID} or {KEY}, and {LABEL}; {TIME_COLUMN} is optional")
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
