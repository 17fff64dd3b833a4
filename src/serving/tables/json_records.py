"""Reads a batch as records: a JSON array of objects, or one object per line."""

import re
from collections.abc import Generator, Iterator

import msgspec

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.json_pieces import JsonPieces, record_end
from src.serving.tables.parts import PART_BYTES, Part, each_named, in_arrays, shifted, valid
from src.serving.tables.problems import InvalidRecordError, malformed
from src.serving.tables.records import RecordDecoder
from src.serving.tables.windows import windows

NO_JSON = "the body is not valid JSON (NaN and Infinity are not JSON) from this record on; send an array of objects"
OPENING = re.compile(rb"[ \t\n\r]*\[")
CLOSING = re.compile(rb"[ \t\n\r]*\Z")
RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


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
    for table in valid(_parts(decoder, body)):
        tables += [table] if table else []
        yield
    return tables


def json_records(schema: FeatureSchema, body: bytearray, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of a JSON array of objects."""
    return each_named(schema, _parts(RecordDecoder(schema, extra), body))


def ndjson_records(schema: FeatureSchema, body: bytearray, extra: ExtraColumns) -> Iterator[Part]:
    """Read the parts of lines with one JSON object each; empty lines are ignored."""
    return each_named(schema, _lines(RecordDecoder(schema, extra), body))


def _parts(decoder: RecordDecoder, body: bytes | bytearray) -> Iterator[Part]:
    row = 0
    pieces = JsonPieces(body, lambda: malformed(NO_JSON, row=row))
    pieces.take(OPENING)
    for piece in pieces.elements(record_end):
        if not row and not piece[1:-1].strip():
            break
        try:
            rows = decoder.decode_rows(piece)
            yield in_arrays(rows)
            row += len(rows.table)
        except InvalidRecordError as error:
            yield shifted(error, row)
            row += len(RECORDS.decode(piece))
    pieces.take(CLOSING)
    if not row:
        raise malformed("the batch has no records; send at least one")


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
