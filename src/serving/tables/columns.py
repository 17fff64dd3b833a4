"""Checks the values of a column, whatever the format, and builds tables from columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import FIRST_DAY, LARGEST_INTEGER, LAST_DAY, MISSING_TEXTS
from src.core.errors import InvalidInputError
from src.core.feature_schema import EXACT_INTEGER, Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Value, array_of
from src.serving.tables.extra_columns import NOTHING, Kept
from src.serving.tables.parts import Part, Rows, missing_columns, no_column
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError, malformed
from src.serving.tables.values import FLOAT32_MAX, convert, convert_cell

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


@dataclass(frozen=True)
class Checked:
    """Some values of one column, as ``FeatureTable`` holds them; with problems, the values are not used."""

    values: NDArray[Any]
    rows: int
    problems: list[InvalidInputError] = field(default_factory=list)


def part_of(schema: FeatureSchema, columns: Sequence[Checked], kept: Kept = NOTHING) -> Part:
    """Build a part from its columns in the schema's order."""
    problems = [problem for column in columns for problem in column.problems]
    if problems:
        return InvalidRecordError(sorted(problems, key=lambda problem: problem.row or 0))
    return Rows(FeatureTable.from_columns(schema, [column.values for column in columns]), kept)


def joined(pieces: Sequence[Checked]) -> Checked:
    """Consecutive values of one column."""
    problems = [problem for piece in pieces for problem in piece.problems]
    return Checked(np.concatenate([piece.values for piece in pieces]), sum(piece.rows for piece in pieces), problems)


def read_texts(column: Column, texts: Sequence[str], first_row: int) -> Checked:
    """Read and check text cells of one column."""
    numbers = _numbers(texts) if column.type is ColumnType.NUMBER else None
    return each_checked(column, texts, first_row) if numbers is None else checked(column, *numbers, first_row)


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
    found = [column_of(column, columns.get(column.name), rows) for column in schema.columns]
    if problems := [problem for column in found for problem in column.problems]:
        raise InvalidRecordError(problems)
    return FeatureTable.from_columns(schema, [column.values for column in found])


def column_of(column: Column, values: Values | None, rows: int) -> Checked:
    """Check so many decoded values of one column; None if it is absent."""
    if values is None:
        problems: list[InvalidInputError] = missing_columns(FeatureSchema((column,)), ())
        return Checked(array_of(column, [None] * rows), rows, problems)
    return read_values(column, values)


def read_values(column: Column, values: Values, first_row: int = 0) -> Checked:
    """Check decoded values of one column. None and NaN are missing values; an array of objects holds strings."""
    array = _quick_array(column, values)
    if array is None:
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        return each_checked(
            column, [None if _is_missing(column, value) else value for value in listed], first_row, convert
        )
    missing = np.isnan(array) if array.dtype == np.float64 and not column.required else None
    return checked(column, array, missing, first_row)


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


def each_checked(
    column: Column, values: Sequence[Any], first_row: int, take: Callable[[Column, Any], Value] = convert_cell
) -> Checked:
    """Check values of one column one by one; ``take`` returns the column's value or raises the problem."""
    good: list[Value] = []
    problems: list[InvalidInputError] = []
    for index, value in enumerate(values):
        try:
            good.append(take(column, value))
        except InvalidInputError as problem:
            problem.row = first_row + index
            problems.append(problem)
            if len(problems) == MAX_TOLD:
                break
    return Checked(array_of(column, good), len(values), problems)


def _numbers(texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_] | None] | None:
    """Plain numbers converted as a whole, and a mask of missing ones; None if each must be checked by itself."""
    joined = "".join(texts)
    # Python's float accepts more than the rules: 1_000, digits of other scripts, inf.
    if not joined.isascii() or "_" in joined:
        return None
    missing = None
    try:
        values = np.array(list(map(float, texts)))
    except ValueError:
        missing = np.array([text in MISSING_TEXTS for text in texts])
        try:
            values = np.array([0.0 if text in MISSING_TEXTS else float(text) for text in texts])
        except ValueError:
            return None
    return (values, missing) if np.isfinite(values).all() else None


def checked(column: Column, values: NDArray[Any], missing: NDArray[np.bool_] | None, first_row: int) -> Checked:
    """Check values that already have the column's type.

    Args:
        values: (n,) float64 for a number or a date, int64 or float64 for an integer, bool for a boolean, object for a
            string.
        missing: (n,) mask of missing values, whose place in ``values`` is ignored; None if none is missing.
        first_row: the row of the first value.
    """
    wrong = _wrong(column, values)
    if missing is not None:
        wrong = wrong | missing if column.required else wrong & ~missing
    if not wrong.any():
        return Checked(_filled(column, values, missing if missing is not None and missing.any() else None), len(values))
    cells = values.astype(object)
    if missing is not None:
        cells[missing] = None
    return each_checked(column, cells.tolist(), first_row, convert)


def _wrong(column: Column, values: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask of the values that the column does not accept."""
    wrong: NDArray[np.bool_]
    if column.type is ColumnType.NUMBER:
        wrong = ~(np.abs(values) <= FLOAT32_MAX)
        return wrong
    if column.type is ColumnType.DATE:
        wrong = ~((values >= FIRST_DAY) & (values <= LAST_DAY))
        return wrong
    if column.type is ColumnType.INTEGER:
        low, high = column.limits
        if values.dtype != np.int64:
            low, high = max(low, -EXACT_INTEGER), min(high, EXACT_INTEGER)
        wrong = ~((values >= low) & (values <= high) & (values == np.floor(values)))
        return wrong
    return np.zeros(len(values), dtype=np.bool_)


def _filled(column: Column, values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Valid values as ``FeatureTable`` holds them."""
    if column.type in {ColumnType.NUMBER, ColumnType.DATE}:
        return values if missing is None else np.where(missing, np.nan, values)
    if column.type is ColumnType.INTEGER:
        return values.astype(np.int64) if missing is None else np.where(missing, np.nan, values)
    if missing is None:
        return values
    objects = values.astype(object)
    objects[missing] = None
    return objects
