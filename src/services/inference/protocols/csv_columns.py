"""CSV text as columns of typed values; missing values and booleans are spelt as pandas reads and writes them."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.services.inference.formats.records import malformed

# As many rows at a time: one piece of work of the interpreter's own code keeps every other thread waiting.
PART_ROWS = 1000
# What pandas takes for a missing value.
MISSING_TEXTS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
# Possessive: a long row of digits that ends in something else must not be tried again from each of its digits.
NUMBER = re.compile(r"[+-]?(\d++(\.\d*+)?|\.\d++)(e[+-]?\d++)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)


def columns_of_csv(schema: FeatureSchema, text: str) -> tuple[dict[str, list[Any]], int]:
    """The schema's columns that the text has, by name, and the number of rows.

    A cell that does not read as its column's type stays text; a missing one is None. Other columns, such as an
    index, are left out.

    Args:
        schema: names and types.
        text: a header and rows of as many cells; blank lines do not count.

    Raises:
        InvalidRecordError: the text is not so.
    """
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(filter(None, lines), None)
        if header is None:
            raise malformed("the CSV has no header; send one with the columns' names")
        places = _places(schema, header)
        columns: dict[str, list[Any]] = {column.name: [] for column, _ in places}
        rows = 0
        while part := list(islice(filter(None, lines), PART_ROWS)):
            for row, line in enumerate(part, rows):
                if len(line) != len(header):
                    raise malformed("must have as many cells as the header", row)
            for column, place in places:
                columns[column.name] += _values(column, [line[place] for line in part])
            rows += len(part)
    except csv.Error:
        raise malformed("the body is not valid CSV") from None
    return columns, rows


def _places(schema: FeatureSchema, header: list[str]) -> list[tuple[Column, int]]:
    """The schema's columns that the header has, and where."""
    for name in schema.names:
        if header.count(name) > 1:
            raise malformed(f"{name} must be one column of the header")
    return [(column, header.index(column.name)) for column in schema.columns if column.name in header]


def _values(column: Column, texts: Sequence[str]) -> list[Any]:
    if column.type is ColumnType.NUMBER and _is_plain(texts):
        try:
            return list(map(float, texts))
        except ValueError:
            pass
    read = READERS[column.type]
    return [read(text) for text in texts]


def _is_plain(texts: Sequence[str]) -> bool:
    """Whether Python's ``float`` takes nothing here that is no number elsewhere, such as 1_000."""
    joined = "".join(texts)
    return joined.isascii() and "_" not in joined


def _number(text: str) -> float | str | None:
    text = text.strip()
    if text in MISSING_TEXTS:
        return None
    return float(text) if NUMBER.fullmatch(text) else text


def _integer(text: str) -> float | str | None:
    text = text.strip()
    return int(text) if INTEGER.fullmatch(text) else _number(text)


def _boolean(text: str) -> bool | str | None:
    text = text.strip()
    return None if text in MISSING_TEXTS else BOOLEANS.get(text, text)


def _string(text: str) -> str | None:
    return None if text in MISSING_TEXTS else text


READERS: Mapping[ColumnType, Callable[[str], Any]] = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.STRING: _string,
}
