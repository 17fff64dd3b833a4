"""Loads a predictor from a model's files: verifies them if possible, and tests the answers of its engine."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from src.core.errors import InvalidModelError
from src.core.feature_table import FeatureTable, Row
from src.core.golden_rows import GoldenRows
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    LOCAL_MANIFEST_FILE,
    MANIFEST_FILE,
    MLMODEL_FILE,
    DriftReference,
    verify_manifest,
)
from src.core.predictions import Engine
from src.serving.models.engine import ServedEngine
from src.serving.models.engines import EngineChoice, choose_engine
from src.serving.models.example_rows import example_rows, made_up_row
from src.serving.models.model_cost import UNKNOWN_COST, measured_cost
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor, Source
from src.serving.tables.records import RecordDecoder

logger = logging.getLogger(__name__)


def load_predictor(directory: Path, version: ModelVersion, source: Source) -> Predictor:
    """Verify, load, test and warm up a model. Blocking: call it in a thread.

    Args:
        directory: contains the files that the engine reads of a verified model, and all files of any other. It must
            exist as long as the predictor does.
        version: the files must match its manifest digest, if it has one.
        source: where the files were read from.

    Raises:
        InvalidModelError: the message says which part of the model's contract is broken.
        OSError: the files cannot be read.
    """
    manifest = MANIFEST_FILE if version.verified else LOCAL_MANIFEST_FILE
    listed = verify_manifest(directory, version.manifest_sha256, (MLMODEL_FILE,), manifest)
    choice = choose_engine(directory, version)
    needed = choice.engine.files if version.verified else None
    for name in sorted(listed if needed is None else needed):
        if not (directory / name).is_file():
            raise InvalidModelError(f"{name} is missing")
    schema = choice.description.schema
    with choice.engine.loading(directory):
        engine = choice.engine.load(directory, choice.description, verified=version.verified)
        golden = _golden(directory, engine, choice) if version.verified else None
        rows, reference = golden or (_examples(directory, choice), None)
        cost = measured_cost(engine, schema, rows) if rows else UNKNOWN_COST
        sure = _gives_probabilities(engine, FeatureTable.from_rows(schema, rows[:1]))
    return Predictor(
        version=version,
        schema=schema,
        engine=engine,
        engine_reason=choice.reason,
        decoder=RecordDecoder(schema),
        example=dict(zip(schema.names, rows[0] if rows else made_up_row(schema), strict=True)),
        reference=reference,
        source=source,
        loaded_at=datetime.now(UTC),
        cost=cost,
        gives_probabilities=sure,
    )


def _gives_probabilities(engine: ServedEngine, row: FeatureTable) -> bool:
    """Whether the model returns probabilities; without a row to test it with, what the engine knows."""
    if len(row):
        return engine.predict(row).probabilities is not None
    return engine.gives_probabilities


def _golden(directory: Path, engine: Engine, choice: EngineChoice) -> tuple[list[Row], DriftReference]:
    """The golden rows, verified to have the answers of training, and the reference of the training rows."""
    try:
        golden = GoldenRows.model_validate_json((directory / GOLDEN_FILE).read_bytes())
        reference = DriftReference.model_validate_json((directory / DRIFT_FILE).read_bytes())
    except ValidationError as error:
        raise InvalidModelError(f"{GOLDEN_FILE} or {DRIFT_FILE} does not have the expected content") from error
    golden.verify(engine, choice.description.schema)
    return [tuple(row) for row in golden.rows], reference


def _examples(directory: Path, choice: EngineChoice) -> list[Row]:
    """The rows of the model's input example, if it has one that fits its signature."""
    rows = example_rows(directory, choice.description)
    if not rows:
        logger.warning(
            "the model has no input example, so it cannot be tested before its first request; "
            "log it with input_example=frame.head()"
        )
    return rows
