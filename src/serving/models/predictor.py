"""A loaded model: its input schema, its engine and what its predictions cost, tested when it was loaded."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from string import punctuation
from typing import Literal, Self
from urllib.parse import quote

from src.core.column_rules import shown
from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value
from src.core.model_registry import DriftReference
from src.core.prediction_log import Role
from src.core.predictions import Engine
from src.serving.models.engine import ServedEngine
from src.serving.models.model_version import ModelVersion
from src.serving.tables.answers import Answer, ModelName, answers_of
from src.serving.tables.records import RecordDecoder

Source = Literal["registry", "cache"]
Task = Literal["classification", "regression"]

# Not encoded in headers, in addition to ASCII letters and digits.
PLAIN = " " + punctuation.replace("%", "")

# The longest that a call may block the event loop; a health check waits for a few of these at most.
INLINE_SECONDS = 0.002
# Rounds of measuring, and the most seconds for those of single rows and for those of tables: a slow model gets fewer.
ROUNDS = 20
MEASURING_SECONDS = 0.2
# With so many rows, the cost per row can be separated from the cost per call.
TABLE_ROWS = 256
# The least marginal cost of a row, as a share of its cost in a table: on a busy machine a single row may seem as slow.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Cost:
    """The duration of a model's predictions in seconds, by which the service decides which run on the event loop."""

    call: float
    per_row: float

    def of(self, rows: int) -> float:
        """The approximate duration of a call with so many rows."""
        return self.call + rows * self.per_row

    @cached_property
    def is_quick(self) -> bool:
        """Whether a call with one row may run on the event loop."""
        return self.of(1) <= INLINE_SECONDS

    @cached_property
    def inline_rows(self) -> int:
        """The number of rows, at least one, that a call on the event loop may predict."""
        return max(1, int((INLINE_SECONDS - self.call) / self.per_row))

    @classmethod
    def measured(
        cls, engine: Engine, schema: FeatureSchema, rows: Sequence[Row], clock: Callable[[], float] = time.perf_counter
    ) -> Self:
        """Measure an engine on at least one row, which also warms it up for the first request.

        Raises InvalidModelError if it fails on the rows, one by one or together.
        """
        many = (list(rows) * TABLE_ROWS)[: max(TABLE_ROWS, len(rows))]
        try:
            alone = _fastest(engine, [FeatureTable.from_rows(schema, [row]) for row in rows], clock)
            together = _fastest(engine, [FeatureTable.from_rows(schema, many)], clock)
        except ModelFailedError as error:
            raise InvalidModelError(f"the model fails on its own example: {error}") from error
        except Exception as error:  # a graph or class list of another shape fails in many ways
            raise InvalidModelError("the model fails on a single row") from error
        per_row = max((together - alone) / (len(many) - 1), LEAST_SHARE * together / len(many))
        return cls(max(alone - per_row, 0.0), per_row)


# Assumed for a model without rows to measure it with.
UNKNOWN_COST = Cost(0.05, 0.0001)


def _fastest(engine: Engine, tables: Sequence[FeatureTable], clock: Callable[[], float]) -> float:
    """The shortest time, in seconds, of several calls with these tables in turn."""
    began, fastest = clock(), float("inf")
    for turn in range(ROUNDS):
        started = clock()
        answers_of(engine.predict(tables[turn % len(tables)]), engine.classes)
        ended = clock()
        fastest = min(fastest, ended - started)
        if turn and ended - began > MEASURING_SECONDS:  # at least two, as the first call may include the warm-up
            break
    return fastest


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that can predict. Immutable, so tasks and threads can share it."""

    version: ModelVersion
    schema: FeatureSchema
    engine: ServedEngine
    engine_reason: str  # why this engine is used, in one sentence
    decoder: RecordDecoder
    example: dict[str, Value]  # a row that the model predicted when it was loaded; made up if it has no example
    reference: DriftReference | None  # of its training rows, if known
    source: Source  # where its files were read from
    loaded_at: datetime
    cost: Cost
    gives_probabilities: bool = True  # whether it returned probabilities when it was loaded
    role: Role = Role.CHAMPION

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
        named = {"x-model-name": quote(self.version.name, safe=PLAIN), "x-model-version": self.version.version}
        return named | ({"x-model-role": self.role.value} if self.role is Role.CANARY else {})

    @cached_property
    def head_lines(self) -> bytes:
        """The same headers, with a JSON content type, in wire format."""
        headers = self.headers | {"content-type": "application/json"}
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""
        return self.engine.classes

    @property
    def task(self) -> Task:
        """The kind of its predictions: classes or numbers."""
        return "classification" if self.classes else "regression"

    def answer(self, rows: list[Row]) -> list[Answer]:
        """Predict at least one row, with values in the schema's order."""
        return answers_of(self.engine.predict(FeatureTable.from_rows(self.schema, rows)), self.classes)
