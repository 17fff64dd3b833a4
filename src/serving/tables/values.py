"""The rules of one value of a column, decoded or as a cell of a table."""

from collections.abc import Callable, Mapping
from typing import Any

from src.core.column_rules import FIRST_DAY, LAST_DAY, category_of, number_of
from src.core.feature_schema import EXACT_INTEGER, Column, ColumnType
from src.core.feature_table import Value
from src.core.typed_cells import read_cell
from src.serving.tables import problems as kinds
from src.serving.tables.problems import problem_of

FLOAT32_MAX = 3.4028234663852886e38
ISO_DATE = "must be an ISO 8601 date, such as 2024-02-29 or 2024-02-29T12:30:00Z"


def convert(column: Column, value: object) -> Value:
    """Convert a decoded value; None stays None if the column is optional. Raises InvalidInputError for others."""
    if value is not None:
        types, take, what, kind = DECODED[column.type]
        if type(value) not in types:
            raise problem_of(column, what, kind)
        try:
            found = take(column, value)
        except ValueError:
            raise problem_of(column, what, kind) from None
        if found is not None:
            return found
    if column.required:
        raise problem_of(column, "is required", kinds.MISSING)
    return None


def convert_cell(column: Column, cell: object) -> Value:
    """The same for a cell of a table: a text or a value of any type."""
    try:
        value = read_cell(column, cell)
    except ValueError:
        value = number_of(str(cell).strip()) if column.type is ColumnType.INTEGER else None
        if value is None or value % 1:  # otherwise it is a whole number beyond the limits
            raise problem_of(column, *CELLS[column.type]) from None
    return convert(column, value)


def _number(column: Column, value: float) -> float:
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise problem_of(column, "must be a finite number that float32 can hold", kinds.NOT_FINITE)
    return float(value)


def _integer(column: Column, value: float) -> int:
    if value % 1:
        raise ValueError
    low, high = column.limits
    if not low <= value <= high:
        raise problem_of(column, f"must be from {low} to {high}", kinds.NOT_FINITE)
    if isinstance(value, float) and abs(value) > EXACT_INTEGER:
        what = "must have no point or exponent from 2 ** 53 on: a float is not exact"
        raise problem_of(column, what, kinds.NOT_FINITE)
    return int(value)


def _date(column: Column, value: str | float) -> Value:
    if isinstance(value, str):
        return read_cell(column, value)
    if not FIRST_DAY <= value <= LAST_DAY:
        raise ValueError
    return float(value)


# How a decoded value is taken: its types (JSON does not distinguish 5 and 5.0), a function that raises ValueError for
# an invalid one, and the message and the kind of the problem. Without known categories, no text means a missing value.
DECODED: Mapping[ColumnType, tuple[tuple[type, ...], Callable[[Column, Any], Value], str, str]] = {
    ColumnType.NUMBER: ((float, int), _number, "must be a number, without quotes", kinds.NOT_A_NUMBER),
    ColumnType.INTEGER: ((int, float), _integer, "must be a whole number, without quotes", kinds.NOT_AN_INTEGER),
    ColumnType.BOOLEAN: ((bool,), lambda _, value: value, "must be true or false", kinds.NOT_A_BOOLEAN),
    ColumnType.STRING: (
        (str,),
        lambda column, value: category_of(value, column.known) if column.values else value,
        "must be a string",
        kinds.NOT_A_STRING,
    ),
    ColumnType.DATE: ((str, float, int), _date, f"{ISO_DATE}, or a number of days since 1970-01-01", kinds.NOT_A_DATE),
}
# The message and the kind of the problem of an invalid cell.
CELLS: Mapping[ColumnType, tuple[str, str]] = {
    ColumnType.NUMBER: ("must be a finite number, with a point for decimals", kinds.NOT_A_NUMBER),
    ColumnType.INTEGER: ("must be a whole number", kinds.NOT_AN_INTEGER),
    ColumnType.BOOLEAN: ("must be true or false, yes or no, 1 or 0", kinds.NOT_A_BOOLEAN),
    ColumnType.STRING: ("must be a text, a number or a date", kinds.NOT_A_STRING),
    ColumnType.DATE: (ISO_DATE, kinds.NOT_A_DATE),
}
