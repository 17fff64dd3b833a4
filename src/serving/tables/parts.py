"""The parts that every reader of a batch yields, and the checks that all readers share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from src.core.errors import InvalidInputError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.extra_columns import NOTHING, ExtraColumns, Kept, unknown_columns
from src.serving.tables.problems import (
    MALFORMED,
    MAX_TOLD,
    MISSING,
    TOO_LARGE,
    InvalidRecordError,
)


class Rows(NamedTuple):
    """Some valid rows of a batch, with the other columns that are kept.

    ``named`` says whether a column of the model was sent, even without a value.
    """

    table: FeatureTable
    kept: Kept = NOTHING
    named: bool = True

    @property
    def text_bytes(self) -> int:
        """The length of its strings in UTF-8 and of its kept columns, which may be much longer than the body."""
        schema = self.table.schema
        strings = [place for place, column in enumerate(schema.columns) if column.type is ColumnType.STRING]
        # A join is many times faster than a loop.
        return len(self.kept.packed) + sum(
            len("".join(filter(None, self.table.columns[place].tolist())).encode()) for place in strings
        )


# Some rows, or the problems of invalid ones. A part keeps a thread busy for a few milliseconds, and so does
# any call into C, so that the event loop can run in between.
Part = Rows | InvalidRecordError
# Reads a body. Yields the parts in the order of the rows, or while a part is not complete how many rows it has so far;
# raises InvalidRecordError if the rest cannot be read.
Reader = Callable[[FeatureSchema, bytearray, ExtraColumns], Iterator[Part | int]]
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


class TooMuchTextError(InvalidInputError):
    """The strings and kept columns of the batch take more memory than the service reserves for them."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"the strings and kept columns of the batch take more than {max_bytes} bytes; send several batches, or "
            "drop other columns with extra_columns=ignore",
            kind=TOO_LARGE,
        )


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


def valid(parts: Iterable[Part]) -> Iterator[FeatureTable | None]:
    """The tables of the parts; None for a part with problems.

    Raises:
        InvalidRecordError: after the last part, or the first ``MAX_TOLD`` problems; with all of them.
    """
    problems: list[InvalidInputError] = []
    for part in parts:
        if isinstance(part, InvalidRecordError):
            problems += part.problems
            if len(problems) >= MAX_TOLD:
                break
        yield None if isinstance(part, InvalidRecordError) else part.table
    if problems:
        raise InvalidRecordError(problems)


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
