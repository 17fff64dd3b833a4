"""Strict decoding of JSON records into rows of a model's schema, with every problem told and none of the input."""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value

FLOAT32_MAX = 3.4028234663852886e38
# Every kind of a record's problems; they are also labels of a metric.
MISSING = "missing"
NOT_A_NUMBER = "not_a_number"
NOT_FINITE = "not_finite"
NOT_AN_INTEGER = "not_an_integer"
NOT_A_BOOLEAN = "not_a_boolean"
NOT_A_STRING = "not_a_string"
UNKNOWN_FIELD = "unknown_field"
MALFORMED = "malformed"
# Of a body, before any record is looked at.
TOO_LARGE = "too_large"
RECORD_PROBLEMS = (
    MISSING,
    NOT_A_NUMBER,
    NOT_FINITE,
    NOT_AN_INTEGER,
    NOT_A_BOOLEAN,
    NOT_A_STRING,
    UNKNOWN_FIELD,
    MALFORMED,
)
# What a record that does not fit raises on the way: UnicodeDecodeError is a ValueError, deep nesting a RecursionError.
UNFIT = (ValueError, KeyError, RecursionError, InvalidInputError)
# As many problems as an answer tells: a batch may have one per cell.
MAX_TOLD = 100


class InvalidRecordError(InvalidInputError):
    """Records with at least one problem; its own kind and field are the first's.

    Messages name columns of the model and never repeat anything of the input.
    """

    def __init__(self, problems: list[InvalidInputError]) -> None:
        first = problems[0]
        super().__init__(str(first), kind=first.kind, field=first.field, row=first.row)
        self.problems = tuple(problems[:MAX_TOLD])


def malformed(message: str, row: int | None = None, field: str | None = None) -> InvalidRecordError:
    """The one problem of a body that cannot be read, or of a row."""
    return InvalidRecordError([InvalidInputError(message, kind=MALFORMED, row=row, field=field)])


