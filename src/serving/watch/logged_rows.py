"""Rows and answers as lines of the prediction log: which columns, hashed or not, and the row's key."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from src.core.feature_schema import ColumnType
from src.core.feature_table import FeatureTable
from src.core.prediction_log import LoggedColumn, Role, key_of, keyed_hash
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.predictions import Predictions
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer, answers_of
from src.serving.tables.parts import text_of
from src.serving.watch.segment_writer import SegmentSource

logger = logging.getLogger(__name__)


class LoggedRow(msgspec.Struct, frozen=True, gc=False):
    """One line of a segment."""

    id: str
    key: str | None
    time: int  # microseconds since 1970-01-01 UTC
    values: Sequence[Any]
    prediction: Any
    probabilities: Sequence[float] | None


class RowLayout:
    """How the rows of one model are logged. It does not hold the model, so that a replaced one leaves memory at once.

    Values and keys are left out as long as the settings have a name that the model does not have: it may be misspelt.

    Args:
        predictor: the model.
        settings: the columns to omit and to hash.
        role: of its answers; None: the model's.
    """

    def __init__(self, predictor: Predictor, settings: PredictionLogSettings, role: Role | None = None) -> None:
        version, schema = predictor.version, predictor.schema
        omitted, self._hashed = settings.omitted_columns, settings.hashed_columns
        self._hash_key = settings.log_key
        self.schema, self.classes = schema, predictor.classes
        self.unknown = settings.unknown_columns({*schema.names, *schema.ids})
        columns = () if self.unknown else schema.columns
        logged = [(place, column) for place, column in enumerate(columns) if column.name not in omitted]
        self._places = [(place, column.name in self._hashed) for place, column in logged]
        self._ids = () if self.unknown or omitted.intersection(schema.ids) else schema.ids
        types = tuple(
            LoggedColumn(name=column.name, type=ColumnType.STRING if column.name in self._hashed else column.type)
            for _, column in logged
        )
        self._source = SegmentSource(
            version.name, version.version, role or predictor.role, types, predictor.classes, 1.0
        )
        if self.unknown:
            logger.error(
                "no values and no ids of yours are logged: PREDICTION_LOG_OMIT or PREDICTION_LOG_HASH lists columns "
                "that version %s does not have: %s; correct the name, or write a question mark after it if the column "
                "may be absent",
                version.version,
                ", ".join(map(ascii, self.unknown)),
            )

    def source(self, rate: float) -> SegmentSource:
        """The source of this model's rows that were sampled at a rate."""
        return self._source._replace(rate=rate)

    def values(self, table: FeatureTable, place: int) -> list[Any]:
        """A row's logged values; a missing one is None."""
        row = table.row(place)
        return [self._hash(row[column]) if hashed else row[column] for column, hashed in self._places]

    def keys(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> list[str | None]:
        """The keys of some rows of a batch with these other columns; None where an id is missing."""
        if not self._ids or not all(name in columns for name in self._ids):
            return [None] * len(rows)
        ids = [columns[name] for name in self._ids]
        return [self._key([text_of(values[row]) for values in ids]) for row in rows]

    def _key(self, texts: Sequence[str | None]) -> str | None:
        given = [text for text in texts if text is not None]
        if len(given) < len(texts):
            return None
        key = key_of(given)
        return self._hash(key) if self._hashed.intersection(self._ids) else key

    def _hash(self, value: Any) -> str | None:
        text = text_of(value)
        return None if text is None else keyed_hash(self._hash_key, text)


class LoggedRows(NamedTuple):
    """Sampled rows of one model with their answers, which are encoded when they are written."""

    layout: RowLayout
    source: SegmentSource
    ids: list[str]
    times: list[float]  # seconds since 1970-01-01 UTC
    table: FeatureTable
    found: Predictions | list[Answer]
    keys: list[str | None]

    def lines(self) -> Iterator[bytes]:
        """The lines of a segment."""
        layout, encode, found = self.layout, msgspec.json.encode, self.found
        answers = answers_of(found, layout.classes) if isinstance(found, Predictions) else found
        for place, (row_id, seconds, answer, key) in enumerate(
            zip(self.ids, self.times, answers, self.keys, strict=True)
        ):
            row = LoggedRow(
                id=row_id,
                key=key,
                time=int(seconds * 1e6),
                values=layout.values(self.table, place),
                prediction=str(answer.prediction) if layout.classes else answer.prediction,
                probabilities=list(answer.probabilities.values()) if answer.probabilities else None,
            )
            yield encode(row) + b"\n"
