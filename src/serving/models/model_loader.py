"""Chooses the engine of a model, and loads, verifies, tests and measures it."""

import contextlib
import importlib.util
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from src.core.errors import InvalidInputError, InvalidModelError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable, Row, Value
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import ONNX_FLAVOUR, ModelDescription, describe
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    LOCAL_MANIFEST_FILE,
    MANIFEST_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    DriftReference,
    verify_manifest,
)
from src.serving.models.engine import ServedEngine, ServedOnnxEngine
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import UNKNOWN_COST, Cost, Predictor, Source
from src.serving.models.pyfunc_engine import PyfuncEngine
from src.serving.tables.columns import convert
from src.serving.tables.records import RecordDecoder

# In the order of preference.
ENGINES: tuple[type[ServedEngine], ...] = (ServedOnnxEngine, PyfuncEngine)
MAX_EXAMPLES = 20
# The example's values, other than 0.0, of a model without one.
MADE_UP: dict[ColumnType, Value] = {ColumnType.INTEGER: 0, ColumnType.BOOLEAN: False, ColumnType.STRING: ""}

logger = logging.getLogger(__name__)


class EngineChoice(NamedTuple):
    """The engine that a version is served on, why, the files that it reads (None for all), and what MLmodel says."""

    engine: type[ServedEngine]
    reason: str
    files: Sequence[str] | None
    description: ModelDescription


def choose_engine(directory: Path, version: ModelVersion) -> EngineChoice:
    """Choose the engine for a version, whose ``MLmodel`` is in the directory.

    Raises InvalidModelError, with what to do, if none fits, and OSError if the file cannot be read.
    """
    found = describe(directory)
    if version.verified and found.classes is None:
        raise InvalidModelError(f"the metadata in {MLMODEL_FILE} lacks {METADATA_CLASSES}")
    engine = next((engine for engine in ENGINES if engine.flavour in found.flavours), None)
    if engine is None:
        flavours = " and ".join(engine.flavour for engine in ENGINES)
        raise InvalidModelError(f"the model has neither of MLflow's flavours {flavours}; log it with one of them")
    reason = "the model has an ONNX flavour" if engine.flavour == ONNX_FLAVOUR else "the model has no ONNX flavour"
    if any(importlib.util.find_spec(name) is None for name in engine.modules):
        raise InvalidModelError(
            f"{reason}, and this environment lacks the dependency group {engine.name} that could load it: set "
            f"INFERENCE_EXTRA_GROUPS={engine.name} in .env and run docker compose up -d --build inference (without "
            f"Docker: .uv/bin/uv sync --locked --group {engine.name})"
        )
    if engine.flavour != ONNX_FLAVOUR and version.onnx_parity:
        reason += f": {version.onnx_parity}"
    return EngineChoice(engine, reason, engine.files if version.verified else None, found)


def load_predictor(directory: Path, version: ModelVersion, source: Source) -> Predictor:
    """Verify, load, test and warm up a model, whose directory must exist as long as the predictor does.

    Blocking: call it in a thread. Raises InvalidModelError, which says what part of the model's contract is broken, and
    OSError if the files cannot be read.
    """
    manifest = MANIFEST_FILE if version.verified else LOCAL_MANIFEST_FILE
    listed = verify_manifest(directory, version.manifest_sha256, (MLMODEL_FILE,), manifest)
    choice = choose_engine(directory, version)
    for name in sorted(choice.files or listed):
        if not (directory / name).is_file():
            raise InvalidModelError(f"{name} is missing")
    schema = choice.description.schema
    with choice.engine.loading(directory):
        engine = choice.engine(directory, choice.description, verified=version.verified)
        if version.verified:
            rows, reference = _golden(directory, engine, schema)
        else:
            rows, reference = _examples(directory, choice.description), None
        cost, gives_probabilities = UNKNOWN_COST, engine.gives_probabilities
        if rows:
            cost = Cost.measured(engine, schema, rows)
            gives_probabilities = engine.predict(FeatureTable.from_rows(schema, rows[:1])).probabilities is not None
    made_up = [column.values[0] if column.values else MADE_UP.get(column.type, 0.0) for column in schema.columns]
    return Predictor(
        version=version,
        schema=schema,
        engine=engine,
        engine_reason=choice.reason,
        decoder=RecordDecoder(schema),
        example=dict(zip(schema.names, rows[0] if rows else made_up, strict=True)),
        reference=reference,
        source=source,
        loaded_at=datetime.now(UTC),
        cost=cost,
        gives_probabilities=gives_probabilities,
    )


def _golden(directory: Path, engine: ServedEngine, schema: FeatureSchema) -> tuple[list[Row], DriftReference | None]:
    """The golden rows, which the engine answers as in training, and the reference of the training rows."""
    try:
        golden = GoldenRows.model_validate_json((directory / GOLDEN_FILE).read_bytes())
        reference = DriftReference.model_validate_json((directory / DRIFT_FILE).read_bytes())
    except ValidationError as error:
        raise InvalidModelError(f"{GOLDEN_FILE} or {DRIFT_FILE} does not have the expected content") from error
    golden.verify(engine, schema)
    return [tuple(row) for row in golden.rows], reference


def _examples(directory: Path, description: ModelDescription) -> list[Row]:
    """The first rows of the model's input example; none if it has no example that fits its signature."""
    name, columns = description.example_file, description.schema.columns
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, InvalidInputError):
        if name is not None and Path(name).name == name:
            # MLflow writes a missing value as null or NaN.
            content: Any = json.loads((directory / name).read_bytes(), parse_constant={"NaN": None}.__getitem__)
            rows = [dict(zip(content["columns"], values, strict=True)) for values in content["data"][:MAX_EXAMPLES]]
            if rows:
                return [tuple(convert(column, row.get(column.name)) for column in columns) for row in rows]
    logger.warning(
        "the model has no input example, so it cannot be tested before its first request; "
        "log it with input_example=frame.head()"
    )
    return []
