"""Reads a batch as columns: a JSON object with a list of values for each column."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, array_of
from src.serving.tables.extra_columns import ExtraColumns, Kept, unknown_columns
from src.serving.tables.parts import (
    MAX_VALUE_BYTES,
    PART_BYTES,
    Checked,
    Part,
    Rows,
    TooManyRowsError,
    checked,
    each_checked,
    given_twice,
    missing_columns,
    no_column,
)
from src.serving.tables.problems import UNFIT, InvalidRecordError, malformed
from src.serving.tables.values import convert, value_of

NO_JSON = 'the body is not valid JSON (NaN and Infinity are not JSON); send {"column": [values], ...}'
NO_COLUMN = "a column must be a list of its values; a single record is for /predict"
OPENING = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*")
_FIELD = rb'("(?:[^"\\]++|\\.)*+")[ \t\n\r]*:[ \t\n\r]*'
NAME = re.compile(_FIELD + rb"\[", re.DOTALL)
# A member of a single record, which is not a batch.
LONE_VALUE = re.compile(_FIELD + rb'["{0-9a-z-]', re.DOTALL)
_VALUE = rb'[^",\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[ \t\n\r]*+)?'
# As many complete values as a piece holds, each with the comma after it.
VALUES = re.compile(rb"(?:" + _VALUE + rb",)++", re.DOTALL)
LAST_VALUE = re.compile(_VALUE + rb"\]", re.DOTALL)
NEXT = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
CLOSING = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*\Z")


def json_columns(schema: FeatureSchema, body: bytearray, max_rows: int, extra: ExtraColumns) -> Iterator[Part | None]:
    """Read the only part of a JSON object of columns in any order, piece by piece."""
    scanner = _Scanner(body)
    found: dict[str, list[Checked]] = {}
    kept: dict[str, list[Any]] = {}
    unknown: list[str] = []
    for name in scanner.names():
        column = next((column for column in schema.columns if column.name == name), None)
        if name in found or name in kept:
            raise InvalidRecordError([given_twice(schema)])
        if column is not None:
            found[name] = []
        elif extra is ExtraColumns.KEEP:
            kept[name] = []
        else:
            unknown.append(name)
        row = 0
        for piece in scanner.values():
            if column is not None:
                values = _read(column, piece, row)
                row += values.rows
                found[name].append(values)
            elif name in kept:
                kept[name] += _decoded(piece, list[Any], name)
                row = len(kept[name])
            if row > max_rows:
                raise TooManyRowsError(max_rows)
            yield None
    if unknown and extra is ExtraColumns.REFUSE:
        raise InvalidRecordError([*missing_columns(schema, found), unknown_columns(schema, unknown)])
    yield _part(schema, found, kept)


def _part(schema: FeatureSchema, found: dict[str, list[Checked]], kept: dict[str, list[Any]]) -> Part:
    if missing := missing_columns(schema, found):
        raise InvalidRecordError(missing)
    if not found:
        raise InvalidRecordError([no_column(schema)])
    rows = {sum(piece.rows for piece in pieces) for pieces in found.values()} | set(map(len, kept.values()))
    if len(rows) != 1:
        raise malformed("the batch has no columns, or they differ in their number of values")
    if rows == {0}:
        raise malformed("the batch has no rows; send at least one value for each column")
    problems = [problem for pieces in found.values() for piece in pieces for problem in piece.problems]
    if problems:
        return InvalidRecordError(sorted(problems, key=lambda problem: problem.row or 0))
    columns = [
        np.concatenate([piece.values for piece in found[column.name]])
        if column.name in found
        else array_of(column, [None] * next(iter(rows)))
        for column in schema.columns
    ]
    return Rows(FeatureTable.from_columns(schema, columns), Kept.of(kept))


def _read(column: Column, piece: bytes, first_row: int) -> Checked:
    """Read a list of values of one column."""
    try:
        if column.type is ColumnType.NUMBER and column.required:
            numbers = np.array(msgspec.json.decode(piece, type=list[float]), dtype=np.float64)
            return checked(column, numbers, None, first_row)
        values = msgspec.json.decode(piece, type=list[bool | int | float | str | None])
        return Checked(array_of(column, [convert(column, value) for value in values]), len(values))
    except UNFIT:  # then value by value, to report every problem
        raw = _decoded(piece, list[msgspec.Raw], column.name)
        return each_checked(column, raw, first_row, lambda column, value: convert(column, value_of(value)))


def _decoded(piece: bytes, kind: type[list[Any]], name: str | None) -> list[Any]:
    try:
        return msgspec.json.decode(piece, type=kind)  # type: ignore[no-any-return] # a list
    except (ValueError, RecursionError):
        raise malformed(NO_JSON, field=name) from None


class _Scanner:
    """Scans the object without decoding it: only strings may contain characters of its structure."""

    def __init__(self, body: bytearray) -> None:
        self._body = body
        self._position = 0

    def names(self) -> Iterator[str]:
        """Each column's name; its values must be read before the next name."""
        self._take(OPENING)
        if CLOSING.match(self._body, self._position):
            return
        while True:
            name = self._take(NAME, unless=LONE_VALUE, then=NO_COLUMN)[1]
            try:
                yield msgspec.json.decode(name, type=str)
            except ValueError:
                raise malformed(NO_JSON) from None
            if CLOSING.match(self._body, self._position):
                return
            self._take(NEXT)

    def values(self) -> Iterator[bytes]:
        """The values of the last named column, in pieces that are JSON lists."""
        body = self._body
        while True:
            start = self._position
            some = VALUES.match(body, start, start + PART_BYTES)
            end = some.end() if some else start
            last = LAST_VALUE.match(body, end, end + MAX_VALUE_BYTES)
            if last:
                self._position = last.end()
                yield b"[" + body[start : last.end()]
                return
            if not some:
                raise malformed("a column must be a list of plain values, none longer than 128 KiB; " + NO_JSON)
            self._position = end
            yield b"[" + body[start : end - 1] + b"]"

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        return pattern.match(self._body, self._position, self._position + MAX_VALUE_BYTES)

    def _take(
        self, pattern: re.Pattern[bytes], unless: re.Pattern[bytes] | None = None, then: str = NO_JSON
    ) -> re.Match[bytes]:
        found = self._match(pattern)
        if not found:
            raise malformed(then if unless and self._match(unless) else NO_JSON)
        self._position = found.end()
        return found
