"""The formats of a batch: how rows are read from each, and how answers are written in each."""

from enum import StrEnum


class Format(StrEnum):
    """A format by its media type; the order is the service's own preference."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    ARROW_STREAM = "application/vnd.apache.arrow.stream"
    ARROW_FILE = "application/vnd.apache.arrow.file"
    PARQUET = "application/vnd.apache.parquet"


# What only a worker reads and writes.
BINARY = frozenset({Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET})
