"""The formats of a batch: how rows are read and answers are written."""

from enum import StrEnum


class Format(StrEnum):
    """A format by its media type, in the service's order of preference."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    ARROW_STREAM = "application/vnd.apache.arrow.stream"
    ARROW_FILE = "application/vnd.apache.arrow.file"
    PARQUET = "application/vnd.apache.parquet"


# Formats that only a worker reads and writes.
BINARY = frozenset({Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET})
