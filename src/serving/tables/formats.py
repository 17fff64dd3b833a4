"""The formats of a batch, and the readers of text; a worker reads the others."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from src.core.feature_schema import FeatureSchema
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.json_rows import json_rows, ndjson_rows
from src.serving.tables.parts import ExtraColumns, Part


class Format(StrEnum):
    """A format by its media type, in the service's order of preference."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    ARROW_STREAM = "application/vnd.apache.arrow.stream"
    ARROW_FILE = "application/vnd.apache.arrow.file"
    PARQUET = "application/vnd.apache.parquet"


BINARY = frozenset({Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET})
# Yields the parts in the order of the rows, or while a part is not complete how many rows it has so far; raises
# InvalidRecordError if the rest cannot be read.
Reader = Callable[[FeatureSchema, bytearray, ExtraColumns], Iterator[Part | int]]
READERS: Mapping[Format, Reader] = {Format.JSON: json_rows, Format.NDJSON: ndjson_rows, Format.CSV: csv_rows}
