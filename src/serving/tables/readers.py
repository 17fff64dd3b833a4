"""The reader of each text format."""

from collections.abc import Callable, Iterator, Mapping

from src.core.feature_schema import FeatureSchema
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.formats import Format
from src.serving.tables.json_rows import json_rows, ndjson_rows
from src.serving.tables.parts import Part

# Yields the parts in the order of the rows, or while a part is not complete how many rows it has so far; raises
# InvalidRecordError if the rest cannot be read.
Reader = Callable[[FeatureSchema, bytearray, ExtraColumns], Iterator[Part | int]]
READERS: Mapping[Format, Reader] = {Format.JSON: json_rows, Format.NDJSON: ndjson_rows, Format.CSV: csv_rows}
