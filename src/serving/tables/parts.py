"""The formats of a batch, the parts that their readers yield, and the checks that all readers share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec
from numpy.typing import NDArray

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, array_of
from src.serving.tables.columns import Problems, Values, read_values
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError, malformed, missing, no_column, unknown_columns

T = TypeVar("T")

# A part keeps a thread busy for a few milliseconds, and so does any call into C, so that the event loop can run in
# between.
PART_ROWS = 4000
PART_VALUES = 20_000
PART_BYTES = 1 << 18
# The longest record or line, and the longest value, so that none delays other requests.
MAX_PIECE_BYTES = 1 << 20
MAX_VALUE_BYTES = 1 << 17
# The kinds of kept columns; the last one of a column without a value.
TEXT, DOUBLE, LONG, BOOLEAN, UNKNOWN = "text", "double", "long", "boolean", ""
KINDS: Mapping[frozenset[type], str] = {
    frozenset(): UNKNOWN,
    frozenset({bool}): BOOLEAN,
    frozenset({int}): LONG,
    frozenset({float}): DOUBLE,
    frozenset({int, float}): DOUBLE,
}
INTEGERS = range(-(2**63), 2**63)


class Format(StrEnum):
    """A format of a batch by its media type, in the service's order of preference."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    ARROW_STREAM = "application/vnd.apache.arrow.stream"
    ARROW_FILE = "application/vnd.apache.arrow.file"
    PARQUET = "application/vnd.apache.parquet"


# The formats that a worker reads and writes.
BINARY = frozenset({Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET})


class ExtraColumns(StrEnum):
    """What to do with columns that the model does not take."""

    REFUSE = "refuse"
    IGNORE = "ignore"
    KEEP = "keep"


class Kept(NamedTuple):
    """The kinds of kept columns by name, and lists of their n values by name as JSON: objects take too much memory."""

    kinds: dict[str, str]
    packed: bytes

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]]) -> "Kept":
        """Pack columns of n JSON values each."""
        return cls({name: kind_of(values) for name, values in columns.items()}, msgspec.json.encode(columns))

    def columns(self) -> dict[str, list[Any]]:
        """The columns by name."""
        return msgspec.json.decode(self.packed)  # type: ignore[no-any-return]


NOTHING = Kept({}, b"{}")


class Rows(NamedTuple):
    """Some valid rows of a batch, with the other columns that are kept."""

    table: FeatureTable
    kept: Kept = NOTHING

    @property
    def text_bytes(self) -> int:
        """The length of its strings in UTF-8 and of its kept columns, which may be much longer than the body."""
        columns = zip(self.table.schema.columns, self.table.columns, strict=True)
        strings = [array.tolist() for column, array in columns if column.type is ColumnType.STRING]
        # A join is many times faster than a loop.
        return len(self.kept.packed) + sum(len("".join(filter(None, texts)).encode()) for texts in strings)


# Some rows, or the problems of invalid ones.
Part = Rows | InvalidRecordError


def kind_of(values: Sequence[Any]) -> str:
    """The kind of a column with these values."""
    kind = KINDS.get(frozenset(map(type, values)) - {type(None)}, TEXT)
    fits = kind != LONG or all(value in INTEGERS for value in values if value is not None)
    return kind if fits else TEXT


def joined_kinds(parts: Iterable[Kept]) -> dict[str, str]:
    """The kinds of all parts' columns, in the order of their first occurrence."""
    found: dict[str, str] = {}
    for part in parts:
        for name, kind in part.kinds.items():
            before = found.get(name, UNKNOWN)
            if UNKNOWN in {before, kind} or before == kind:
                found[name] = before or kind
            else:
                found[name] = DOUBLE if {before, kind} == {LONG, DOUBLE} else TEXT
    return found


def text_of(value: Any) -> str | None:
    """A kept value as text; None if it is missing."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def part_of(
    schema: FeatureSchema,
    columns: Mapping[str, T],
    rows: int,
    read: Callable[[Column, T, Problems], NDArray[Any]],
    kept: Mapping[str, Sequence[Any]],
) -> Part:
    """Build a part of so many rows from the columns that are there, which ``read`` checks, and from those to keep."""
    problems: Problems = []
    arrays = []
    for column in schema.columns:
        if column.name in columns:
            arrays.append(read(column, columns[column.name], problems))
            continue
        arrays.append(array_of(column, [None] * rows))
        if column.required:
            problems.append(missing(column))
    if problems:
        return InvalidRecordError(sorted(problems, key=lambda problem: problem.row or 0))
    return Rows(FeatureTable.from_columns(schema, arrays), Kept.of(kept))


def in_pieces(part: Part, kept: Mapping[str, list[Any]]) -> Iterator[Part]:
    """The same rows, in parts of about ``MAX_PIECE_BYTES`` of text at most."""
    if isinstance(part, InvalidRecordError) or part.text_bytes <= MAX_PIECE_BYTES:
        yield part
        return
    size = max(1, len(part.table) * MAX_PIECE_BYTES // part.text_bytes)
    for start in range(0, len(part.table), size):
        some = {name: cells[start : start + size] for name, cells in kept.items()}
        yield Rows(part.table.part(start, start + size), Kept.of(some))


def table_of_columns(schema: FeatureSchema, columns: Mapping[str, Values], rows: int) -> FeatureTable:
    """Build a table from columns by name, of ``rows`` values each; columns that the schema does not have are ignored.

    Raises InvalidRecordError if there are no rows, a required column or every column is missing, or values are invalid.
    """
    if columns.keys().isdisjoint(schema.names) and not any(column.required for column in schema.columns):
        raise InvalidRecordError([no_column(schema)])
    if not rows:
        raise malformed("there are no rows; send at least one")
    part = part_of(schema, columns, rows, read_values, {})
    if isinstance(part, InvalidRecordError):
        raise part
    return part.table


def valid(parts: Iterable[Part]) -> Iterator[FeatureTable]:
    """The tables of the valid parts; then raises InvalidRecordError with the first problems of the others, if any."""
    problems: list[InvalidInputError] = []
    for part in parts:
        if isinstance(part, InvalidRecordError):
            problems += part.problems
            if len(problems) >= MAX_TOLD:
                break
        else:
            yield part.table
    if problems:
        raise InvalidRecordError(problems)


def places_of(
    names: Sequence[str], schema: FeatureSchema, extra: ExtraColumns | None, hint: str = ""
) -> tuple[dict[str, int], dict[str, int]]:
    """The positions of the model's columns among a batch's names, without absent optional ones, and of the kept ones.

    Raises InvalidRecordError if columns are missing, unknown or given twice, or if the batch has none of the model's;
    ``hint`` is appended to the latter's message.
    """
    known = set(schema.names)
    places = {name: place for place, name in enumerate(names) if name in known}
    others = {name: place for place, name in enumerate(names) if name not in known}
    problems = [missing(column) for column in schema.columns if column.required and column.name not in places]
    if extra is ExtraColumns.REFUSE and others:
        problems.append(unknown_columns(schema, names))
    counted = names if extra is ExtraColumns.KEEP else [name for name in names if name in known]
    if len(set(counted)) != len(counted):
        problems += malformed(f"each of {', '.join(schema.names)} must be given once").problems
    if not problems and not places:
        problems.append(no_column(schema, hint))
    if problems:
        raise InvalidRecordError(problems)
    return places, others if extra is ExtraColumns.KEEP else {}
