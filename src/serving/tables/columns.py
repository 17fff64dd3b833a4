"""The rules of a column's values, one by one and as an array, whatever the format."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import FIRST_DAY, LAST_DAY, MISSING_TEXTS, category_of, number_of
from src.core.errors import InvalidInputError
from src.core.feature_schema import EXACT_INTEGER, NUMERIC, Column, ColumnType
from src.core.feature_table import Value, array_of
from src.core.typed_cells import read_cell
from src.serving.tables.problems import MAX_TOLD, NOT_FINITE, missing, problem_of

FLOAT32_MAX = 3.4028234663852886e38
ISO_DATE = "must be an ISO 8601 date, such as 2024-02-29 or 2024-02-29T12:30:00Z"
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


def convert(column: Column, value: object) -> Value:
    """Convert a decoded value; None stays None if the column is optional. Raises InvalidInputError for others."""
    if value is not None:
        types, take, what = DECODED[column.type]
        if type(value) not in types:
            raise problem_of(column, what)
        try:
            found = take(column, value)
        except ValueError:
            raise problem_of(column, what) from None
        if found is not None:
            return found
    if column.required:
        raise missing(column)
    return None


def convert_cell(column: Column, cell: object) -> Value:
    """The same for a cell of a table: a text or a value of any type."""
    try:
        value = read_cell(column, cell)
    except ValueError:
        value = number_of(str(cell).strip()) if column.type is ColumnType.INTEGER else None
        if value is None or value % 1:  # otherwise it is a whole number beyond the limits
            raise problem_of(column, CELLS[column.type]) from None
    return convert(column, value)


def _number(column: Column, value: float) -> float:
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise problem_of(column, "must be a finite number that float32 can hold", NOT_FINITE)
    return float(value)


def _integer(column: Column, value: float) -> int:
    if value % 1:
        raise ValueError
    low, high = column.limits
    if not low <= value <= high:
        raise problem_of(column, f"must be from {low} to {high}", NOT_FINITE)
    if isinstance(value, float) and abs(value) > EXACT_INTEGER:
        raise problem_of(column, "must have no point or exponent from 2 ** 53 on: a float is not exact", NOT_FINITE)
    return int(value)


def _date(column: Column, value: str | float) -> Value:
    if isinstance(value, str):
        return read_cell(column, value)
    if not FIRST_DAY <= value <= LAST_DAY:
        raise ValueError
    return float(value)


def _text(column: Column, value: str) -> str | None:
    # Without known categories, no text means a missing value.
    return category_of(value, column.known) if column.values else value


# How a decoded value is taken: its types (JSON does not distinguish 5 and 5.0), a function that raises ValueError for
# an invalid one, and the problem of that.
DECODED: Mapping[ColumnType, tuple[tuple[type, ...], Callable[[Column, Any], Value], str]] = {
    ColumnType.NUMBER: ((float, int), _number, "must be a number, without quotes"),
    ColumnType.INTEGER: ((int, float), _integer, "must be a whole number, without quotes"),
    ColumnType.BOOLEAN: ((bool,), lambda _, value: value, "must be true or false"),
    ColumnType.STRING: ((str,), _text, "must be a string"),
    ColumnType.DATE: ((str, float, int), _date, f"{ISO_DATE}, or a number of days since 1970-01-01"),
}
# The problem of an invalid cell.
CELLS: Mapping[ColumnType, str] = {
    ColumnType.NUMBER: "must be a finite number, with a point for decimals",
    ColumnType.INTEGER: "must be a whole number",
    ColumnType.BOOLEAN: "must be true or false, yes or no, 1 or 0",
    ColumnType.STRING: "must be a text, a number or a date",
    ColumnType.DATE: ISO_DATE,
}


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
    if column.type is ColumnType.NUMBER and (numbers := _numbers(texts)):
        return checked(column, *numbers, problems, first_row)
    return each_checked(column, texts, problems, first_row, convert_cell)


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
    array, missing = (None, None) if column.values else _as_array(column, values)  # each may be a category
    if array is not None:
        if array.dtype.kind == "f" and not keeps_nan:
            missing = np.isnan(array) if missing is None else missing | np.isnan(array)
        return checked(column, array, missing, problems, first_row)
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if not keeps_nan:
        listed = [None if value != value else value for value in listed]  # noqa: PLR0124 - NaN differs from itself
    return each_checked(column, listed, problems, first_row)


def _as_array(column: Column, values: Values) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
    """An array that ``checked`` takes and a mask of None, if any; None if each value must be checked by itself."""
    types, dtype, kinds = WHOLE[column.type]
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in kinds else None, None
    found, missing = set(map(type, values)), None
    if not found - types <= {type(None)}:
        return None, None
    if not found <= types:
        missing = np.array([value is None for value in values])
        values = [False if value is None else value for value in values]
    try:
        return np.array(values, dtype=dtype), missing
    except OverflowError:
        return None, None


def checked(
    column: Column, values: NDArray[Any], missing: NDArray[np.bool_] | None, problems: Problems, first_row: int
) -> NDArray[Any]:
    """Check an array of a kind that ``WHOLE`` lists; ``missing`` is a mask of values that are not looked at, if any."""
    if column.type in {ColumnType.NUMBER, ColumnType.DATE}:
        values = values.astype(np.float64)
    fits = _fits(column, values)
    if missing is not None:
        fits = fits & ~missing if column.required else fits | missing
    if missing is None or not missing.any():
        if fits.all():
            return values.astype(np.int64) if column.type is ColumnType.INTEGER else values
    elif fits.all() and column.type in NUMERIC:
        return np.where(missing, np.nan, values.astype(np.float64))
    cells = values.astype(object)
    if missing is not None:
        cells[missing] = None
    return cells if fits.all() else each_checked(column, cells.tolist(), problems, first_row)


def _fits(column: Column, values: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask of the values that the column accepts."""
    if column.type not in NUMERIC:
        return np.ones(len(values), dtype=np.bool_)
    low, high = (FIRST_DAY, LAST_DAY) if column.type is ColumnType.DATE else (-FLOAT32_MAX, FLOAT32_MAX)
    whole: Any = True
    if column.type is ColumnType.INTEGER:
        low, high = column.limits
        if values.dtype.kind == "f":
            values = values.astype(np.float64)
            low, high = max(low, -EXACT_INTEGER), min(high, EXACT_INTEGER)
            whole = values == np.floor(values)
    fits: NDArray[np.bool_] = (values >= low) & (values <= high) & whole
    return fits
