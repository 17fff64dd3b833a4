"""Converts cells of typed tables, such as Parquet or SQL: by their own type, or by their text.

Each rule takes a cell that is not missing, with text already stripped, and returns None where it is not of its type.
"""

import math
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from src.core.column_rules import (
    LARGEST_INTEGER,
    MISSING_TEXTS,
    boolean_of,
    category_of,
    days_of,
    days_of_moment,
    integer_of,
    number_of,
)
from src.core.feature_schema import Column, ColumnType
from src.core.feature_table import Value


def number_cell(cell: Any, decimal: str = ".") -> float | None:
    """A finite number: from text, or from any numeric type except a boolean."""
    if isinstance(cell, str):
        return number_of(cell, decimal)
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return None
    try:
        value = float(cell)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def integer_cell(cell: Any) -> int | None:
    """A 64-bit integer: from text, or from a number without a fraction."""
    if isinstance(cell, str):
        return integer_of(cell)
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return None
    if not _is_whole(cell):
        return None
    return int(cell) if -LARGEST_INTEGER - 1 <= cell <= LARGEST_INTEGER else None


def boolean_cell(cell: Any) -> bool | None:
    """True or false: from text, a boolean, or the numbers 1 and 0."""
    if isinstance(cell, str):
        return boolean_of(cell)
    return bool(cell) if isinstance(cell, int | float | Decimal) and cell in {0, 1} else None


def date_cell(cell: Any) -> float | None:
    """Days since 1970-01-01 UTC of an ISO 8601 text, a date or a time stamp."""
    if isinstance(cell, str):
        return days_of(cell)
    return days_of_moment(cell) if isinstance(cell, date) else None


def text_cell(cell: Any, known: Collection[str] = ()) -> str | None:
    """A name: text unchanged, other cells as their canonical text.

    1 and 1.0 are ``1``; a boolean is the known text with its meaning, such as ``yes``, or else ``true`` or ``false``.
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return next((text for text in known if boolean_of(text) is cell), str(cell).lower())
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    if not isinstance(cell, int | float | Decimal):
        return None
    if _is_whole(cell):
        return str(int(cell))
    text = format(cell.normalize(), "f") if isinstance(cell, Decimal) else str(cell)
    return text if math.isfinite(cell) else None


def _is_whole(cell: float | Decimal) -> bool:
    """Whether a number is finite and has no fraction."""
    return isinstance(cell, int) or (math.isfinite(cell) and cell == math.trunc(cell))


_RULES: Mapping[ColumnType, Callable[[Any], Value]] = {
    ColumnType.NUMBER: number_cell,
    ColumnType.INTEGER: integer_cell,
    ColumnType.BOOLEAN: boolean_cell,
    ColumnType.DATE: date_cell,
}


def read_cell(column: Column, cell: Any) -> Value:
    """A column's cell, a text or a typed value; None where it is missing, whether or not the column may be.

    Raises:
        ValueError: the cell is not of the column's type. Limits are not checked.
    """
    is_name = column.type is ColumnType.STRING
    if isinstance(cell, str):
        if is_name:
            return category_of(cell, column.known)
        cell = cell.strip()
        if cell in MISSING_TEXTS:
            return None
    elif cell is None or cell != cell:  # noqa: PLR0124 - NaN differs from itself
        return None
    value = text_cell(cell, column.values) if is_name else _RULES[column.type](cell)
    if value is None:
        raise ValueError(f"not of the type {column.type}")
    return value
