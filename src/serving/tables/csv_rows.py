"""Rows as CSV: a header with the columns in any order, then a line for each row."""

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.counting import counted
from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.serving.tables.columns import read_texts, read_values
from src.serving.tables.parts import PART_ROWS, PART_VALUES, ExtraColumns, Part, part_of, places_of
from src.serving.tables.pieces import lines_of
from src.serving.tables.problems import MALFORMED, MAX_TOLD, InvalidRecordError, malformed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
READER = partial(csv.reader, strict=True, skipinitialspace=True)
SEPARATOR = "; cells are separated by commas"
LINE_END = re.compile(rb"\r\n?|\n")


def csv_rows(schema: FeatureSchema, body: bytearray, extra: ExtraColumns | None) -> Iterator[Part]:
    """Read the parts of a CSV file; cells are read by ``core.column_rules``, and empty lines are ignored.

    As in training, all rows may end with a comma, which makes one empty cell more than the header has.
    """
    row, trailing = 0, False
    try:
        reader = READER(text_lines(body))
        header = [name if name in schema.names else name.strip() for name in next(filter(None, reader), [])]
        if len(header) == 1 and header[0] not in schema.names and (sign := re.search(r"[;\t|]", header[0])):
            raise malformed(f"the header is one cell, which has {sign[0]!r} in it{SEPARATOR}")
        places, others = places_of(header, schema, extra, SEPARATOR)
        if reader.line_num == 1 and schema.is_numeric and not others:
            end = LINE_END.search(body)
            start = end.end() if end else len(body)
            for piece in lines_of(body, start):
                if (matrix := _matrix(piece, len(header))) is None:
                    break
                numbers = {name: matrix[:, place] for name, place in places.items()}
                yield part_of(schema, numbers, len(matrix), partial(read_values, first_row=row), {})
                row, start = row + len(matrix), start + len(piece)
            reader = READER(text_lines(body, start))
        lines = filter(None, reader)
        size = max(1, min(PART_ROWS, PART_VALUES // (len(header) or 1)))
        while rows := list(islice(lines, size)):
            if not row:
                trailing = len(rows[0]) == len(header) + 1 and not rows[0][-1].strip()
            if uneven := _uneven(rows, len(header), row, trailing=trailing):
                yield InvalidRecordError(uneven)
            else:
                cells = list(zip(*rows, strict=True))
                columns, kept = [{name: cells[place] for name, place in some.items()} for some in (places, others)]
                yield part_of(schema, columns, len(rows), partial(read_texts, first_row=row), kept)
            row += len(rows)
    except (csv.Error, UnicodeDecodeError):
        raise malformed(
            "the body is not CSV in UTF-8 with commas between the cells from this row on", row=row
        ) from None
    if not row:
        raise malformed("the batch has no rows; send at least one line after the header")


def text_lines(body: bytearray, start: int = 0) -> Iterator[str]:
    """The lines of a CSV file in UTF-8, without a byte order mark. Raises UnicodeDecodeError."""
    mark = b"" if start else BYTE_ORDER_MARK
    for piece in lines_of(body, start):
        yield from io.StringIO(piece.removeprefix(mark).decode(), newline="")
        mark = b""


def _matrix(lines: bytearray, columns: int) -> NDArray[np.float64] | None:
    """Lines of plain numbers as an array, shape (lines, columns); None for any others.

    A decoder of JSON reads them in half the time that it takes to split and convert cells.
    """
    text = bytes(lines).replace(b"\r\n", b"\n").strip(b"\n")
    if b"\r" in text:  # it ends a line too, but is white space in JSON
        return None
    try:
        rows = msgspec.json.decode(b"[[" + text.replace(b"\n", b"],[") + b"]]", type=list[list[float]])
    except ValueError:
        return None
    if len(rows) != text.count(b"\n") + 1 or set(map(len, rows)) != {columns}:
        return None
    return np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * columns).reshape(-1, columns)


def _uneven(rows: list[list[str]], width: int, first_row: int, *, trailing: bool) -> list[InvalidInputError]:
    """The problems of rows whose number of cells differs from the header's (plus one for a trailing comma)."""
    if not trailing and set(map(len, rows)) == {width}:
        return []
    message = f"a row must have {counted(width, 'cell')}, as the header has"
    return [
        InvalidInputError(message, kind=MALFORMED, row=row)
        for row, cells in enumerate(rows, first_row)
        if len(cells) != width + trailing or (trailing and cells[-1].strip())
    ][:MAX_TOLD]
