"""A loaded model: its input schema and its engine, proven on its golden rows, ready to answer."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from src.core.errors import InvalidModelError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import read_mlmodel
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MLMODEL_FILE,
    ONNX_FILE,
    DriftReference,
    verify_manifest,
)
from src.core.onnx_engine import OnnxEngine
from src.core.predictions import Engine, Predictions
from src.services.inference.model_version import ModelVersion
from src.services.inference.records import RecordDecoder
from src.services.inference.schemas import Answer, answers_of

# The files of a registered model that serving reads; the manifest comes first, as what vouches for the others.
SERVED_FILES = (MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE)
ROUNDS = 20

Source = Literal["registry", "cache"]


@dataclass(frozen=True)
class Cost:
    """What answers cost, in seconds, as measured when the model was loaded."""

    call: float
    per_row: float

    def of(self, rows: int) -> float:
        """The seconds that a call with so many rows takes, about."""
        return self.call + rows * self.per_row


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that can answer. Safe to share between tasks and threads: it never changes.

    Attributes:
        example: one golden row by column.
        reference: what its training rows looked like, where that is known.
        source: where its files came from.
        cost: of its answers.
    """

    version: ModelVersion
    schema: FeatureSchema
    engine: Engine
    decoder: RecordDecoder
    example: dict[str, Value]
    reference: DriftReference | None
    source: Source
    loaded_at: datetime
    cost: Cost

    @cached_property
    def headers(self) -> dict[str, str]:
        """What every answer of this model carries."""
        return {"x-model-name": self.version.name, "x-model-version": self.version.version}

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The same as ASGI has them."""
        return [(name.encode(), value.encode()) for name, value in self.headers.items()]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""
        return self.engine.classes

    def predict(self, table: FeatureTable) -> Predictions:
        """Answer every row of a table of at least one."""
        return self.engine.predict(table)

    def answer(self, rows: list[Row]) -> list[Answer]:
        """Answer rows in the schema's order, at least one."""
        return answers_of(self.predict(FeatureTable.from_rows(self.schema, rows)), self.classes)


def load_predictor(directory: Path, version: ModelVersion, source: Source) -> Predictor:
    """Verify, load, prove and warm a model. Blocking: call it in a thread.

    Args:
        directory: holds ``SERVED_FILES``.
        version: whose manifest digest the files must match.
        source: where the files came from.

    Raises:
        InvalidModelError: saying which part of the model's contract is broken.
        OSError: the files cannot be read.
    """
    verify_manifest(directory, version.manifest_sha256, tuple(name for name in SERVED_FILES if name != MANIFEST_FILE))
    schema, classes = read_mlmodel(directory)
    try:
        golden = GoldenRows.model_validate_json((directory / GOLDEN_FILE).read_bytes())
        reference = DriftReference.model_validate_json((directory / DRIFT_FILE).read_bytes())
    except ValidationError as error:
        raise InvalidModelError(f"{GOLDEN_FILE} or {DRIFT_FILE} does not hold what its name says") from error
    engine = OnnxEngine(directory / ONNX_FILE, schema, classes)
    golden.verify(engine, schema)
    return Predictor(
        version=version,
        schema=schema,
        engine=engine,
        decoder=RecordDecoder(schema),
        example=dict(zip(schema.names, golden.rows[0], strict=True)),
        reference=reference,
        source=source,
        loaded_at=datetime.now(UTC),
        cost=_measured(engine, golden.table(schema)),
    )


def _measured(engine: Engine, table: FeatureTable) -> Cost:
    """What an engine's answers cost; also makes the first request as fast as the others.

    Raises:
        InvalidModelError: single rows do not pass as the whole table did.
    """
    try:
        alone = min(_seconds(engine, table.part(row % len(table), row % len(table) + 1)) for row in range(ROUNDS))
    except Exception as error:  # a graph or class list of another shape fails in many ways, all meaning this
        raise InvalidModelError("the model cannot answer a single row") from error
    together = min(_seconds(engine, table) for _ in range(ROUNDS))
    per_row = max(together - alone, 0.0) / max(len(table) - 1, 1)
    # A table of one row tells nothing about a row's share.
    return Cost(max(alone - per_row, 0.0), per_row or alone)


def _seconds(engine: Engine, table: FeatureTable) -> float:
    started = time.perf_counter()
    answers_of(engine.predict(table), engine.classes)
    return time.perf_counter() - started
