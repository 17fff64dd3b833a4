"""Converts cells of typed tables, such as Parquet or SQL: by their own type, or by their text.

Each rule takes a cell that is not missing, with text already stripped, and returns None where it is not of its type.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

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
    """A name: text unchanged, other cells as the known text of equal value, such as ``1.0`` for 1 or ``yes`` for true.

    Without one, cells have their canonical text: ``1`` for 1 and 1.0, ``true`` or ``false``, and for a date at midnight
    UTC the date alone.
    """
    if isinstance(cell, str):
        return cell
    text = _canonical(cell)
    if text is None or not known:
        return text
    texts = _texts_by_value(tuple(known))
    return text if text in texts else texts.get(_value_of(cell), text)


def float32_cell(cell: float) -> float:
    """The number that a float32 is written as: 0.1 for the float32 that is nearest to it, as in a CSV file."""
    return float(str(np.float32(cell)))


def _canonical(cell: Any) -> str | None:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, date):
        text = cell.isoformat()
        day = text.removesuffix("+00:00").removesuffix("T00:00:00")
        return day if len(day) == len("2024-02-29") else text
    if not isinstance(cell, int | float | Decimal):
        return None
    if _is_whole(cell):
        return str(int(cell))
    text = format(cell.normalize(), "f") if isinstance(cell, Decimal) else str(cell)
    return text if math.isfinite(cell) else None


def _value_of(cell: Any) -> Hashable:
    """What equal cells have in common; different for true and 1."""
    if isinstance(cell, bool):
        return ("boolean", cell)
    if isinstance(cell, date):
        return ("date", days_of_moment(cell))
    return ("number", int(cell) if _is_whole(cell) else float(cell))


@lru_cache(maxsize=256)
def _texts_by_value(known: tuple[str, ...]) -> dict[Hashable, str]:
    """The texts by themselves and by the values that they can mean; the first one of equal value."""
    found: dict[Hashable, str] = {text: text for text in known}
    for text in known:
        whole = integer_of(text)
        number = number_of(text) if whole is None else whole
        for value in (("boolean", boolean_of(text)), ("date", days_of(text)), ("number", number)):
            if value[1] is not None:
                found.setdefault(value, text)
    return found


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
