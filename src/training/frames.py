"""Between pandas and the tables that engines take."""

import pandas as pd

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Value, array_of


def table_of(frame: pd.DataFrame, schema: FeatureSchema) -> FeatureTable:
    """The schema's columns of a frame; a cell that is not there (NaN, None, NA) is missing."""
    columns = []
    for column in schema.columns:
        values = frame[column.name]
        columns.append(array_of(column, values.astype(object).where(values.notna(), None).tolist()))
    return FeatureTable.from_columns(schema, columns)


def frame_of(table: FeatureTable) -> pd.DataFrame:
    """A table as scikit-learn takes it; a missing value is NaN or None."""
    return pd.DataFrame(dict(zip(table.schema.names, table.columns, strict=True)))


def rows_of(table: FeatureTable) -> list[list[Value]]:
    """A table's rows as JSON takes them: a missing value is None."""
    columns = [[None if pd.isna(value) else value for value in column.tolist()] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]
