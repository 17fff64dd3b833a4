"""Reads a batch as records: a JSON array of objects, or one object per line."""

import re
from collections.abc import Generator, Iterator

import msgspec

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.parts import (
    MAX_PIECE_BYTES,
    PART_BYTES,
    Part,
    each_named,
    in_arrays,
    shifted,
)
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError, malformed
from src.serving.tables.records import RecordDecoder
from src.serving.tables.windows import windows

NO_JSON = "the body is not valid JSON (NaN and Infinity are not JSON) from this record on; send an array of objects"
OPENING = re.compile(rb"[ \t\n\r]*\[")
# Between two records, unless it is part of a string.
CUT = re.compile(rb"\}[ \t\n\r]*,")
# Records without nested lists or objects, each with the comma after it.
FLAT_RECORDS = re.compile(rb'(?:[ \t\n\r]*+\{(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+\}[ \t\n\r]*+,)++', re.DOTALL)


def list_tables(decoder: RecordDecoder, body: bytes) -> Generator[None, None, list[FeatureTable]]:
    """Read a JSON array of valid records; a long one in parts, each of a few calls into C.

    It yields after each part so that other threads can run: numpy releases the interpreter's lock too briefly for a
    waiting thread.

    Raises:
        InvalidRecordError: records are invalid, or it is not such an array; with the first problems of all rows.
    """
    if len(body) <= PART_BYTES:
        return [decoder.decode_list(body)]
    tables: list[FeatureTable] = []
    problems: list[InvalidInputError] = []
    for part in _parts(decoder, body):
        if isinstance(part, InvalidRecordError):
            problems += part.problems
        else:
            tables.append(part.table)
        if len(problems) >= MAX_TOLD:
            break
        yield
    if problems:
        raise InvalidRecordError(problems)
    return tables


def json_records(schema: FeatureSchema, body: bytearray, _max_rows: int, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of a JSON array of objects."""
    return each_named(schema, _parts(RecordDecoder(schema, extra), body))


def _parts(decoder: RecordDecoder, body: bytes | bytearray) -> Iterator[Part]:
    pieces = _Pieces(body)
    row = 0
    while (piece := pieces.take(row)) is not None:
        part: Part
        try:
            part = in_arrays(decoder.decode_rows(piece))
        except InvalidRecordError as error:
            part = shifted(error, row)
        yield part
        row += pieces.records
    if not row:
        raise malformed("the batch has no records; send at least one")


def ndjson_records(schema: FeatureSchema, body: bytearray, _max_rows: int, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of lines with one JSON object each; empty lines are ignored."""
    return each_named(schema, _lines(RecordDecoder(schema, extra), body))


def _lines(decoder: RecordDecoder, body: bytearray) -> Iterator[Part]:
    row = 0
    for window in windows(body):
        lines = [bytes(line) for line in window.split(b"\n") if line.strip()]
        if not lines:
            continue
        rows = decoder.decode_lines_or_none(window)
        # msgspec accepts two records on a line, and one on several lines; then ``_wrong`` finds the line. If every line
        # ends a record and there are as many records as lines, each line is one record.
        if rows is None or len(rows.table) != len(lines) or not all(line.rstrip().endswith(b"}") for line in lines):
            yield _wrong(decoder, lines, row)
        else:
            yield in_arrays(rows)
        row += len(lines)
    if not row:
        raise malformed("the batch has no records; send at least one line")


def _wrong(decoder: RecordDecoder, lines: list[bytes], first_row: int) -> InvalidRecordError:
    """The problems of lines that are not one valid record each."""
    problems: list[InvalidInputError] = []
    for index, line in enumerate(lines):
        try:
            decoder.decode(line)
        except InvalidRecordError as error:
            problems += shifted(error, first_row + index).problems
    return InvalidRecordError(problems)


class _Pieces:
    """Cuts an array into smaller arrays, so that no call reads the whole body."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        opening = OPENING.match(body)
        self._position = opening.end() if opening else 0
        self._ended = False
        self._array = msgspec.json.Decoder(list[msgspec.Raw])
        self.records = 0

    def take(self, row: int) -> bytes | None:
        """The next piece, with the number of its ``records``; None after the last.

        Raises:
            InvalidRecordError: the rest is not JSON.
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
        """Positions where a piece may end; the cut is correct if the piece is JSON, which is mostly the first one."""
        start, least = self._position, self._position + PART_BYTES
        first = CUT.search(self._body, least, least + MAX_PIECE_BYTES)
        if first:
            yield first.end() - 1
        elif len(self._body) <= least + MAX_PIECE_BYTES:
            self._ended = True
            yield len(self._body)
            return
        # The cut was inside a string: match strings as well, which takes ten times as long.
        for size in (PART_BYTES, MAX_PIECE_BYTES):
            if flat := FLAT_RECORDS.match(self._body, start, start + size):
                yield flat.end() - 1