class RecordDecoder:
    """Decodes JSON objects with exactly a model's columns, each of its type; a column that may be missing may be null.

    The accepting path is a few calls into C where all columns are numbers; only a refused body is looked at a second
    time, to say why.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self._names = schema.names
        # One name alone would give no tuple.
        only = schema.names[0]
        self._values_of = itemgetter(*schema.names) if len(schema.names) > 1 else lambda record: (record[only],)
        self._expected = ", ".join(schema.names)
        # Not a msgspec struct: its fields refuse names with quotes or control characters, which columns may have.
        value: Any = float if schema.is_numeric else bool | int | float | str | None
        self._decoder = msgspec.json.Decoder(dict[str, value])
        self._list_decoder = msgspec.json.Decoder(list[dict[str, value]])
        self._loose_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._loose_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])

    def decode(self, body: bytes) -> Row:
        """The values of one record in the schema's order.

        Raises:
            InvalidRecordError: the body is not such a record.
        """
        row = self.decode_or_none(body)
        if row is None:
            raise InvalidRecordError(self._explain(body, None))
        return row

    def decode_or_none(self, body: bytes | msgspec.Raw) -> Row | None:
        """The same, or None for a body that is not such a record, without a second look at it."""
        try:
            return self._row(self._decoder.decode(body))
        except UNFIT:
            return None

    def decode_list(self, body: bytes) -> FeatureTable:
        """The values of a JSON array of records, one or more.

        Raises:
            InvalidRecordError: the body is no such array; ``row`` of each problem counts from 0.
        """
        try:
            table = self._table(self._list_decoder.decode(body))
        except UNFIT:
            raise InvalidRecordError(self._explain_list(body)) from None
        if not len(table):
            raise InvalidRecordError([self._malformed("the list has no records; send at least one object")])
        return table

    def decode_lines_or_none(self, lines: bytes | bytearray) -> FeatureTable | None:
        """The values of JSON objects with white space between them, none or more; None where one does not fit."""
        try:
            return self._table(self._decoder.decode_lines(lines))
        except UNFIT:
            return None

    def _table(self, records: Sequence[Mapping[str, Any]]) -> FeatureTable:
        """Raises one of ``UNFIT`` where a record does not fit."""
        if not self.schema.is_numeric:
            return FeatureTable.from_rows(self.schema, [self._typed(record) for record in records])
        if not set(map(len, records)) <= {len(self._names)}:
            raise ValueError
        # Column by column, as a call into C for each value costs more than all else.
        columns = [np.fromiter(map(itemgetter(name), records), np.float64, len(records)) for name in self._names]
        if not all((np.abs(column) <= FLOAT32_MAX).all() for column in columns):
            raise ValueError
        return FeatureTable.from_columns(self.schema, columns)

    def _row(self, record: Mapping[str, Any]) -> Row:
        """Raises one of ``UNFIT`` for a record that does not fit."""
        if not self.schema.is_numeric:
            return self._typed(record)
        row: tuple[float, ...] = self._values_of(record)
        if len(record) > len(row) or max(row) > FLOAT32_MAX or min(row) < -FLOAT32_MAX:
            raise ValueError
        return row

    def _typed(self, record: Mapping[str, Any]) -> Row:
        if not record.keys() <= set(self._names):
            raise ValueError
        return tuple([convert(column, record.get(column.name)) for column in self.schema.columns])

    def _explain_list(self, body: bytes) -> list[InvalidInputError]:
        try:
            records = self._loose_list_decoder.decode(body)
        except (ValueError, RecursionError):
            return [
                self._malformed("the body is not valid JSON (NaN and Infinity are not JSON); send a list of objects")
            ]
        problems: list[InvalidInputError] = []
        for index, record in enumerate(records):
            if self.decode_or_none(record) is None:
                problems += self._explain(bytes(record), index)
            if len(problems) >= MAX_TOLD:
                break
        return problems

    def _explain(self, body: bytes, row: int | None) -> list[InvalidInputError]:
        """Every problem of a refused record, in the order of the columns."""
        if not body.strip():
            return [self._malformed("the body is empty; send one object", row)]
        try:
            found = self._loose_decoder.decode(body)
        except msgspec.ValidationError:
            return [self._malformed("a record must be one JSON object", row)]
        except (ValueError, RecursionError):
            return [self._malformed("the body is not valid JSON (NaN and Infinity are not JSON); send one object", row)]
        problems = []
        for column in self.schema.columns:
            try:
                convert(column, value_of(found.get(column.name)))
            except InvalidInputError as error:
                problems.append(error)
        if not found.keys() <= set(self._names):
            message = f"unknown fields; the model takes {self._expected} and nothing else"
            problems.append(InvalidInputError(message, kind=UNKNOWN_FIELD))
        for problem in problems:
            problem.row = row
        # Nothing found: one of two equal keys was wrong and the other right.
        return problems or [self._malformed("each field must be given once", row)]

    def _malformed(self, message: str, row: int | None = None) -> InvalidInputError:
        return InvalidInputError(f"{message} with the fields {self._expected}", kind=MALFORMED, row=row)


def convert(column: Column, value: object) -> Value:
    """A decoded value as its column takes it: None stays None where the column may be missing.

    Raises:
        InvalidInputError: it is missing, or not of the column's type.
    """
    if value is None:
        if column.required:
            raise _problem(column, "is required", MISSING)
        return None
    return CONVERTERS[column.type](column, value)


def _number(column: Column, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _problem(column, "must be a number, without quotes", NOT_A_NUMBER)
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise _problem(column, "must be a finite number that float32 can hold", NOT_FINITE)
    return float(value)


def _integer(column: Column, value: object) -> int:
    # JSON does not tell 5 from 5.0.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise _problem(column, "must be a whole number, without quotes", NOT_AN_INTEGER)
    low, high = column.limits
    if not low <= value <= high:  # type: ignore[operator] # whole says that it is a number
        raise _problem(column, f"must be from {low} to {high}", NOT_FINITE)
    return int(value)  # type: ignore[call-overload, no-any-return]


def _boolean(column: Column, value: object) -> bool:
    if not isinstance(value, bool):
        raise _problem(column, "must be true or false", NOT_A_BOOLEAN)
    return value


def _string(column: Column, value: object) -> str:
    if not isinstance(value, str):
        raise _problem(column, "must be a string", NOT_A_STRING)
    return value


CONVERTERS: Mapping[ColumnType, Callable[[Column, object], Value]] = {
    ColumnType.NUMBER: _number,
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.STRING: _string,
}


def value_of(raw: msgspec.Raw | None) -> object:
    """A scalar's value; something that no column takes for all else, and nothing big is built."""
    if raw is None:
        return None
    text = bytes(raw)
    if text[:1] in b"{[":
        return ()
    try:
        return msgspec.json.decode(text)
    except ValueError:
        return math.inf if text[:1] in b"-0123456789" else ()


def _problem(column: Column, what: str, kind: str) -> InvalidInputError:
    return InvalidInputError(f"{column.name} {what}", kind=kind, field=column.name)
