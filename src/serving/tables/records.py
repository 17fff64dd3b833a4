"""Strict decoding of JSON records into rows of a model's schema; problems are reported without values of the input."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.serving.tables.columns import read_values
from src.serving.tables.extra_columns import (
    NOTHING,
    ExtraColumns,
    kept_of_records,
    unknown_columns,
    unknown_fields,
)
from src.serving.tables.parts import Rows
from src.serving.tables.problems import MALFORMED, MAX_TOLD, UNFIT, InvalidRecordError
from src.serving.tables.values import FLOAT32_MAX, convert, value_of


class RecordDecoder:
    """Decodes JSON objects whose fields are a model's columns; optional columns may be null or absent.

    If all columns are numbers, a valid body takes a few calls into C; only an invalid one is decoded again to find the
    problems.

    Args:
        schema: the model's columns.
        extra: what to do with other fields of a batch; None for a single record, where they are refused.
    """

    def __init__(self, schema: FeatureSchema, extra: ExtraColumns | None = None) -> None:
        self.schema = schema
        self._extra = extra
        self._takes_others = extra in {ExtraColumns.IGNORE, ExtraColumns.KEEP}
        self._is_plain = schema.is_numeric and not self._takes_others
        self._names = schema.names
        self._known = frozenset(schema.names)
        self._requires = any(column.required for column in schema.columns)
        # itemgetter returns no tuple for a single name.
        only = schema.names[0]
        self._values_of = itemgetter(*schema.names) if len(schema.names) > 1 else lambda record: (record[only],)
        self._expected = ", ".join(schema.names)
        # Not a msgspec struct, whose field names cannot contain quotes or control characters, as columns' names may.
        value: Any = float if self._is_plain else Any if self._takes_others else bool | int | float | str | None
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
        """The same, or None for an invalid body, without finding the problems."""
        try:
            return self._row(self._decoder.decode(body))
        except UNFIT:
            return None

    def row_or_none(self, record: Mapping[str, Any]) -> Row | None:
        """The values of a decoded record in the schema's order; None for an invalid one.

        Args:
            record: values as JSON has them; floats if all columns are numbers.
        """
        try:
            return self._row(record)
        except UNFIT:
            return None

    def decode_list(self, body: bytes) -> FeatureTable:
        """The values of a JSON array of at least one record.

        Raises:
            InvalidRecordError: the body is not such an array; ``row`` of each problem counts from 0.
        """
        return self.decode_rows(body).table

    def decode_rows(self, body: bytes) -> Rows:
        """The same with the kept fields.

        Raises:
            InvalidRecordError: as ``decode_list`` does.
        """
        try:
            rows = self._rows(self._list_decoder.decode(body))
        except UNFIT:
            raise InvalidRecordError(self._explain_list(body)) from None
        if not len(rows.table):
            raise InvalidRecordError([self._malformed("the list has no records; send at least one object")])
        return rows

    def decode_lines_or_none(self, lines: bytes | bytearray) -> Rows | None:
        """The values of JSON objects separated by white space; None if one is invalid."""
        try:
            return self._rows(self._decoder.decode_lines(lines))
        except UNFIT:
            return None

    def _rows(self, records: Sequence[Mapping[str, Any]]) -> Rows:
        kept = kept_of_records(records, self.schema) if self._extra is ExtraColumns.KEEP else NOTHING
        named = self._requires or any(not self._known.isdisjoint(record) for record in records)
        return Rows(self._table(records), kept, named)

    def _table(self, records: Sequence[Mapping[str, Any]]) -> FeatureTable:
        """Raises one of ``UNFIT`` if a record is invalid."""
        if not self._is_plain:
            return self._typed_table(records)
        if not set(map(len, records)) <= {len(self._names)}:
            raise ValueError
        # Column by column, because a call into C per value would cost more than everything else.
        columns = [np.fromiter(map(itemgetter(name), records), np.float64, len(records)) for name in self._names]
        if not all((np.abs(column) <= FLOAT32_MAX).all() for column in columns):
            raise ValueError
        return FeatureTable.from_columns(self.schema, columns)

    def _typed_table(self, records: Sequence[Mapping[str, Any]]) -> FeatureTable:
        if not self._takes_others and not all(record.keys() <= self._known for record in records):
            raise ValueError
        read = [read_values(column, [record.get(column.name) for record in records]) for column in self.schema.columns]
        if any(column.problems for column in read):
            raise ValueError
        return FeatureTable.from_columns(self.schema, [column.values for column in read])

    def _row(self, record: Mapping[str, Any]) -> Row:
        """Raises one of ``UNFIT`` for an invalid record."""
        if not self._is_plain:
            return self._typed(record)
        row: tuple[float, ...] = self._values_of(record)
        if len(record) > len(row) or max(row) > FLOAT32_MAX or min(row) < -FLOAT32_MAX:
            raise ValueError
        return row

    def _typed(self, record: Mapping[str, Any]) -> Row:
        if not self._takes_others and not record.keys() <= self._known:
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
        if not self._takes_others and not found.keys() <= self._known:
            problems.append((unknown_fields if self._extra is None else unknown_columns)(self.schema, found))
        for problem in problems:
            problem.row = row
        # No problem found: a key was given twice, with an invalid and a valid value.
        return problems or [self._malformed("each field must be given once", row)]

    def _malformed(self, message: str, row: int | None = None) -> InvalidInputError:
        return InvalidInputError(f"{message} with the fields {self._expected}", kind=MALFORMED, row=row)
