"""A batch as CSV: a header with the columns in any order, then a line for each row."""

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Value, array_of
from src.services.inference.formats.parts import PART_ROWS, PART_VALUES, Checked, Part, checked, part_of, positions
from src.services.inference.formats.records import (
    MALFORMED,
    MAX_TOLD,
    NOT_A_BOOLEAN,
    NOT_A_NUMBER,
    NOT_AN_INTEGER,
    InvalidRecordError,
    convert,
    malformed,
)
from src.services.inference.formats.windows import windows

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WORDS = {"true": True, "false": False}
KINDS = {
    ColumnType.NUMBER: ("a number", NOT_A_NUMBER),
    ColumnType.INTEGER: ("a whole number", NOT_AN_INTEGER),
    ColumnType.BOOLEAN: ("true or false", NOT_A_BOOLEAN),
}
NO_CSV = "the body is not CSV in UTF-8 with commas between the cells from this row on"


def csv_rows(schema: FeatureSchema, body: bytearray, _max_rows: int) -> Iterator[Part]:
    """The parts of a CSV file; an empty cell is a missing value, and lines without anything do not count."""
    lines = filter(None, csv.reader(_lines(body), strict=True))
    row = 0
    try:
        places = positions(next(lines, []), schema)
        width = len([place for place in places if place is not None])
        size = max(1, min(PART_ROWS, PART_VALUES // width))
        while cells := list(islice(lines, size)):
            yield _part(schema, places, cells, row)
            row += len(cells)
    except (csv.Error, UnicodeDecodeError):
        raise malformed(NO_CSV, row=row) from None
    if not row:
        raise malformed("the batch has no rows; send at least one line behind the header")


def _lines(body: bytearray) -> Iterator[str]:
    start = BYTE_ORDER_MARK if body.startswith(BYTE_ORDER_MARK) else b""
    for window in windows(body):
        yield from io.StringIO(window.removeprefix(start).decode(), newline="")
        start = b""


def _part(schema: FeatureSchema, places: list[int | None], rows: list[list[str]], first_row: int) -> Part:
    width = sum(place is not None for place in places)
    if any(len(row) != width for row in rows):
        message = f"a row must have {width} cells, as the header has"
        uneven = [first_row + index for index, row in enumerate(rows) if len(row) != width][:MAX_TOLD]
        return InvalidRecordError([InvalidInputError(message, kind=MALFORMED, row=row) for row in uneven])
    cells = list(zip(*rows, strict=True))
    return part_of(
        schema,
        [
            _read(column, [""] * len(rows) if place is None else cells[place], first_row)
            for column, place in zip(schema.columns, places, strict=True)
        ],
    )


def _read(column: Column, cells: Sequence[str], first_row: int) -> Checked:
    """The cells of one column."""
    if column.type is ColumnType.NUMBER and column.required and _is_plain("".join(cells)):
        # All at once, if all are numbers.
        with contextlib.suppress(ValueError):
            return checked(column, np.array(list(map(float, cells))), None, first_row)
    good: list[Value] = []
    problems: list[InvalidInputError] = []
    for index, cell in enumerate(cells):
        try:
            good.append(convert(column, _value(column, cell) if cell else None))
        except InvalidInputError as problem:
            problem.row = first_row + index
            problems.append(problem)
    return Checked(array_of(column, good), len(cells), problems[:MAX_TOLD])


def _is_plain(text: str) -> bool:
    """Whether Python reads numbers in it as everybody does: it also takes 1_000, and digits of any script."""
    return text.isascii() and "_" not in text


def _value(column: Column, cell: str) -> object:
    """A cell that is not empty, as its column's type.

    Raises:
        InvalidInputError: it is nothing of the kind.
    """
    if column.type is ColumnType.STRING:
        return cell
    value: object = None
    if column.type is ColumnType.BOOLEAN:
        value = WORDS.get(cell.strip().lower())
    elif _is_plain(cell):
        with contextlib.suppress(ValueError):
            value = float(cell)
        if column.type is ColumnType.INTEGER:  # beyond 2 ** 53 only an integer is exact
            with contextlib.suppress(ValueError):
                value = int(cell)
    if value is None:
        what, kind = KINDS[column.type]
        raise InvalidInputError(f"{column.name} must be {what}", kind=kind, field=column.name)
    return value
