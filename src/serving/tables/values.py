"""The rules of one value of a column, decoded or as a cell of a table."""

import contextlib
from collections.abc import Callable, Mapping

from src.core.column_rules import FIRST_DAY, LAST_DAY, category_of, number_of
from src.core.feature_schema import EXACT_INTEGER, Column, ColumnType
from src.core.feature_table import Value
from src.core.typed_cells import read_cell
from src.serving.tables.problems import (
    MISSING,
    NOT_A_BOOLEAN,
    NOT_A_DATE,
    NOT_A_NUMBER,
    NOT_A_STRING,
    NOT_AN_INTEGER,
    NOT_FINITE,
    problem_of,
)

FLOAT32_MAX = 3.4028234663852886e38
ISO_DATE = "must be an ISO 8601 date, such as 2024-02-29 or 2024-02-29T12:30:00Z"
# The message and the kind of the problem of an invalid cell.
CELLS: Mapping[ColumnType, tuple[str, str]] = {
    ColumnType.NUMBER: ("must be a finite number, with a point for decimals", NOT_A_NUMBER),
    ColumnType.INTEGER: ("must be a whole number", NOT_AN_INTEGER),
    ColumnType.BOOLEAN: ("must be true or false, yes or no, 1 or 0", NOT_A_BOOLEAN),
    ColumnType.STRING: ("must be a text, a number or a date", NOT_A_STRING),
    ColumnType.DATE: (ISO_DATE, NOT_A_DATE),
}


def convert(column: Column, value: object) -> Value:
    """Convert a decoded value; None stays None if the column is optional.

    Raises:
        InvalidInputError: it is missing, or not of the column's type.
    """
    if value is not None:
        found = CONVERTERS[column.type](column, value)
        if found is not None:
            return found
    if column.required:
        raise problem_of(column, "is required", MISSING)
    return None


def convert_cell(column: Column, cell: object) -> Value:
    """Convert a cell of a table: a text or a value of any type.

    Raises:
        InvalidInputError: it is missing, or not of the column's type.
    """
    try:
        value = read_cell(column, cell)
    except ValueError:
        value = number_of(str(cell).strip()) if column.type is ColumnType.INTEGER else None
        if value is None or value % 1:  # otherwise it is a whole number beyond the limits
            raise problem_of(column, *CELLS[column.type]) from None
    return convert(column, value)


def _number(column: Column, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise problem_of(column, "must be a number, without quotes", NOT_A_NUMBER)
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise problem_of(column, "must be a finite number that float32 can hold", NOT_FINITE)
    return float(value)


def _integer(column: Column, value: object) -> int:
    # JSON does not distinguish 5 and 5.0.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise problem_of(column, "must be a whole number, without quotes", NOT_AN_INTEGER)
    low, high = column.limits
    if not low <= value <= high:  # type: ignore[operator] # whole says that it is a number
        raise problem_of(column, f"must be from {low} to {high}", NOT_FINITE)
    if isinstance(value, float) and abs(value) > EXACT_INTEGER:
        raise problem_of(column, "must have no point or exponent from 2 ** 53 on: a float is not exact", NOT_FINITE)
    return int(value)  # type: ignore[call-overload, no-any-return]


def _boolean(column: Column, value: object) -> bool:
    if not isinstance(value, bool):
        raise problem_of(column, "must be true or false", NOT_A_BOOLEAN)
    return value


def _string(column: Column, value: object) -> str | None:
    if not isinstance(value, str):
        raise problem_of(column, "must be a string", NOT_A_STRING)
    # Without known categories, it is unknown which texts mean a missing value.
    return category_of(value, column.known) if column.values else value


def _date(column: Column, value: object) -> Value:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return read_cell(column, value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and FIRST_DAY <= value <= LAST_DAY:
        return float(value)
    raise problem_of(column, f"{ISO_DATE}, or a number of days since 1970-01-01", NOT_A_DATE)


CONVERTERS: Mapping[ColumnType, Callable[[Column, object], Value]] = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.STRING: _string,
    ColumnType.DATE: _date,
}
