"""Decoded values, column by column, checked against a model's schema and made a table of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import FIRST_DAY, LAST_DAY
from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, array_of
from src.services.inference.formats.problems import MAX_TOLD, MISSING, InvalidRecordError, malformed
from src.services.inference.formats.values import FLOAT32_MAX, convert

# Python values as a JSON or CSV decoder makes them, or an array, shape (n,).
Values = Sequence[Any] | NDArray[Any]

# Lists of nothing but these types need no look at each value; the letters are numpy's kinds of such arrays.
KINDS = {
    frozenset({float}): "f",
    frozenset({int}): "i",
    frozenset({float, int}): "f",
    frozenset({bool}): "b",
    frozenset({str}): "O",
}
QUICK: Mapping[ColumnType, str] = {
    ColumnType.NUMBER: "fiu",
    ColumnType.INTEGER: "iu",
    ColumnType.BOOLEAN: "b",
    ColumnType.STRING: "O",
    ColumnType.DATE: "fiu",
}
DTYPES: Mapping[ColumnType, type[Any]] = {
    ColumnType.NUMBER: np.float64,
    ColumnType.INTEGER: np.int64,
    ColumnType.BOOLEAN: np.bool_,
    ColumnType.STRING: np.object_,
    ColumnType.DATE: np.float64,
}


def table_of_columns(schema: FeatureSchema, columns: Mapping[str, Values], rows: int) -> FeatureTable:
    """A table of columns by name; those that the schema does not have are left out.

    Args:
        schema: the model's.
        columns: ``rows`` values each. None and NaN are missing values; an array of objects holds strings.
        rows: how many.

    Raises:
        InvalidRecordError: there are no rows, or a column is required and not there, or values do not fit theirs.
    """
    if not rows:
        raise malformed("there are no rows; send at least one")
    arrays: list[NDArray[Any]] = []
    problems: list[InvalidInputError] = []
    for column in schema.columns:
        values = columns.get(column.name)
        try:
            if values is None:
                values = _absent(column, rows)
            arrays.append(_array(column, values))
        except InvalidRecordError as error:
            problems += error.problems
    if problems:
        raise InvalidRecordError(problems)
    return FeatureTable.from_columns(schema, arrays)


def _absent(column: Column, rows: int) -> list[None]:
    if column.required:
        problem = InvalidInputError(f"{column.name} is required", kind=MISSING, field=column.name)
        raise InvalidRecordError([problem])
    return [None] * rows


def _array(column: Column, values: Values) -> NDArray[Any]:
    """One column, shape (n,), of the type that ``FeatureTable`` wants."""
    quick = _quick_array(column, values)
    if quick is not None:
        return quick
    checked: list[Any] = []
    problems: list[InvalidInputError] = []
    for row, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        try:
            checked.append(convert(column, None if _is_missing(column, value) else value))
        except InvalidInputError as problem:
            problem.row = row
            problems.append(problem)
            if len(problems) == MAX_TOLD:
                break
    if problems:
        raise InvalidRecordError(problems)
    return array_of(column, checked)


def _is_missing(column: Column, value: object) -> bool:
    """NaN, which stands for a missing value unless it is given as a number where one must be."""
    is_nan = isinstance(value, float) and value != value  # noqa: PLR0124 - NaN alone differs from itself
    return is_nan and not (column.required and column.type is ColumnType.NUMBER)


def _quick_array(column: Column, values: Values) -> NDArray[Any] | None:
    """The column without a look at each value; None where that tells nothing, or where something does not fit."""
    if column.values:  # what is a category and what is missing is seen by each
        return None
    kind = values.dtype.kind if isinstance(values, np.ndarray) else KINDS.get(frozenset(map(type, values)), "")
    if not kind or kind not in QUICK[column.type]:
        return None
    try:
        # An array of unsigned integers first as it is: a cast would wrap what does not fit.
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype=DTYPES[column.type])
    except OverflowError:
        return None
    return array.astype(DTYPES[column.type]) if _fits(column, array) else None


def _fits(column: Column, array: NDArray[Any]) -> bool:
    if column.type is ColumnType.INTEGER:
        low, high = column.limits
        return bool(low <= array.min() and array.max() <= high)
    if column.type is ColumnType.DATE:
        return bool(((array >= FIRST_DAY) & (array <= LAST_DAY)).all())
    if column.type is not ColumnType.NUMBER:
        return True
    size = np.abs(array.astype(np.float64))
    if column.required:
        return bool((size <= FLOAT32_MAX).all())  # not so for NaN
    return not (size > FLOAT32_MAX).any()
