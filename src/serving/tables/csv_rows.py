"""Rows as CSV: a header with the columns in any order, then a line for each row."""

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.serving.tables.columns import read_texts
from src.serving.tables.parts import PART_ROWS, PART_VALUES, ExtraColumns, Part, part_of, places_of
from src.serving.tables.pieces import lines_of
from src.serving.tables.problems import MALFORMED, MAX_TOLD, InvalidRecordError, malformed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATOR = "; cells are separated by commas"


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
        places, others = places_of(header, schema, extra, SEPARATOR)
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


def _lines(body: bytearray) -> Iterator[str]:
    start = BYTE_ORDER_MARK
    for piece in lines_of(body):
        yield from io.StringIO(piece.removeprefix(start).decode(), newline="")
        start = b""


def _uneven(rows: list[list[str]], width: int, first_row: int, *, trailing: bool) -> list[InvalidInputError]:
    """The problems of rows whose number of cells differs from the header's (plus one for a trailing comma)."""
    if not trailing and set(map(len, rows)) == {width}:
        return []
    message = f"a row must have {width} cells, as the header has"
    return [
        InvalidInputError(message, kind=MALFORMED, row=row)
        for row, cells in enumerate(rows, first_row)
        if len(cells) != width + trailing or (trailing and cells[-1].strip())
    ][:MAX_TOLD]
