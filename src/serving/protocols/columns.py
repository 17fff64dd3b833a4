"""Checks decoded columns against a model's schema and builds a table from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import LARGEST_INTEGER
from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, array_of
from src.serving.tables.parts import Checked, checked, each_checked, missing_columns, no_column
from src.serving.tables.problems import InvalidRecordError, malformed
from src.serving.tables.values import convert

# Python values from a JSON decoder, or an array, shape (n,).
Values = Sequence[Any] | NDArray[Any]

# Lists of these types alone are checked as arrays; the letters are numpy's kinds of these arrays.
KINDS = {
    frozenset({float}): "f",
    frozenset({int}): "i",
    frozenset({float, int}): "f",
    frozenset({bool}): "b",
    frozenset({str}): "O",
}
# The kinds that a column takes, and the type of its array. Floats are no integers here: a large one may be rounded.
QUICK: Mapping[ColumnType, tuple[str, type[Any]]] = {
    ColumnType.NUMBER: ("fiu", np.float64),
    ColumnType.INTEGER: ("iu", np.int64),
    ColumnType.BOOLEAN: ("b", np.bool_),
    ColumnType.STRING: ("O", np.object_),
    ColumnType.DATE: ("fiu", np.float64),
}


def table_of_columns(schema: FeatureSchema, columns: Mapping[str, Values], rows: int) -> FeatureTable:
    """Build a table from columns by name; columns that the schema does not have are ignored.

    Args:
        schema: the model's.
        columns: ``rows`` values each. None and NaN are missing values; an array of objects holds strings.
        rows: how many.

    Raises:
        InvalidRecordError: there are no rows, a required column or every column is missing, or values do not fit their
            column.
    """
    if columns.keys().isdisjoint(schema.names) and not any(column.required for column in schema.columns):
        raise InvalidRecordError([no_column(schema)])
    if not rows:
        raise malformed("there are no rows; send at least one")
    found = [_checked(column, columns.get(column.name), rows) for column in schema.columns]
    if problems := [problem for column in found for problem in column.problems]:
        raise InvalidRecordError(problems)
    return FeatureTable.from_columns(schema, [column.values for column in found])


def _checked(column: Column, values: Values | None, rows: int) -> Checked:
    if values is None:
        problems: list[InvalidInputError] = missing_columns(FeatureSchema((column,)), ())
        return Checked(array_of(column, [None] * rows), rows, problems)
    array = _quick_array(column, values)
    if array is None:
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        return each_checked(column, [None if _is_missing(column, value) else value for value in listed], 0, convert)
    missing = np.isnan(array) if array.dtype == np.float64 and not column.required else None
    return checked(column, array, missing, 0)


def _is_missing(column: Column, value: object) -> bool:
    """Whether a value is NaN and means a missing value; in a required number column NaN is an invalid number."""
    is_nan = isinstance(value, float) and value != value  # noqa: PLR0124 - NaN alone differs from itself
    return is_nan and not (column.required and column.type is ColumnType.NUMBER)


def _quick_array(column: Column, values: Values) -> NDArray[Any] | None:
    """The values as an array of the column's type; None if each must be checked by itself."""
    if column.values:  # each may be a category or a missing value
        return None
    kind = values.dtype.kind if isinstance(values, np.ndarray) else KINDS.get(frozenset(map(type, values)), "")
    kinds, dtype = QUICK[column.type]
    if not kind or kind not in kinds:
        return None
    try:
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype=dtype)
    except OverflowError:
        return None
    # A cast would wrap larger values.
    if array.dtype == np.uint64 and array.max() > LARGEST_INTEGER:
        return None
    return array.astype(dtype)
