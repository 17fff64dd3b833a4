"""MLflow's scoring protocol: requests in four forms of JSON or in CSV, and their answer.

As in MLflow, other columns, such as an index, are ignored. An invalid body raises InvalidRecordError.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.parts import ExtraColumns, table_of_columns, valid
from src.serving.tables.pieces import decode_with_nan
from src.serving.tables.problems import malformed

SPLIT = "dataframe_split"
RECORDS = "dataframe_records"
FORMS = (SPLIT, RECORDS, "instances", "inputs")

# Values by column, and the number of rows.
Columns = tuple[Mapping[str, Sequence[Any]], int]


def decode_json(schema: FeatureSchema, body: bytes) -> FeatureTable:
    """The rows of a JSON object with one of ``FORMS``; its other keys, such as ``params``, are ignored.

    A list of plain values is the first column where all others are optional.
    """
    document = decode_with_nan(body)
    found = [form for form in FORMS if form in document] if isinstance(document, dict) else []
    if len(found) != 1:
        raise malformed(f"the body must be a JSON object with exactly one of {', '.join(FORMS)}")
    (form,) = found
    content = document[form]
    if form == SPLIT:
        columns, rows = _of_split(schema, content)
    elif form != RECORDS and isinstance(content, dict):
        columns, rows = _of_columns(schema, form, content)
    else:
        columns, rows = _of_list(schema, form, content)
    return table_of_columns(schema, columns, rows)


def decode_csv(schema: FeatureSchema, body: bytes) -> FeatureTable:
    """The rows of a CSV text in UTF-8."""
    tables = valid(csv_rows(schema, bytearray(body), ExtraColumns.IGNORE))
    pieces = zip(*(table.columns for table in tables), strict=True)
    return FeatureTable.from_columns(schema, [np.concatenate(arrays) for arrays in pieces])


def encode(predictions: Sequence[Any]) -> bytes:
    """The answer: one label or number per row."""
    return msgspec.json.encode({"predictions": predictions})


def _of_split(schema: FeatureSchema, content: object) -> Columns:
    if not isinstance(content, dict) or not {"columns", "data"} <= content.keys() <= {"columns", "data", "index"}:
        raise malformed(f"{SPLIT} must be an object with columns, data and optionally index")
    names, rows = content["columns"], content["data"]
    if not isinstance(names, list) or not isinstance(rows, list):
        raise malformed(f"columns and data of {SPLIT} must be lists")
    width = len(names)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            raise malformed(f"must be a list with a value for each of the columns of {SPLIT}", place)
    for name in schema.names:
        if names.count(name) > 1:
            raise malformed(f"{name} must be one column of {SPLIT}")
    values = list(chain.from_iterable(rows))
    return {name: values[names.index(name) :: width] for name in schema.names if name in names}, len(rows)


def _of_columns(schema: FeatureSchema, form: str, content: Mapping[str, Any]) -> Columns:
    """An object of columns, which are lists of the same length, or of single values, which are one row."""
    columns = {name: content[name] for name in schema.names if name in content}
    if not any(isinstance(values, list) for values in columns.values()):
        return {name: [value] for name, value in columns.items()}, min(1, len(columns))
    lengths = {len(values) if isinstance(values, list) else None for values in columns.values()}
    if len(lengths) > 1:
        raise malformed(f"the columns of {form} must be lists of one length")
    return columns, lengths.pop() or 0


def _of_list(schema: FeatureSchema, form: str, content: object) -> Columns:
    """A list of records, or of values of the first column."""
    fields = ", ".join(schema.names)
    if not isinstance(content, list):
        raise malformed(f"{form} must be a list of objects with the fields {fields}")
    if form != RECORDS and schema.least_width == 1 and {dict, list}.isdisjoint(map(type, content)):
        return {schema.names[0]: content}, len(content)
    for place, record in enumerate(content):
        if not isinstance(record, dict):
            raise malformed(f"must be an object with the fields {fields}", place)
    columns = {
        column.name: [record.get(column.name) for record in content]
        for column in schema.columns
        if column.required or not content or any(column.name in record for record in content)
    }
    return columns, len(content)
