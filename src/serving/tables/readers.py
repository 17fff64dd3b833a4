"""The reader of each format."""

import re
from collections.abc import Iterator, Mapping

from src.core.feature_schema import FeatureSchema
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.formats import Format
from src.serving.tables.json_columns import json_columns
from src.serving.tables.json_records import json_records, ndjson_records
from src.serving.tables.parts import MAX_VALUE_BYTES, Part, Reader
from src.serving.tables.problems import malformed

FIRST = re.compile(rb"[ \t\n\r]*([\[{])")


def json_batch(schema: FeatureSchema, body: bytearray, extra: ExtraColumns) -> Iterator[Part | int]:
    """Read the parts of a JSON body: an array of records, or an object of columns."""
    first = FIRST.match(body, 0, MAX_VALUE_BYTES)
    if first is None:
        raise malformed('the body is not valid JSON; send [{"column": value, ...}, ...] or {"column": [values], ...}')
    reader = json_records if first[1] == b"[" else json_columns
    return reader(schema, body, extra)


READERS: Mapping[Format, Reader] = {Format.JSON: json_batch, Format.NDJSON: ndjson_records, Format.CSV: csv_rows}
