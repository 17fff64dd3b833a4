"""Strict decoding of JSON records into rows of a model's schema; problems are reported without values of the input."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row
from src.serving.tables.columns import FLOAT32_MAX, convert, read_values
from src.serving.tables.parts import ExtraColumns, Part, Rows, part_of
from src.serving.tables.pieces import value_of
from src.serving.tables.problems import MALFORMED, MAX_TOLD, UNFIT, InvalidRecordError, unknown_columns

NOT_JSON = "the body is not valid JSON (NaN and Infinity are not JSON; a missing value is null)"


class RecordDecoder:
    """Decodes JSON objects whose fields are a model's columns; optional columns may be null or absent.

    A valid body takes a few calls into C; only an invalid one is decoded again to find the problems. ``extra`` says
    what to do with other fields of a batch; None is for a single record, where they are refused.
    """

    def __init__(self, schema: FeatureSchema, extra: ExtraColumns | None = None) -> None:
        self.schema = schema
        self._extra = extra
        self._takes_others = extra in {ExtraColumns.IGNORE, ExtraColumns.KEEP}
        self._is_plain = schema.is_numeric and not self._takes_others
        self._known = frozenset(schema.names)
        # Whether a record so far, or every valid one, has a column of the model, even without a value.
        self.named = extra is None or any(column.required for column in schema.columns)
        # itemgetter returns no tuple for a single name.
        only = schema.names[0]
        self._values_of = itemgetter(*schema.names) if len(schema.names) > 1 else lambda record: (record[only],)
        # Not a msgspec struct, whose field names cannot contain quotes or control characters, as columns' names may.
        value: Any = float if self._is_plain else Any if self._takes_others else bool | int | float | str | None
        self._decoder = msgspec.json.Decoder(dict[str, value])
        self._list_decoder = msgspec.json.Decoder(list[dict[str, value]])

    def decode(self, body: bytes) -> Row:
        """The values of one record in the schema's order, or raise InvalidRecordError."""
        row = self.decode_or_none(body)
        if row is None:
            raise InvalidRecordError(self._explain(body))
        return row

    def decode_or_none(self, body: bytes | msgspec.Raw) -> Row | None:
        """The same, or None for an invalid body, without finding the problems."""
        try:
            return self.row(self._decoder.decode(body))
        except UNFIT:
            return None

    def row(self, record: Mapping[str, Any]) -> Row:
        """The same of a decoded record, with floats if all columns are numbers; raises one of ``UNFIT``."""
        if not self._is_plain:
            if not self._takes_others and not record.keys() <= self._known:
                raise ValueError
            return tuple([convert(column, record.get(column.name)) for column in self.schema.columns])
        row: tuple[float, ...] = self._values_of(record)
        if len(record) > len(row) or max(row) > FLOAT32_MAX or min(row) < -FLOAT32_MAX:
            raise ValueError
        return row

    def rows_or_none(self, body: bytes, *, lines: bool = False) -> Rows | None:
        """The rows of a JSON array of records, or of records on lines, with kept fields; None for an invalid one."""
        try:
            records: list[Any] = self._decoder.decode_lines(body) if lines else self._list_decoder.decode(body)
            part = self._plain_rows(records) if self._is_plain else self._typed_rows(records)
        except UNFIT:
            return None
        return part if isinstance(part, Rows) else None

    def refusal(self, records: Iterable[Any], first_row: int = 0) -> InvalidRecordError:
        """The problems of JSON texts of which at least one is not a valid record."""
        self.named = True
        problems: list[InvalidInputError] = []
        for row, record in enumerate(records, first_row):
            if self.decode_or_none(record) is None:
                for problem in self._explain(bytes(record)):
                    problem.row = row
                    problems.append(problem)
            if len(problems) >= MAX_TOLD:
                break
        return InvalidRecordError(problems)

    def _plain_rows(self, records: Sequence[Mapping[str, Any]]) -> Rows:
        """Raises one of ``UNFIT`` if a record is invalid, as ``_typed_rows`` may do."""
        names = self.schema.names
        if not set(map(len, records)) <= {len(names)}:
            raise ValueError
        # Column by column, because a call into C per value would cost more than everything else.
        columns = [np.fromiter(map(itemgetter(name), records), np.float64, len(records)) for name in names]
        if not all((np.abs(column) <= FLOAT32_MAX).all() for column in columns):
            raise ValueError
        return Rows(FeatureTable.from_columns(self.schema, columns))

    def _typed_rows(self, records: Sequence[Mapping[str, Any]]) -> Part:
        if not self._takes_others and not all(record.keys() <= self._known for record in records):
            raise ValueError
        columns = {name: [record.get(name) for record in records] for name in self.schema.names}
        kept: dict[str, list[Any]] = {}
        if self._extra is ExtraColumns.KEEP:  # a record may lack a field of another one
            others = dict.fromkeys(name for record in records for name in record if name not in self._known)
            kept = {name: [record.get(name) for record in records] for name in others}
        self.named = self.named or any(not self._known.isdisjoint(record) for record in records)
        return part_of(self.schema, columns, len(records), read_values, kept)

    def _explain(self, body: bytes) -> list[InvalidInputError]:
        """Every problem of a refused record, in the order of the columns."""
        if not body.strip():
            return [self._malformed("the body is empty; send one object")]
        try:
            found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            return [self._malformed("a record must be one JSON object")]
        except (ValueError, RecursionError):
            return [self._malformed(f"{NOT_JSON}; send one object")]
        problems = []
        for column in self.schema.columns:
            try:
                convert(column, value_of(found.get(column.name)))
            except InvalidInputError as error:
                problems.append(error)
        if not self._takes_others and not found.keys() <= self._known:
            problems.append(unknown_columns(self.schema, found, "fields" if self._extra is None else "columns"))
        # No problem found: a key was given twice, with an invalid and a valid value.
        return problems or [self._malformed("each field must be given once")]

    def _malformed(self, message: str) -> InvalidInputError:
        return InvalidInputError(f"{message} with the fields {', '.join(self.schema.names)}", kind=MALFORMED)
