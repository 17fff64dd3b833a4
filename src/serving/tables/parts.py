"""The parts that every reader of a batch yields, and the checks that all readers share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.column_rules import FIRST_DAY, LAST_DAY, MISSING_TEXTS
from src.core.errors import InvalidInputError
from src.core.feature_schema import EXACT_INTEGER, Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Value, array_of
from src.serving.tables.extra_columns import NOTHING, ExtraColumns, Kept, unknown_columns
from src.serving.tables.problems import (
    MALFORMED,
    MAX_TOLD,
    MISSING,
    TOO_LARGE,
    InvalidRecordError,
)
from src.serving.tables.values import FLOAT32_MAX, convert, convert_cell


class Rows(NamedTuple):
    """Some valid rows of a batch, with the other columns that are kept.

    ``named`` says whether a column of the model was sent, even without a value.
    """

    table: FeatureTable
    kept: Kept = NOTHING
    named: bool = True


# Some rows, or the problems of invalid ones. A part keeps a thread busy for a few milliseconds, and so does
# any call into C, so that the event loop can run in between.
Part = Rows | InvalidRecordError
# Reads a body of at most so many rows. Yields the parts in the order of the rows, or None if no part is complete yet;
# raises InvalidRecordError if the rest cannot be read.
Reader = Callable[[FeatureSchema, bytearray, int, ExtraColumns], Iterator[Part | None]]
PART_ROWS = 2000
PART_VALUES = 10_000
PART_BYTES = 1 << 17
# The longest record or line, and the longest value, so that none delays other requests.
MAX_PIECE_BYTES = 1 << 20
MAX_VALUE_BYTES = 1 << 17


class TooManyRowsError(InvalidInputError):
    """The batch has more rows than the service holds in memory."""

    def __init__(self, max_rows: int) -> None:
        super().__init__(f"the batch has more than {max_rows} rows; send several batches", kind=TOO_LARGE)


@dataclass(frozen=True)
class Checked:
    """Some values of one column, as ``FeatureTable`` holds them; with problems, the values are not used."""

    values: NDArray[Any]
    rows: int
    problems: list[InvalidInputError] = field(default_factory=list)


def shifted(error: InvalidRecordError, rows: int) -> InvalidRecordError:
    """The same problems with their rows shifted by so many."""
    for problem in error.problems:
        problem.row = rows + (problem.row or 0)
    return error


def missing_columns(schema: FeatureSchema, names: Iterable[str]) -> list[InvalidInputError]:
    """A problem for each required column that is absent."""
    there = set(names)
    return [
        InvalidInputError(f"{column.name} is required", kind=MISSING, field=column.name)
        for column in schema.columns
        if column.required and column.name not in there
    ]


def no_column(schema: FeatureSchema, hint: str = "") -> InvalidInputError:
    """The problem of a body without any column of the model, whose columns may all be optional."""
    message = f"no column of the model is in the body; its columns are {', '.join(schema.names)}{hint}"
    return InvalidInputError(message, kind=MALFORMED)


def each_named(schema: FeatureSchema, parts: Iterator[Part]) -> Iterator[Part]:
    """The same parts.

    Raises:
        InvalidRecordError: after the last part, none had a column of the model.
    """
    named = False
    for part in parts:
        named = named or isinstance(part, InvalidRecordError) or part.named
        yield part
    if not named:
        raise InvalidRecordError([no_column(schema)])


def given_twice(schema: FeatureSchema) -> InvalidInputError:
    """The problem of two columns with the same name."""
    return InvalidInputError(f"each of {', '.join(schema.names)} must be given once", kind=MALFORMED)


def positions(names: Sequence[str], schema: FeatureSchema, extra: ExtraColumns, hint: str = "") -> list[int | None]:
    """The position of each of the schema's columns in a batch; None for an optional column that is absent.

    Args:
        names: the batch's columns.
        schema: the model's columns.
        extra: what to do with other columns.
        hint: appended to the message that none of the model's columns is there.

    Raises:
        InvalidRecordError: columns are missing, unknown or given twice, or the batch has none of the model's.
    """
    problems = missing_columns(schema, names)
    if extra is ExtraColumns.REFUSE and not set(names) <= set(schema.names):
        problems.append(unknown_columns(schema, names))
    counted = names if extra is ExtraColumns.KEEP else [name for name in names if name in schema.names]
    if len(set(counted)) != len(counted):
        problems.append(given_twice(schema))
    if not problems and set(names).isdisjoint(schema.names):
        problems.append(no_column(schema, hint))
    if problems:
        raise InvalidRecordError(problems)
    places = {name: index for index, name in enumerate(names)}
    return [places.get(name) for name in schema.names]


def kept_places(names: Sequence[str], schema: FeatureSchema, extra: ExtraColumns) -> dict[str, int]:
    """The positions of the kept columns."""
    if extra is not ExtraColumns.KEEP:
        return {}
    return {name: place for place, name in enumerate(names) if name not in schema.names}


def in_arrays(rows: Rows) -> Rows:
    """The same rows in arrays, because a batch may wait, and rows of Python values take six times the memory."""
    return rows._replace(table=FeatureTable.from_columns(rows.table.schema, rows.table.columns))


def part_of(schema: FeatureSchema, columns: Sequence[Checked], kept: Kept = NOTHING) -> Part:
    """Build a part from its columns in the schema's order."""
    problems = [problem for column in columns for problem in column.problems]
    if problems:
        return InvalidRecordError(sorted(problems, key=lambda problem: problem.row or 0))
    return Rows(FeatureTable.from_columns(schema, [column.values for column in columns]), kept)


def checked_texts(column: Column, texts: Sequence[str], first_row: int) -> Checked:
    """Read and check text cells of one column."""
    numbers = _numbers(texts) if column.type is ColumnType.NUMBER else None
    return each_checked(column, texts, first_row) if numbers is None else checked(column, *numbers, first_row)


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
    problems = []
    for index in np.flatnonzero(wrong)[:MAX_TOLD].tolist():
        try:
            convert(column, None if missing is not None and missing[index] else values[index].item())
        except InvalidInputError as problem:
            problem.row = first_row + index
            problems.append(problem)
    return Checked(values, len(values), problems)


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
