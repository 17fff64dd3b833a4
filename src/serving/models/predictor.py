"""A loaded model: its input schema and its engine, tested when it was loaded."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from string import punctuation
from typing import Literal
from urllib.parse import quote

from src.core.column_rules import shown
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value
from src.core.model_registry import DriftReference
from src.core.predictions import Label, Predictions
from src.serving.models.engine import ServedEngine
from src.serving.models.model_version import ModelVersion
from src.serving.tables.answers import Answer, ModelName, answers_of
from src.serving.tables.records import RecordDecoder

Source = Literal["registry", "cache"]
Task = Literal["classification", "regression"]

# Not encoded in headers, in addition to ASCII letters and digits.
PLAIN = " " + punctuation.replace("%", "")


@dataclass(frozen=True)
class Cost:
    """The measured duration of predictions, in seconds."""

    call: float
    per_row: float

    def of(self, rows: int) -> float:
        """The approximate duration of a call with so many rows."""
        return self.call + rows * self.per_row

    def rows_within(self, seconds: float) -> int:
        """The number of rows, at least one, that a call can predict in so many seconds."""
        return max(1, int((seconds - self.call) / self.per_row))


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that can predict. Immutable, so tasks and threads can share it.

    Attributes:
        engine_reason: why this engine is used, in one sentence.
        example: a row by column that the model predicted when it was loaded, or a generated one if it has none.
        reference: the reference of its training rows, if known.
        source: where its files were read from.
        cost: of its predictions.
        gives_probabilities: whether it returned probabilities when it was loaded.
    """

    version: ModelVersion
    schema: FeatureSchema
    engine: ServedEngine
    engine_reason: str
    decoder: RecordDecoder
    example: dict[str, Value]
    reference: DriftReference | None
    source: Source
    loaded_at: datetime
    cost: Cost
    gives_probabilities: bool = True

    @cached_property
    def shown_example(self) -> dict[str, Value]:
        """The example with dates as ISO 8601 texts."""
        return {column.name: shown(column, self.example[column.name]) for column in self.schema.columns}

    @cached_property
    def model_name(self) -> ModelName:
        """The model's name and version in answers."""
        return ModelName(self.version.name, self.version.version)

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers of this model's answers; a character that a header cannot have is percent-encoded."""
        return {"x-model-name": quote(self.version.name, safe=PLAIN), "x-model-version": self.version.version}

    @cached_property
    def head_lines(self) -> bytes:
        """The same headers, with a JSON content type, in wire format."""
        headers = self.headers | {"content-type": "application/json"}
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes as predictions show them, of one type; empty for a regression."""
        return self.engine.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the probabilities."""
        return self.engine.classes

    @property
    def task(self) -> Task:
        """The kind of its predictions: classes or numbers."""
        return "classification" if self.classes else "regression"

    def predict(self, table: FeatureTable) -> Predictions:
        """Predict a table of at least one row."""
        return self.engine.predict(table)

    def answer(self, rows: list[Row]) -> list[Answer]:
        """Predict at least one row, with values in the schema's order."""
        return answers_of(self.predict(FeatureTable.from_rows(self.schema, rows)), self.classes)
