"""The queries for labelled rows with their features, to learn from. They follow ``join_queries.JOIN``."""

from collections.abc import Sequence

import pyarrow as pa

from src.core.feature_schema import Column, ColumnType
from src.quality.join_queries import LOG_COLUMNS, by_schema, selection
from src.quality.segments import ARROW_TYPES, FEATURE

_DUCKDB_TYPES = {
    ColumnType.NUMBER: "DOUBLE",
    ColumnType.DATE: "DOUBLE",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.STRING: "VARCHAR",
}
# Labelled rows to learn from: of answered requests, since a time, the newest of each request's row, newest first.
COUNTS = """
SELECT count(*) FILTER (NOT usable), count(*) FILTER (usable) FROM labelled WHERE role <> 'shadow' AND time >= $start
"""
ROWS = """
SELECT * EXCLUDE (version, role, rate, prediction, received, usable)
FROM labelled WHERE role <> 'shadow' AND time >= $start AND usable
QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY time DESC, length(version) DESC, version DESC) = 1
ORDER BY time DESC, request_id
"""


def features_query(files: Sequence[str], columns: Sequence[Column]) -> str:
    """The rows of the log's files, at least one, with features.

    Columns ``f0``, ``f1``, … are the features in their order, null where a file lacks them. ``usable`` is false for
    rows of files that lack a required one.
    """
    parts = []
    for schema, group in by_schema(files).items():
        selected, constants, usable = dict(LOG_COLUMNS), [], True
        for place, column in enumerate(columns):
            reading = _reading(schema, column)
            if reading is None:
                constants.append(f"NULL::{_DUCKDB_TYPES[column.type]} AS f{place}")
                usable &= not column.required
            else:
                selected[FEATURE + column.name] = f"{reading} AS f{place}"
        parts.append(selection(schema.names, group, selected, [*constants, f"{usable} AS usable"]))
    return " UNION ALL BY NAME ".join(parts)


def _reading(schema: pa.Schema, column: Column) -> str | None:
    """How a feature is read from files; None where they lack it, or its values have another type."""
    name = FEATURE + column.name
    if schema.names.count(name) != 1:
        return None
    if schema.field(name).type == ARROW_TYPES[column.type]:
        return "{0}"
    is_widened = column.type is ColumnType.NUMBER and schema.field(name).type == ARROW_TYPES[ColumnType.INTEGER]
    return "{0}::DOUBLE" if is_widened else None
