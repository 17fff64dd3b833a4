"""A batch as records: a JSON array of objects, or one object a line."""

import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import Row
from src.services.inference.formats.parts import (
    MAX_PIECE_BYTES,
    PART_BYTES,
    Part,
    shifted,
    table_from_matrix,
    table_from_rows,
)
from src.services.inference.formats.records import FLOAT32_MAX, UNFIT, InvalidRecordError, RecordDecoder, malformed
from src.services.inference.formats.windows import windows

NO_JSON = "the body is not valid JSON (NaN and Infinity are not JSON) from this record on; send an array of objects"
OPENING = re.compile(rb"[ \t\n\r]*\[")
# Between two records, unless it is in a string.
CUT = re.compile(rb"\}[ \t\n\r]*,")
# Records without lists or objects in them, each with the comma behind it.
FLAT_RECORDS = re.compile(rb'(?:[ \t\n\r]*+\{(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+\}[ \t\n\r]*+,)++', re.DOTALL)


def json_records(schema: FeatureSchema, body: bytearray, _max_rows: int) -> Iterator[Part]:
    """The parts of a JSON array of objects."""
    pieces = _Pieces(body)
    decoder = RecordDecoder(schema)
    matrix_of = _Matrix(schema)
    row = 0
    while (piece := pieces.take(row)) is not None:
        part: Part
        try:
            part = table_from_matrix(schema, matrix_of.array(piece))
        except UNFIT:
            try:
                part = table_from_rows(schema, decoder.decode_list(piece))
            except InvalidRecordError as error:
                part = shifted(error, row)
        yield part
        row += pieces.records
    if not row:
        raise malformed("the batch has no records; send at least one")


def ndjson_records(schema: FeatureSchema, body: bytearray, _max_rows: int) -> Iterator[Part]:
    """The parts of lines with one JSON object each; empty lines do not count."""
    decoder = RecordDecoder(schema)
    matrix_of = _Matrix(schema)
    row = 0
    for window in windows(body):
        try:
            matrix = matrix_of.lines(window)
            if len(matrix):
                yield table_from_matrix(schema, matrix)
            row += len(matrix)
        except UNFIT:
            lines = [bytes(line) for line in window.split(b"\n") if line.strip()]
            yield _by_line(schema, decoder, lines, row)
            row += len(lines)
    if not row:
        raise malformed("the batch has no records; send at least one line")


def _by_line(schema: FeatureSchema, decoder: RecordDecoder, lines: list[bytes], first_row: int) -> Part:
    rows: list[Row] = []
    problems: list[InvalidInputError] = []
    for index, line in enumerate(lines):
        try:
            rows.append(decoder.decode(line))
        except InvalidRecordError as error:
            problems += shifted(error, first_row + index).problems
    return InvalidRecordError(problems) if problems else table_from_rows(schema, rows)


class _Pieces:
    """Cuts an array into arrays of some records each, so that nobody has to go through the whole body in one call."""

    def __init__(self, body: bytearray) -> None:
        self._body = body
        opening = OPENING.match(body)
        self._position = opening.end() if opening else 0
        self._ended = False
        self._array = msgspec.json.Decoder(list[msgspec.Raw])
        self.records = 0

    def take(self, row: int) -> bytes | None:
        """The next piece, with the number of its ``records``; None after the last.

        Raises:
            InvalidRecordError: what follows is no JSON.
        """
        if self._ended:
            return None
        for end in self._ends():
            piece = b"[" + self._body[self._position : end] + (b"" if self._ended else b"]")
            try:
                self.records = len(self._array.decode(piece))
            except (ValueError, RecursionError):
                continue
            self._position = end + 1
            if self.records:
                return piece
            if not row:
                return None
        raise malformed(NO_JSON, row=row)

    def _ends(self) -> Iterator[int]:
        """Where a piece may end: what is JSON up to there was cut rightly, and most bodies are at the first place."""
        start, least = self._position, self._position + PART_BYTES
        first = CUT.search(self._body, least, least + MAX_PIECE_BYTES)
        if first:
            yield first.end() - 1
        elif len(self._body) <= least + MAX_PIECE_BYTES:
            self._ended = True
            yield len(self._body)
            return
        # It was in a string: then look where each string ends, which takes ten times as long.
        for size in (PART_BYTES, MAX_PIECE_BYTES):
            if flat := FLAT_RECORDS.match(self._body, start, start + size):
                yield flat.end() - 1


class _Matrix:
    """Decodes records of required numbers in a few calls; raises one of ``UNFIT`` for any others."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._numeric = schema.is_numeric
        self._width = len(schema.names)
        self._values = itemgetter(*schema.names)
        self._array = msgspec.json.Decoder(list[dict[str, float]])
        self._lines = msgspec.json.Decoder(dict[str, float])

    def array(self, piece: bytes) -> NDArray[np.float64]:
        """An array of records, as shape (n, columns)."""
        if not self._numeric:
            raise ValueError
        return self._checked(self._array.decode(piece))

    def lines(self, piece: bytearray) -> NDArray[np.float64]:
        """A record a line, as shape (n, columns)."""
        if not self._numeric:
            raise ValueError
        records = self._lines.decode_lines(piece)
        lines = [line for found in piece.split(b"\n") if (line := found.rstrip())]
        # msgspec takes two records on a line, and one over several; then ``_by_line`` says which line is wrong. A line
        # that ends a record holds whole ones: as many records as lines are one each.
        if len(lines) != len(records) or not all(line.endswith(b"}") for line in lines):
            raise ValueError
        return self._checked(records)

    def _checked(self, records: list[dict[str, Any]]) -> NDArray[np.float64]:
        if any(len(record) != self._width for record in records):
            raise ValueError
        matrix = np.array([self._values(record) for record in records], dtype=np.float64).reshape(-1, self._width)
        if not (np.abs(matrix) <= FLOAT32_MAX).all():
            raise ValueError
        return matrix
