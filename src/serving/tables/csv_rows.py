"""Rows as CSV: a header with the columns in any order, then a line for each row."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.serving.tables.columns import part_of, read_texts
from src.serving.tables.extra_columns import ExtraColumns, Kept
from src.serving.tables.parts import PART_ROWS, PART_VALUES, Part, kept_places, positions
from src.serving.tables.problems import MALFORMED, MAX_TOLD, InvalidRecordError, malformed
from src.serving.tables.windows import windows

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATOR = "; cells are separated by commas"
NO_CSV = "the body is not CSV in UTF-8 with commas between the cells from this row on"


def csv_rows(schema: FeatureSchema, body: bytearray, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of a CSV file; cells are read by ``core.column_rules``, and empty lines are ignored.

    As in training, all rows may end with a comma, which makes one empty cell more than the header has.
    """
    lines = filter(None, csv.reader(_lines(body), strict=True, skipinitialspace=True))
    row, trailing = 0, False
    try:
        header = [name if name in schema.names else name.strip() for name in next(lines, [])]
        if len(header) == 1 and header[0] not in schema.names and (sign := re.search(r"[;\t|]", header[0])):
            raise malformed(f"the header is one cell, which has {sign[0]!r} in it{SEPARATOR}")
        places, others = positions(header, schema, extra, SEPARATOR), kept_places(header, schema, extra)
        size = max(1, min(PART_ROWS, PART_VALUES // (len(header) or 1)))
        while rows := list(islice(lines, size)):
            if not row:
                trailing = len(rows[0]) == len(header) + 1 and not rows[0][-1].strip()
            uneven = _uneven(rows, len(header), row, trailing=trailing)
            yield uneven if uneven else _part(schema, places, others, rows, row)
            row += len(rows)
    except (csv.Error, UnicodeDecodeError):
        raise malformed(NO_CSV, row=row) from None
    if not row:
        raise malformed("the batch has no rows; send at least one line after the header")


def _lines(body: bytearray) -> Iterator[str]:
    start = BYTE_ORDER_MARK if body.startswith(BYTE_ORDER_MARK) else b""
    for window in windows(body):
        yield from io.StringIO(window.removeprefix(start).decode(), newline="")
        start = b""


def _uneven(rows: list[list[str]], width: int, first_row: int, *, trailing: bool) -> InvalidRecordError | None:
    """The problem of rows whose number of cells differs from the header's (plus one for a trailing comma)."""
    if not trailing and set(map(len, rows)) == {width}:
        return None
    wrong = [
        first_row + index
        for index, cells in enumerate(rows)
        if len(cells) != width + trailing or (trailing and cells[-1].strip())
    ]
    message = f"a row must have {width} cells, as the header has"
    problems = [InvalidInputError(message, kind=MALFORMED, row=row) for row in wrong[:MAX_TOLD]]
    return InvalidRecordError(problems) if problems else None


def _part(
    schema: FeatureSchema, places: list[int | None], others: dict[str, int], rows: list[list[str]], first_row: int
) -> Part:
    cells = list(zip(*rows, strict=True))
    columns = [
        read_texts(column, [""] * len(rows) if place is None else cells[place], first_row)
        for column, place in zip(schema.columns, places, strict=True)
    ]
    return part_of(schema, columns, Kept.of({name: cells[place] for name, place in others.items()}))
