"""Puts together all that a registered model consists of and registers it, with an ONNX flavour where that is exact."""

import contextlib
import importlib.metadata
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import onnx
import pandas as pd
import skops.io
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.pipeline import Pipeline

from src.core.errors import ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.golden_rows import GoldenRows
from src.core.model_registry import (
    DRIFT_FILE,
    GOLDEN_FILE,
    METADATA_CLASSES,
    MLMODEL_FILE,
    ONNX_FILE,
    PARITY_PASSED,
    SKOPS_TRUSTED_TYPES,
    DriftReference,
    write_manifest,
)
from src.core.pipeline_config import DatasetConfig
from src.pipeline.export_onnx import prove_onnx
from src.pipeline.frames import table_of
from src.pipeline.probe_rows import probe_rows
from src.pipeline.sklearn_engine import SklearnEngine, require_trusted_types

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skops")
BINS = 5
GOLDEN_PER_CLASS = 5
GOLDEN_CLOSE_CALLS = 8
# MLflow shows a tag whole.
MAX_REASON = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelPackage:
    """A fitted model with all that is registered beside it.

    ``graph`` is None where ONNX does not answer as the model does, with ``parity`` saying why; ``example`` is
    (n, features).
    """

    model: Pipeline
    graph: bytes | None
    parity: str
    classes: tuple[str, ...]
    golden: GoldenRows
    drift: DriftReference
    example: pd.DataFrame


def build_package(model: Pipeline, train: pd.DataFrame, holdout: pd.DataFrame, dataset: DatasetConfig) -> ModelPackage:
    """Convert the model, prove the conversion on all rows and on thousands of made-up ones, and derive the rest.

    Args:
        model: fitted on ``train``.
        train: feature columns and the target; the drift reference describes these rows.
        holdout: rows of the same columns that the model has not seen.
        dataset: names the target and the columns' ranges.

    Raises:
        UntrustedModelError: nobody could load the model safely.
    """
    require_trusted_types(skops.io.dumps(model))
    classes = tuple(str(name) for name in model.classes_)
    known = train.drop(columns=dataset.target)
    unseen = holdout.drop(columns=dataset.target)
    made_up = probe_rows(known, dataset.features, model)
    schema = FeatureSchema.of_numbers(*known.columns)
    graph, parity = None, PARITY_PASSED
    try:
        graph = prove_onnx(model, schema, classes, pd.concat([unseen, known, made_up], ignore_index=True))
    except ModelParityError as error:
        parity = str(error)[:MAX_REASON]
        logger.warning("the model is registered without ONNX, and answers in milliseconds: %s", parity)
    return ModelPackage(
        model=model,
        graph=graph,
        parity=parity,
        classes=classes,
        golden=golden_rows(model, schema, known, train[dataset.target], made_up),
        drift=drift_reference(train, dataset.target),
        example=known.head(2),
    )


def golden_rows(
    model: Pipeline, schema: FeatureSchema, known: pd.DataFrame, target: pd.Series, made_up: pd.DataFrame
) -> GoldenRows:
    """Some rows of each class and the made-up rows that were the closest calls, with the model's own answers."""
    engine = SklearnEngine(model, tuple(str(name) for name in model.classes_))
    typical = known.groupby(target.to_numpy(), sort=True).head(GOLDEN_PER_CLASS)
    # MLflow's own loaders break exact ties in another way, and may serve this model.
    made_up = made_up[model.predict(made_up) == engine.predict(table_of(made_up, schema)).values]
    ranked = np.sort(np.asarray(engine.predict(table_of(made_up, schema)).probabilities), axis=1)
    closest = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")[:GOLDEN_CLOSE_CALLS]
    rows = pd.concat([typical, made_up.iloc[closest]], ignore_index=True)
    found = engine.predict(table_of(rows, schema))
    return GoldenRows(
        rows=rows.to_numpy().tolist(),
        labels=list(found.values),
        probabilities=np.asarray(found.probabilities).tolist(),
    )


def drift_reference(train: pd.DataFrame, target: str) -> DriftReference:
    """The training rows' distribution: at most ``BINS`` quantile bins per feature (fewer where values repeat)."""
    features = train.drop(columns=target)
    edges, shares = {}, {}
    for name in features.columns:
        values = features[name].to_numpy()
        # Edges that are values of the data, none of them the maximum: no bin is empty.
        inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
        inner = inner[inner < values.max()]
        counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=len(inner) + 1)
        edges[name], shares[name] = inner.tolist(), (counts / len(values)).tolist()
    class_shares = train[target].value_counts(normalize=True).sort_index()
    return DriftReference(
        rows=len(train),
        edges=edges,
        shares=shares,
        minimum=features.min().to_dict(),
        maximum=features.max().to_dict(),
        class_shares={str(name): float(share) for name, share in class_shares.items()},
    )


class Flavours:
    """What ``Model.log`` calls a flavour: writes sklearn, python_function and, where exact, onnx into one directory."""

    def __init__(self, package: ModelPackage) -> None:
        self._package = package
        self.manifest_sha256 = ""

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """Write the model's directory; the manifest comes last and covers all of it."""
        package, directory = self._package, Path(path)
        mlflow.sklearn.save_model(
            package.model,
            path,
            mlflow_model=mlflow_model,
            serialization_format="skops",
            skops_trusted_types=list(SKOPS_TRUSTED_TYPES),
            signature=signature_of(package),
            input_example=package.example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
            metadata={METADATA_CLASSES: list(package.classes)},
        )
        if package.graph is not None:
            (directory / ONNX_FILE).write_bytes(package.graph)
            mlflow_model.add_flavor(
                "onnx", onnx_version=onnx.__version__, data=ONNX_FILE, providers=["CPUExecutionProvider"]
            )
        mlflow_model.save(str(directory / MLMODEL_FILE))
        (directory / GOLDEN_FILE).write_text(package.golden.model_dump_json() + "\n", encoding="utf-8")
        (directory / DRIFT_FILE).write_text(package.drift.model_dump_json() + "\n", encoding="utf-8")
        self.manifest_sha256 = write_manifest(directory)


def signature_of(package: ModelPackage) -> ModelSignature:
    """Named double columns in, the class's name out."""
    inputs = Schema([ColSpec(DataType.double, name) for name in package.example.columns])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string)]))


def log_package(package: ModelPackage, model_name: str) -> tuple[str, str]:
    """Upload the package to the active MLflow run and register it as a new version.

    Returns:
        The version's number and its manifest's SHA-256; no alias points to it yet.
    """
    flavours = Flavours(package)
    # MLflow prints, past its loggers, what we log ourselves.
    with contextlib.redirect_stderr(io.StringIO()):
        info = Model.log(
            artifact_path=None,
            name=model_name,
            flavor=flavours,
            flavor_name="sklearn",
            registered_model_name=model_name,
            # MLflow would rewrite MLmodel after the manifest has been written.
            validate_serving_input=False,
        )
    return str(info.registered_model_version), flavours.manifest_sha256
