"""Builds the package of a fitted model and registers it, with an ONNX flavour where its predictions are equal."""

import contextlib
import importlib.metadata
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import onnx
import pandas as pd
import skops.io
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.golden_rows import GoldenRows
from src.core.mlmodel import columns_metadata
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    METADATA_CLASSES,
    METADATA_CODE,
    METADATA_COLUMNS,
    METADATA_THRESHOLD,
    MLMODEL_FILE,
    ONNX_FILE,
    PARITY_PASSED,
    SKOPS_TRUSTED_TYPES,
    SPLIT_FILE,
    DriftReference,
    write_manifest,
)
from src.core.own_code import own_code_sha256
from src.core.predictions import Threshold
from src.training.drift_reference import drift_reference, with_predictions
from src.training.export_onnx import prove_onnx
from src.training.fitted_parts import threshold_of
from src.training.frames import table_of
from src.training.probe_rows import probe_rows
from src.training.reference_rows import golden_rows
from src.training.sklearn_engine import SklearnEngine, own_types
from src.training.splitting import SplitRule

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skops")
# The most training rows, and holdout rows, that the conversion is tested with, besides the synthetic rows.
MAX_PARITY_ROWS = 5000
# MLflow's UI shows tags in full.
MAX_REASON = 500
# A registered model may have these in its name, a logged model may not.
LOGGED_NAME_FORBIDS = r"[.%']"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelPackage:
    """A fitted model with everything that is registered with it.

    ``graph`` is None where ONNX predicts differently from the model, with the reason in ``parity``; ``example`` is
    (n, features); ``classes`` are empty for a regression.
    """

    model: Pipeline
    graph: bytes | None
    parity: str
    schema: FeatureSchema
    classes: tuple[str, ...]
    threshold: Threshold | None
    own_types: list[str]
    golden: GoldenRows
    drift: DriftReference
    rule: SplitRule
    example: pd.DataFrame


def build_package(
    model: Pipeline, train: pd.DataFrame, holdout: pd.DataFrame, dataset: DatasetConfig, rule: SplitRule
) -> ModelPackage:
    """Convert the model, verify the conversion on known and on thousands of synthetic rows, and derive the rest.

    Args:
        model: fitted on ``train``.
        train: the data set's columns; the drift reference describes these rows and the predictions for ``holdout``.
        holdout: rows of the same columns that the model was not trained on.
        dataset: the valid values of the columns, learned values included.
        rule: by which ``holdout`` was split off.

    Raises:
        UntrustedModelError: the model could not be loaded safely.
        ConfigError: it is a classifier without probabilities.
    """
    own = own_types(skops.io.dumps(model))
    if dataset.task == "classification" and not hasattr(model, "predict_proba"):
        raise ConfigError(f"{type(model[-1]).__name__} has no predict_proba; use a classifier that has it")
    schema, classes = dataset.feature_schema, _classes_of(model)
    known, unseen = train[list(dataset.features)], holdout[list(dataset.features)]
    synthetic = probe_rows(known, dataset, model)
    golden = golden_rows(model, schema, train, dataset.target, synthetic)
    graph, parity = None, PARITY_PASSED
    try:
        rows = pd.concat([_some(unseen), _some(known), synthetic], ignore_index=True)
        graph = prove_onnx(model, schema, classes, rows)
    except ModelParityError as error:
        parity = str(error)[:MAX_REASON]
        logger.warning("the model is served through pyfunc, which takes milliseconds a request: %s", parity)
    drift, threshold = drift_reference(train, dataset), threshold_of(model)
    if classes and len(unseen):
        predictions = SklearnEngine(model, classes, threshold).predict(table_of(_some(unseen), schema))
        drift = with_predictions(drift, [str(label) for label in predictions.values])
    return ModelPackage(
        model=model,
        graph=graph,
        parity=parity,
        schema=schema,
        classes=classes,
        threshold=threshold,
        own_types=own,
        golden=golden,
        drift=drift,
        rule=rule,
        example=known.head(2),
    )


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """A random sample of at most ``MAX_PARITY_ROWS`` rows."""
    return rows if len(rows) <= MAX_PARITY_ROWS else rows.sample(MAX_PARITY_ROWS, random_state=0)


def _classes_of(model: Pipeline) -> tuple[str, ...]:
    return tuple(str(name) for name in model.classes_) if is_classifier(model) else ()


class Flavours:
    """The flavour module for ``Model.log``: writes sklearn, python_function and, if equal, onnx to one directory."""

    def __init__(self, package: ModelPackage) -> None:
        self._package = package
        self.manifest_sha256 = ""

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """Write the model's directory; the manifest is written last and covers all files."""
        package, directory = self._package, Path(path)
        mlflow.sklearn.save_model(
            package.model,
            path,
            mlflow_model=mlflow_model,
            serialization_format="skops",
            skops_trusted_types=[*SKOPS_TRUSTED_TYPES, *package.own_types],
            signature=signature_of(package),
            input_example=package.example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
            metadata=_metadata(package),
        )
        if package.graph is not None:
            (directory / ONNX_FILE).write_bytes(package.graph)
            mlflow_model.add_flavor(
                "onnx", onnx_version=onnx.__version__, data=ONNX_FILE, providers=["CPUExecutionProvider"]
            )
        mlflow_model.save(str(directory / MLMODEL_FILE))
        (directory / GOLDEN_FILE).write_text(package.golden.model_dump_json() + "\n", encoding="utf-8")
        (directory / DRIFT_FILE).write_text(package.drift.model_dump_json() + "\n", encoding="utf-8")
        (directory / SPLIT_FILE).write_text(package.rule.model_dump_json() + "\n", encoding="utf-8")
        self.manifest_sha256 = write_manifest(directory)


def _metadata(package: ModelPackage) -> dict[str, Any]:
    """What serving needs in addition to MLflow's own description."""
    found: dict[str, Any] = {
        METADATA_CLASSES: list(package.classes),
        METADATA_COLUMNS: columns_metadata(package.schema),
    }
    if package.own_types:
        found[METADATA_CODE] = own_code_sha256()
    if package.threshold is not None:
        positive = package.classes[package.threshold.positive]
        found[METADATA_THRESHOLD] = {"class": positive, "probability": package.threshold.least}
    return found


def signature_of(package: ModelPackage) -> ModelSignature:
    """The columns as inputs; the class name, or a number, as output."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType[column.mlflow_type], column.name, required=column.required)
        for column in package.schema.columns
    ]
    output = DataType.string if package.classes else DataType.double
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(output)]))


def log_package(package: ModelPackage, model_name: str, tags: dict[str, str] | None = None) -> tuple[str, str]:
    """Upload the package to the active MLflow run and register it as a new version, created with these tags.

    Returns:
        The version's number and its manifest's SHA-256; no alias points to it yet.
    """
    flavours = Flavours(package)
    # MLflow prints to stderr, without a logger, what is logged here.
    with contextlib.redirect_stderr(io.StringIO()):
        info = Model.log(
            artifact_path=None,
            name=re.sub(LOGGED_NAME_FORBIDS, "_", model_name),
            flavor=flavours,
            flavor_name="sklearn",
            registered_model_name=model_name,
            tags=tags,
            # Otherwise MLflow rewrites MLmodel after the manifest is written.
            validate_serving_input=False,
        )
    return str(info.registered_model_version), flavours.manifest_sha256
