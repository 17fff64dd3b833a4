"""Rows as JSON: an array of records, an object with a list of values for each column, or a record on each line."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.tables.columns import Problems, read_values
from src.serving.tables.parts import MAX_VALUE_BYTES, ExtraColumns, Part, Rows, part_of, places_of
from src.serving.tables.pieces import JsonPieces, NotJsonError, decoded, lines_of, value_of
from src.serving.tables.problems import InvalidRecordError, malformed, no_column
from src.serving.tables.records import NOT_JSON, RecordDecoder

FIRST = re.compile(rb"[ \t\n\r]*([\[{])")
END = re.compile(rb"[ \t\n\r]*\Z")
# Between two records, unless it is part of a string or of a nested list; and between or after two values.
BETWEEN_RECORDS = re.compile(rb"\}[ \t\n\r]*,")
AFTER_VALUE = re.compile(rb"[,\]]")
NAME = re.compile(rb'[ \t\n\r]*("(?:[^"\\]++|\\.)*+")[ \t\n\r]*:[ \t\n\r]*(\[?)', re.DOTALL)
COMMA = re.compile(rb"[ \t\n\r]*,")
CLOSING = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*\Z")


def json_rows(schema: FeatureSchema, body: bytearray, extra: ExtraColumns | None) -> Iterator[Part | int]:
    """Read the parts of a JSON array of records or, piece by piece, the only part of an object of columns."""
    first = FIRST.match(body, 0, MAX_VALUE_BYTES)
    if first is None:
        raise malformed('the body is not valid JSON; send [{"column": value, ...}, ...] or {"column": [values], ...}')
    if first[1] == b"[":
        decoder = RecordDecoder(schema, extra)
        yield from _parts(decoder, _of_list(decoder, body), "one")
        return
    try:
        yield from _columns(schema, JsonPieces(body), extra)
    except NotJsonError:
        raise malformed(f'{NOT_JSON}; send {{"column": [values], ...}}') from None


def ndjson_rows(schema: FeatureSchema, body: bytearray, extra: ExtraColumns | None) -> Iterator[Part]:
    """Read the parts of lines with one JSON object each; empty lines are ignored."""
    decoder = RecordDecoder(schema, extra)
    return _parts(decoder, _of_lines(decoder, body), "one line")


def _parts(decoder: RecordDecoder, pieces: Iterable[tuple[Rows | None, Sequence[Any]]], least: str) -> Iterator[Part]:
    """The parts of pieces: some records as rows, or None and their JSON texts if one is invalid."""
    row = 0
    try:
        for rows, records in pieces:
            count = len(records) if rows is None else len(rows.table)
            if count:
                yield decoder.refusal(records, row) if rows is None else rows
            row += count
    except NotJsonError:
        raise malformed(f"{NOT_JSON} at this record or a later one; send an array of objects", row=row) from None
    if not row:
        raise malformed(f"there are no records; send at least {least}")
    if not decoder.named:
        raise InvalidRecordError([no_column(decoder.schema)])


def _of_list(decoder: RecordDecoder, body: bytes | bytearray) -> Iterator[tuple[Rows | None, Sequence[Any]]]:
    pieces = JsonPieces(body)
    pieces.take(FIRST)
    for piece in pieces.elements(BETWEEN_RECORDS):
        rows = decoder.rows_or_none(piece)
        yield rows, decoded(piece, list[msgspec.Raw]) if rows is None else ()
    pieces.take(END)


def _of_lines(decoder: RecordDecoder, body: bytearray) -> Iterator[tuple[Rows | None, Sequence[Any]]]:
    for piece in lines_of(body):
        lines = [line for line in map(bytes.strip, bytes(piece).split(b"\n")) if line]
        rows = decoder.rows_or_none(b"\n".join(lines), lines=True)
        # A line may have two records, and another one a part of a record. But "}" before a line end and "{" behind it
        # are of two records: there is no comma. So if there are as many records as lines, each line is one record.
        is_one_each = rows and len(rows.table) == len(lines) and all(line[:1] + line[-1:] == b"{}" for line in lines)
        yield rows if is_one_each else None, lines


def _columns(schema: FeatureSchema, pieces: JsonPieces, extra: ExtraColumns | None) -> Iterator[Part | int]:
    """The number of rows so far of each column in turn, and the only part."""
    known = {column.name: column for column in schema.columns}
    names: list[str] = []
    found: dict[str, list[NDArray[Any]]] = {}
    kept: dict[str, list[Any]] = {}
    problems: dict[str, Problems] = {name: [] for name in known}
    lengths = set()
    for name in _names(pieces):
        names.append(name)
        row = 0
        for piece in pieces.elements(AFTER_VALUE):
            if name in known:
                values = _values(known[name], piece)
                found.setdefault(name, []).append(read_values(known[name], values, problems[name], row))
                row += len(values)
            elif extra is ExtraColumns.KEEP:
                kept.setdefault(name, []).extend(decoded(piece, list[Any]))
                row = len(kept[name])
            yield row
        if name in known or name in kept:
            lengths.add(row)
    places_of(names, schema, extra)
    if len(lengths) != 1:
        raise malformed("the columns differ in their number of values")
    if not (rows := lengths.pop()):
        raise malformed("the batch has no rows; send at least one value for each column")

    def joined(column: Column, arrays: list[NDArray[Any]], collected: Problems) -> NDArray[Any]:
        collected += problems[column.name]
        return np.concatenate(arrays)

    yield part_of(schema, found, rows, joined, kept)


def _names(pieces: JsonPieces) -> Iterator[str]:
    """Each column's name; its elements must be read before the next name."""
    pieces.take(FIRST)
    ended = pieces.sees(CLOSING)
    while not ended:
        name, bracket = pieces.take(NAME).groups()
        if not bracket:
            raise malformed("a column must be a list of its values; a single record is for /predict")
        yield decoded(name, str)
        ended = pieces.sees(CLOSING)
        if not ended:
            pieces.take(COMMA)


def _values(column: Column, piece: bytes) -> list[Any]:
    """The values of one column, as far as a column may have them."""
    is_plain = column.type is ColumnType.NUMBER and column.required
    kind: Any = list[float] if is_plain else list[bool | int | float | str | None]
    try:
        return decoded(piece, kind)  # type: ignore[no-any-return] # a list
    except NotJsonError:  # then value by value, to report every problem
        return [value_of(raw) for raw in decoded(piece, list[msgspec.Raw])]
