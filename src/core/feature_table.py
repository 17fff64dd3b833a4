"""Rows for a model, as a matrix or by column: the input of all engines, whatever the format of a request."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.feature_schema import Column, ColumnType, FeatureSchema

# A value of a row: None where it is missing.
Value = float | int | bool | str | None
Row = tuple[Value, ...]


class FeatureTable:
    """An immutable table with a schema, created by ``from_rows`` or ``from_columns``.

    A column's array is float64 for numbers and for dates, in days since 1970-01-01 UTC (missing: NaN), int64 for
    integers (float64 with NaN where one is missing), bool for booleans and object for strings (object with None where
    one is missing).
    """

    def __init__(self, schema: FeatureSchema, rows: Sequence[Row] | None, columns: list[NDArray[Any]] | None) -> None:
        self.schema = schema
        self._rows = rows
        self._columns = columns

    @classmethod
    def from_rows(cls, schema: FeatureSchema, rows: Sequence[Row]) -> "FeatureTable":
        """A table of rows, whose values have the schema's order and types."""
        return cls(schema, rows, None)

    @classmethod
    def from_columns(cls, schema: FeatureSchema, columns: Sequence[NDArray[Any]]) -> "FeatureTable":
        """A table of arrays in the schema's order, shape (n,) each, of the types given above."""
        return cls(schema, None, list(columns))

    def __len__(self) -> int:
        return len(self._columns[0]) if self._columns is not None else len(self._rows or ())

    def part(self, start: int, stop: int) -> "FeatureTable":
        """Some of its rows."""
        if self._columns is not None:
            return FeatureTable(self.schema, None, [column[start:stop] for column in self._columns])
        return FeatureTable(self.schema, (self._rows or ())[start:stop], None)

    def row(self, index: int) -> Row:
        """One row's values."""
        if self._rows is not None:
            return self._rows[index]
        return tuple(
            value_of(column, array[index]) for column, array in zip(self.schema.columns, self.columns, strict=True)
        )

    @cached_property
    def columns(self) -> list[NDArray[Any]]:
        """The arrays in the schema's order, shape (n,) each."""
        if self._columns is not None:
            return self._columns
        rows = self._rows or ()
        if self.schema.is_numeric:
            return list(self.matrix(np.float64).T)
        return [array_of(column, [row[index] for row in rows]) for index, column in enumerate(self.schema.columns)]

    def matrix(self, dtype: type[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Shape (n, columns), a missing value NaN; for schemas without strings."""
        if self._rows is not None:
            # None becomes NaN, True becomes 1.
            return np.array(self._rows, dtype=dtype)
        return np.column_stack([column.astype(dtype) for column in self.columns])


def array_of(column: Column, values: Sequence[Value]) -> NDArray[Any]:
    """One column's values as the array that ``FeatureTable`` describes, shape (n,)."""
    if column.type in {ColumnType.NUMBER, ColumnType.DATE}:
        return np.array(values, dtype=np.float64)
    if column.type is ColumnType.STRING:
        return np.array(values, dtype=object)
    missing = any(value is None for value in values)
    if column.type is ColumnType.INTEGER:
        return np.array(values, dtype=np.float64 if missing else np.int64)
    return np.array(values, dtype=object if missing else np.bool_)


def value_of(column: Column, cell: Any) -> Value:
    """The value of an element of such an array."""
    value: Value = cell.item() if isinstance(cell, np.generic) else cell
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return None
    return int(value) if column.type is ColumnType.INTEGER else value
