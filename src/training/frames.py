"""Converts between pandas and the engines' tables."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Value, array_of


def table_of(frame: pd.DataFrame, schema: FeatureSchema) -> FeatureTable:
    """The schema's columns of a frame; an empty cell (NaN, None, NA) is missing."""
    return FeatureTable.from_columns(schema, [_array(frame[column.name], column) for column in schema.columns])


def frame_of(table: FeatureTable) -> pd.DataFrame:
    """A table as a DataFrame for scikit-learn; a missing value is NaN or None."""
    return pd.DataFrame(dict(zip(table.schema.names, table.columns, strict=True)))


def rows_of(table: FeatureTable) -> list[list[Value]]:
    """A table's rows for JSON; a missing value is None."""
    columns = [[None if pd.isna(value) else value for value in column.tolist()] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _array(values: pd.Series, column: Column) -> NDArray[Any]:
    if values.dtype == np.float64 and column.type in {ColumnType.NUMBER, ColumnType.DATE}:
        return values.to_numpy()
    return array_of(column, values.astype(object).where(values.notna(), None).tolist())
