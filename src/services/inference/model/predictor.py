"""A loaded model: its input schema and its engine, proven when it was loaded, ready to answer."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from src.core.column_rules import shown
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value
from src.core.model_registry import DriftReference
from src.core.predictions import Engine, Predictions
from src.services.inference.formats.records import RecordDecoder
from src.services.inference.formats.schemas import Answer, ModelName, answers_of
from src.services.inference.model.model_version import ModelVersion

Source = Literal["registry", "cache"]
Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Cost:
    """What answers cost, in seconds, as measured when the model was loaded."""

    call: float
    per_row: float

    def of(self, rows: int) -> float:
        """The seconds that a call with so many rows takes, about."""
        return self.call + rows * self.per_row

    def rows_within(self, seconds: float) -> int:
        """How many rows a call may have to take no longer, at least one."""
        return max(1, int((seconds - self.call) / self.per_row))


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that can answer. Safe to share between tasks and threads: it never changes.

    Attributes:
        engine_reason: why it is this engine that answers, in one sentence.
        example: a row by column that the model was seen to answer, or a made-up one where it brought none.
        reference: what its training rows looked like, where that is known.
        source: where its files came from.
        cost: of its answers.
        gives_probabilities: whether its answers were seen to have them.
    """

    version: ModelVersion
    schema: FeatureSchema
    engine: Engine
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
        """The example as people write it: dates as ISO 8601 texts."""
        return {column.name: shown(column, self.example[column.name]) for column in self.schema.columns}

    @cached_property
    def model_name(self) -> ModelName:
        """How answers name it."""
        return ModelName(self.version.name, self.version.version)

    @cached_property
    def headers(self) -> dict[str, str]:
        """What every answer of this model carries."""
        return {"x-model-name": self.version.name, "x-model-version": self.version.version}

    @cached_property
    def head_lines(self) -> bytes:
        """The same, and that the body is JSON, as it goes over the network."""
        headers = self.headers | {"content-type": "application/json"}
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""
        return self.engine.classes

    @property
    def task(self) -> Task:
        """What it answers with: a class's name or a number."""
        return "classification" if self.classes else "regression"

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row of a table of at least one."""
        return self.engine.predict(table)

    def answer(self, rows: list[Row]) -> list[Answer]:
        """Answer rows in the schema's order, at least one."""
        return answers_of(self.predict(FeatureTable.from_rows(self.schema, rows)), self.classes)
