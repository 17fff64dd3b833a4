"""Example rows of a model without golden rows: its MLflow input example, or a generated row."""

import json
from pathlib import Path
from typing import Any

from src.core.errors import InvalidInputError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.feature_table import Row, Value
from src.core.mlmodel import ModelDescription
from src.serving.tables.values import convert

MAX_ROWS = 20
MADE_UP: dict[ColumnType, Value] = {
    ColumnType.NUMBER: 0.0,
    ColumnType.INTEGER: 0,
    ColumnType.BOOLEAN: False,
    ColumnType.STRING: "",
    ColumnType.DATE: 0.0,
}


def example_rows(directory: Path, description: ModelDescription) -> list[Row]:
    """The first rows of the model's input example in the schema's order; empty if none fits the schema."""
    name = description.example_file
    if name is None or Path(name).name != name:
        return []
    try:
        content: Any = json.loads((directory / name).read_bytes())
        columns, data = content["columns"], content["data"]
        return [_row(description.schema, dict(zip(columns, values, strict=True))) for values in data[:MAX_ROWS]]
    except (OSError, ValueError, KeyError, TypeError, InvalidInputError):
        return []


def made_up_row(schema: FeatureSchema) -> Row:
    """A generated row with a value of each column's type."""
    return tuple(column.values[0] if column.values else MADE_UP[column.type] for column in schema.columns)


def _row(schema: FeatureSchema, values: dict[str, Any]) -> Row:
    # MLflow writes a missing value as null or NaN.
    given = {name: None if value != value else value for name, value in values.items()}  # noqa: PLR0124 - NaN alone
    return tuple(convert(column, given.get(column.name)) for column in schema.columns)
