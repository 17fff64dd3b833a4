"""Reads a batch as columns: a JSON object with a list of values for each column."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.tables.columns import Checked, column_of, each_checked, joined, part_of, read_values
from src.serving.tables.extra_columns import ExtraColumns, Kept
from src.serving.tables.json_pieces import JsonPieces, value_end
from src.serving.tables.parts import Part, positions
from src.serving.tables.problems import UNFIT, malformed
from src.serving.tables.values import convert, value_of

NO_JSON = 'the body is not valid JSON (NaN and Infinity are not JSON); send {"column": [values], ...}'
NO_COLUMN = "a column must be a list of its values; a single record is for /predict"
OPENING = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*")
NAME = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
BRACKET = re.compile(rb"\[")
NEXT = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
CLOSING = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*\Z")


def json_columns(schema: FeatureSchema, body: bytearray, extra: ExtraColumns) -> Iterator[Part | int]:
    """Read the only part of a JSON object of columns in any order, piece by piece."""
    pieces = JsonPieces(body, lambda: malformed(NO_JSON))
    columns = {column.name: column for column in schema.columns}
    names: list[str] = []
    found: dict[str, list[Checked]] = {}
    kept: dict[str, list[Any]] = {}
    for name in _names(pieces):
        names.append(name)
        row = 0
        for piece in pieces.elements(value_end):
            if name in columns:
                values = _read(columns[name], piece, row)
                row += values.rows
                found.setdefault(name, []).append(values)
            elif extra is ExtraColumns.KEEP:
                kept.setdefault(name, []).extend(_decoded(piece, list[Any]))
                row = len(kept[name])
            yield row
    positions(names, schema, extra)
    yield _part(schema, found, kept)


def _names(pieces: JsonPieces) -> Iterator[str]:
    """Each column's name; its elements must be read before the next name."""
    pieces.take(OPENING)
    if pieces.sees(CLOSING):
        return
    while True:
        name = _decoded(pieces.take(NAME)[1], str)
        if not pieces.sees(BRACKET):
            raise malformed(NO_COLUMN)
        yield name
        if pieces.sees(CLOSING):
            return
        pieces.take(NEXT)


def _part(schema: FeatureSchema, found: dict[str, list[Checked]], kept: dict[str, list[Any]]) -> Part:
    lengths = {sum(piece.rows for piece in pieces) for pieces in found.values()} | set(map(len, kept.values()))
    if len(lengths) != 1:
        raise malformed("the columns differ in their number of values")
    rows = lengths.pop()
    if not rows:
        raise malformed("the batch has no rows; send at least one value for each column")
    columns = [
        joined(found[column.name]) if column.name in found else column_of(column, None, rows)
        for column in schema.columns
    ]
    return part_of(schema, columns, Kept.of(kept))


def _read(column: Column, piece: bytes, first_row: int) -> Checked:
    """Read a list of values of one column."""
    is_plain = column.type is ColumnType.NUMBER and column.required
    kind: Any = float if is_plain else bool | int | float | str | None
    try:
        return read_values(column, msgspec.json.decode(piece, type=list[kind]), first_row)
    except UNFIT:  # then value by value, to report every problem
        raw = _decoded(piece, list[msgspec.Raw])
        return each_checked(column, raw, first_row, lambda column, value: convert(column, value_of(value)))


def _decoded(content: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        raise malformed(NO_JSON) from None
