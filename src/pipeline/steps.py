"""The ZenML steps: each wraps plain functions and says when it starts and ends."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import mlflow
import pandas as pd
from mlflow.tracking import MlflowClient
from zenml import get_step_context, log_metadata, step
from zenml.metadata.metadata_types import Uri

from src.core.dataset_config import DatasetConfig
from src.core.errors import RegistryError
from src.core.model_registry import CHALLENGER, TAG_MANIFEST_SHA256, TAG_PARITY, TAG_ZENML_RUN_ID
from src.core.pipeline_config import GateConfig, PipelineConfig, SplitConfig
from src.pipeline import data_preprocess, promote_model, train_model
from src.pipeline.compare_models import compare
from src.pipeline.gate import Candidate, Comparison, Verdict
from src.pipeline.mlflow_run import cause_tags, log_cause, log_data, log_evaluation, run_link
from src.pipeline.package_model import build_package, log_package
from src.pipeline.registry import ModelRegistry

STEP_SECONDS = "step_seconds"

logger = logging.getLogger(__name__)


@step
def preprocess(
    dataset: DatasetConfig, dataset_file: str
) -> tuple[Annotated[pd.DataFrame, "dataset"], Annotated[str, "data_sha256"]]:
    """Load, validate and save the data set; return it with its file's SHA-256."""
    with _told("preprocess"):
        frame = data_preprocess.preprocess(dataset)
        digest = data_preprocess.save(frame, Path(dataset_file))
        logger.info("preprocess: %d rows, sha256 %s", len(frame), digest[:12])
        return frame, digest


@step
def split(
    frame: pd.DataFrame, dataset: DatasetConfig, config: SplitConfig
) -> tuple[Annotated[pd.DataFrame, "train"], Annotated[pd.DataFrame, "holdout"]]:
    """Part the data set into training rows and the holdout."""
    with _told("split"):
        train_rows, holdout = train_model.split(frame, dataset, config)
        # Spelt out: ZenML counts a step's outputs by reading this line.
        return train_rows, holdout


@step(experiment_tracker=True)
def train(  # noqa: PLR0913, PLR0917 - a step's inputs are what ZenML shows in its graph
    train_rows: pd.DataFrame,
    holdout: pd.DataFrame,
    data_sha256: str,
    config: PipelineConfig,
    model_name: str,
    mlflow_url: str,
    request_ids: list[str],
) -> Annotated[Candidate, "candidate"]:
    """Fit the model and register it; it leaves this step only as a registered version, never pickled."""
    with _told("train"):
        run, client = _active_run(), MlflowClient()
        # First, so that a run that fails leads there too.
        log_metadata({"mlflow_run": Uri(run_link(mlflow_url, run.info.experiment_id, run.info.run_id))})
        log_cause(config, data_sha256, request_ids, _zenml_tags())
        log_data(train_rows, holdout, config, data_sha256)
        started = time.monotonic()
        model = train_model.fit(train_rows, config.model, config.dataset)
        package = build_package(model, train_rows, holdout, config.dataset)
        fitted = time.monotonic()
        mlflow.set_tag(TAG_PARITY, package.parity)
        version, manifest_sha256 = log_package(package, model_name)
        registry = ModelRegistry(client, model_name)
        tags = {
            TAG_MANIFEST_SHA256: manifest_sha256,
            TAG_PARITY: package.parity,
            **cause_tags(data_sha256, request_ids),
            **_zenml_tags(),
        }
        registry.tag(version, tags)
        registry.set_alias(CHALLENGER, version)
        seconds = {"fit": round(fitted - started, 2), "register": round(time.monotonic() - fitted, 2)}
        log_metadata({"mlflow_run_id": run.info.run_id, "model_version": version, "seconds": seconds})
        logger.info("train: registered %s version %s", model_name, version)
        return Candidate(
            model_version=version,
            mlflow_run_id=run.info.run_id,
            manifest_sha256=manifest_sha256,
            data_sha256=data_sha256,
        )


@step(experiment_tracker=True)
def evaluate_on_holdout(
    candidate: Candidate, holdout: pd.DataFrame, target: str, model_name: str
) -> Annotated[Comparison, "comparison"]:
    """Score challenger and champion on the same holdout and record it in MLflow."""
    with _told("evaluate"):
        registry = ModelRegistry(MlflowClient(), model_name)
        evaluation, comparison = compare(registry, candidate.model_version, holdout, target)
        log_evaluation(evaluation, comparison.champion)
        return comparison


@step(experiment_tracker=True)
def promote(
    candidate: Candidate, comparison: Comparison, gate: GateConfig, model_name: str, alias_lock: str
) -> Annotated[Verdict, "verdict"]:
    """Let the challenger serve, or not; the verdict is in the registry when this returns."""
    with _told("promote"):
        registry = ModelRegistry(MlflowClient(), model_name)
        verdict = promote_model.promote(registry, gate, candidate, comparison, Path(alias_lock))
        mlflow.set_tags(promote_model.verdict_tags(verdict))
        _note({"mlflow_run_id": candidate.mlflow_run_id, "model_version": candidate.model_version})
        return verdict


def _active_run() -> mlflow.ActiveRun:
    run = mlflow.active_run()
    if run is None:
        raise RegistryError("ZenML's experiment tracker started no MLflow run; is the stack's tracker registered?")
    return run


def _zenml_tags() -> dict[str, str]:
    run = get_step_context().pipeline_run
    return {TAG_ZENML_RUN_ID: str(run.id), "zenml.run_name": run.name}


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Log a step's start and end, and tell ZenML how long it took: with MySQL, its own times are whole seconds."""
    logger.info("%s …", name)
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    _note({STEP_SECONDS: round(seconds, 3)})
    logger.info("%s done in %.1f s", name, seconds)


def _note(metadata: dict[str, Any]) -> None:
    """Tell ZenML what only people read: what a step has done, its model champion by now, is not undone for it."""
    try:
        log_metadata(metadata)
    except Exception as error:  # ZenML raises built-in ones of every kind; the step has its result
        logger.warning("ZenML was not told %s: %s", ", ".join(metadata), error, exc_info=True)
