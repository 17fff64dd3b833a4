"""Loads a predictor from a model's files: verifies them if possible, chooses the engine, and tests its answers."""

import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from src.core.errors import InvalidModelError
from src.core.feature_table import FeatureTable, Row
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import ONNX_FLAVOUR, PYFUNC_FLAVOUR, ModelDescription, describe
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    LOCAL_MANIFEST_FILE,
    MANIFEST_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    ONNX_FILE,
    DriftReference,
    verify_manifest,
)
from src.core.onnx_engine import OnnxEngine
from src.core.own_code import require_own_code
from src.core.predictions import Engine, EngineName
from src.serving.models.engine import ServedEngine
from src.serving.models.example_rows import example_rows, made_up_row
from src.serving.models.model_cost import UNKNOWN_COST, measured_cost
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor, Source
from src.serving.models.pyfunc_engine import PyfuncEngine
from src.serving.models.pyfunc_loader import code_of_its_own, require_pyfunc
from src.serving.tables.records import RecordDecoder

# The files of the training pipeline's models that ONNX Runtime serving reads; the manifest covers the others.
SERVED_FILES = (MANIFEST_FILE, MLMODEL_FILE, ONNX_FILE, GOLDEN_FILE, DRIFT_FILE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineChoice:
    """The engine that a model is served on, why, and the model's description."""

    name: EngineName
    reason: str
    description: ModelDescription


def choose_engine(directory: Path, version: ModelVersion) -> EngineChoice:
    """Choose the engine for a model.

    Args:
        directory: contains at least the model's ``MLmodel``.
        version: the model's version.

    Raises:
        InvalidModelError: no engine fits; the message says what to do.
        OSError: the file cannot be read.
    """
    found = describe(directory)
    if version.verified and found.classes is None:
        raise InvalidModelError(f"the metadata in {MLMODEL_FILE} lacks {METADATA_CLASSES}")
    if ONNX_FLAVOUR in found.flavours:
        return EngineChoice("onnx", "the model has an ONNX flavour", found)
    if PYFUNC_FLAVOUR not in found.flavours:
        raise InvalidModelError(
            f"the model has neither of MLflow's flavours {ONNX_FLAVOUR} and {PYFUNC_FLAVOUR}; log it with one of them"
        )
    require_pyfunc()
    why = f": {version.onnx_parity}" if version.onnx_parity else ""
    return EngineChoice("pyfunc", f"the model has no ONNX flavour{why}", found)


def load_predictor(directory: Path, version: ModelVersion, source: Source) -> Predictor:
    """Verify, load, test and warm up a model. Blocking: call it in a thread.

    Args:
        directory: contains ``SERVED_FILES`` of a verified model with an ONNX flavour, and all files of any other. It
            must exist as long as the predictor does.
        version: the files must match its manifest digest, if it has one.
        source: where the files were read from.

    Raises:
        InvalidModelError: the message says which part of the model's contract is broken.
        OSError: the files cannot be read.
    """
    manifest = MANIFEST_FILE if version.verified else LOCAL_MANIFEST_FILE
    listed = verify_manifest(directory, version.manifest_sha256, (MLMODEL_FILE,), manifest)
    choice = choose_engine(directory, version)
    needed = set(SERVED_FILES) if version.verified and choice.name == "onnx" else listed
    for name in sorted(needed):
        if not (directory / name).is_file():
            raise InvalidModelError(f"{name} is missing")
    schema = choice.description.schema
    with code_of_its_own(directory) if choice.name == "pyfunc" else contextlib.nullcontext():
        engine = _engine(directory, choice, verified=version.verified)
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


def _engine(directory: Path, choice: EngineChoice, *, verified: bool) -> ServedEngine:
    if choice.name == "onnx":
        found = choice.description
        return OnnxEngine(directory / ONNX_FILE, found.schema, found.classes, found.threshold)
    if choice.description.code_sha256 is not None:
        require_own_code(choice.description.code_sha256)
    return PyfuncEngine(directory, choice.description, common_rule=verified)


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
