"""The rules of a column's values as an array, whatever the format, and tables of such arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import FIRST_DAY, LAST_DAY, MISSING_TEXTS
from src.core.errors import InvalidInputError
from src.core.feature_schema import EXACT_INTEGER, NUMERIC, Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Value, array_of
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError, malformed, missing_columns, no_column
from src.serving.tables.values import FLOAT32_MAX, convert, convert_cell

# What is checked as an array: lists of these types alone, read with this dtype, and arrays of these kinds. In a list,
# floats are no integers, because an integer beside them may be rounded.
WHOLE: Mapping[ColumnType, tuple[set[type], Any, str]] = {
    ColumnType.NUMBER: ({float, int}, np.float64, "fiu"),
    ColumnType.INTEGER: ({int}, np.int64, "fiu"),
    ColumnType.BOOLEAN: ({bool}, np.bool_, "b"),
    ColumnType.STRING: ({str}, np.object_, "O"),
    ColumnType.DATE: ({float, int}, np.float64, "fiu"),
}
# Python values from a JSON decoder, or an array, shape (n,).
Values = Sequence[Any] | NDArray[Any]
Problems = list[InvalidInputError]

# Each of the following functions returns some values of a column as ``FeatureTable`` holds them. It appends at most
# ``MAX_TOLD`` problems, with their rows from ``first_row`` on; after one, the returned array is not used.


def each_checked(
    column: Column,
    values: Sequence[Any],
    problems: Problems,
    first_row: int = 0,
    take: Callable[[Column, Any], Value] = convert,
) -> NDArray[Any]:
    """Check values one by one; ``take`` returns the column's value or raises the problem."""
    good: list[Value] = []
    for row, value in enumerate(values, first_row):
        try:
            good.append(take(column, value))
        except InvalidInputError as problem:
            problem.row = row
            problems.append(problem)
            if row - first_row - len(good) == MAX_TOLD - 1:
                break
    return array_of(column, good)


def read_texts(column: Column, texts: Sequence[str], problems: Problems, first_row: int = 0) -> NDArray[Any]:
    """Check text cells."""
    numbers = _numbers(texts) if column.type is ColumnType.NUMBER else None
    if numbers is None:
        return each_checked(column, texts, problems, first_row, convert_cell)
    return checked(column, *numbers, problems, first_row)


def _numbers(texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_] | None] | None:
    """Plain numbers converted as a whole, and a mask of missing ones; None if each must be checked by itself."""
    joined = "".join(texts)
    # Python's float accepts more than the rules: 1_000, digits of other scripts, inf.
    if not joined.isascii() or "_" in joined:
        return None
    missing = None
    try:
        try:
            values = np.array(list(map(float, texts)))
        except ValueError:
            values = np.array([0.0 if text in MISSING_TEXTS else float(text) for text in texts])
            missing = np.array([text in MISSING_TEXTS for text in texts])
    except ValueError:
        return None
    return (values, missing) if np.isfinite(values).all() else None


def read_values(column: Column, values: Values, problems: Problems, first_row: int = 0) -> NDArray[Any]:
    """Check decoded values. None and NaN are missing values; in a required number column NaN is an invalid number."""
    keeps_nan = column.required and column.type is ColumnType.NUMBER
    array = _as_array(column, values)
    if array is not None:
        missing = np.isnan(array) if array.dtype.kind == "f" and not keeps_nan else None
        return checked(column, array, missing, problems, first_row)
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if not keeps_nan:
        listed = [None if value != value else value for value in listed]  # noqa: PLR0124 - NaN differs from itself
    return each_checked(column, listed, problems, first_row)


def _as_array(column: Column, values: Values) -> NDArray[Any] | None:
    """The values as an array that ``checked`` takes; None if each must be checked by itself."""
    if column.values:  # each may be a category or a missing value
        return None
    types, dtype, kinds = WHOLE[column.type]
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in kinds else None
    try:
        return np.array(values, dtype=dtype) if types.issuperset(map(type, values)) else None
    except OverflowError:
        return None


def checked(
    column: Column, values: NDArray[Any], missing: NDArray[np.bool_] | None, problems: Problems, first_row: int
) -> NDArray[Any]:
    """Check an array of a kind that ``WHOLE`` lists; ``missing`` is a mask of values that are not looked at, if any."""
    if column.type in {ColumnType.NUMBER, ColumnType.DATE}:
        values = values.astype(np.float64)
    fits = _fits(column, values)
    if missing is not None and missing.any():
        fits = fits & ~missing if column.required else fits | missing
    else:
        missing = None
    if not fits.all():
        return each_checked(column, _with_none(values, missing).tolist(), problems, first_row)
    if missing is None:
        return values.astype(np.int64) if column.type is ColumnType.INTEGER else values
    if column.type in NUMERIC:
        return np.where(missing, np.nan, values.astype(np.float64))
    return _with_none(values, missing)


def _with_none(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    cells = values.astype(object)
    if missing is not None:
        cells[missing] = None
    return cells


def _fits(column: Column, values: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask of the values that the column accepts."""
    fits: NDArray[np.bool_] = np.ones(len(values), dtype=np.bool_)
    if column.type not in NUMERIC:
        return fits
    low, high = (FIRST_DAY, LAST_DAY) if column.type is ColumnType.DATE else (-FLOAT32_MAX, FLOAT32_MAX)
    if column.type is ColumnType.INTEGER:
        low, high = column.limits
        if values.dtype.kind == "f":
            values = values.astype(np.float64)
            low, high = max(low, -EXACT_INTEGER), min(high, EXACT_INTEGER)
            fits = values == np.floor(values)
    return fits & (values >= low) & (values <= high)


def table_of_columns(schema: FeatureSchema, columns: Mapping[str, Values], rows: int) -> FeatureTable:
    """Build a table from columns by name, of ``rows`` values each; columns that the schema does not have are ignored.

    None and NaN are missing values; an array of objects holds strings.

    Raises:
        InvalidRecordError: there are no rows, a required column or every column is missing, or values do not fit their
            column.
    """
    if columns.keys().isdisjoint(schema.names) and not any(column.required for column in schema.columns):
        raise InvalidRecordError([no_column(schema)])
    if not rows:
        raise malformed("there are no rows; send at least one")
    arrays: list[NDArray[Any]] = []
    problems: Problems = []
    for column in schema.columns:
        if column.name in columns:
            arrays.append(read_values(column, columns[column.name], problems))
        else:
            problems += missing_columns(FeatureSchema((column,)), ())
            arrays.append(array_of(column, [None] * rows))
    if problems:
        raise InvalidRecordError(problems)
    return FeatureTable.from_columns(schema, arrays)
