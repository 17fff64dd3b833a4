"""The training pipeline: its ZenML steps, thin wrappers over plain functions, and the order in which they run."""

import logging
import time
from pathlib import Path
from typing import Annotated

import mlflow
import pandas as pd
from mlflow.tracking import MlflowClient
from zenml import log_metadata, pipeline, step
from zenml.enums import ExecutionMode
from zenml.metadata.metadata_types import Uri

from src.core.audit_log import AuditLog
from src.core.dataset_config import DatasetConfig
from src.core.model_registry import CHALLENGER, TAG_FINGERPRINT, TAG_MANIFEST_SHA256, TAG_PARITY
from src.core.own_code import OWN_FOLDER
from src.core.pipeline_config import PipelineConfig
from src.core.retrain_record import Step
from src.core.rollouts import Rollouts
from src.core.settings import SourceSettings, load_settings
from src.pipeline import data_preprocess, train_model
from src.pipeline.metrics import METRICS
from src.training.calibrate import store_calibration
from src.training.compare_models import compare
from src.training.comparison import Comparison
from src.training.data_report import DataReport
from src.training.dataset_file import invalid_rows_file, save
from src.training.fingerprint import fingerprint_of
from src.training.fit_model import Study
from src.training.gate import Candidate, Verdict
from src.training.importance import rank_columns
from src.training.learned_columns import learn_columns
from src.training.live_rows import are_live
from src.training.mlflow_run import (
    cause_tags,
    log_cause,
    log_data,
    log_estimator,
    log_evaluation,
    log_live_rows,
    log_report,
    log_search,
    run_link,
)
from src.training.package_model import build_package, log_package
from src.training.promote_model import Promoter, record_verdict, verdict_tags
from src.training.registry import ModelRegistry
from src.training.scoring import metrics_of
from src.training.seen_rows import inherited_rule
from src.training.served_requests import ServedRequests
from src.training.shared_files import SharedFiles
from src.training.splitting import SplitRule, split_by, split_rows, with_sketch
from src.training.step_context import active_run, note, timed_step, zenml_tags
from src.training.train_once import PIPELINE
from src.training.version_history import rolled_back_twin

logger = logging.getLogger(__name__)


@step
def preprocess(
    dataset: DatasetConfig, dataset_file: str, served: ServedRequests
) -> tuple[Annotated[pd.DataFrame, "dataset"], Annotated[str, "data_sha256"], Annotated[DataReport, "data_report"]]:
    """Load, validate and save the data set; return it with its file's SHA-256 and the report on its rows."""
    with timed_step(Step.PREPROCESS, served):
        # From the environment: a step's inputs are shown in ZenML, and the database's address is a secret.
        rows = data_preprocess.prepare(dataset, load_settings(SourceSettings).dataset_url)
        digest = save(rows, Path(dataset_file), dataset)
        logger.info("preprocess: %s, sha256 %s", rows.report.summary(), digest[:12])
        frame, report = rows.frame, rows.report
        return frame, digest, report


@step
def split(
    frame: pd.DataFrame, config: PipelineConfig, model_name: str, served: ServedRequests
) -> tuple[Annotated[pd.DataFrame, "train"], Annotated[pd.DataFrame, "holdout"], Annotated[SplitRule, "split_rule"]]:
    """Split the data set into training rows and the holdout, by the champion's rule where possible."""
    with timed_step(Step.SPLIT, served):
        parts = split_rows(frame, config, inherited_rule(ModelRegistry(MlflowClient(), model_name)))
        train_rows, holdout, rule = parts.train, parts.holdout, with_sketch(parts.rule, frame)
        note(
            {"split": str(rule), "split_note": parts.note, "rows": {"train": len(train_rows), "holdout": len(holdout)}}
        )
        # Plain names: ZenML parses this line to count the step's outputs.
        return train_rows, holdout, rule


@step(experiment_tracker=True)
def train(  # noqa: PLR0913, PLR0917 - ZenML's graph shows the step's inputs
    train_rows: pd.DataFrame,
    holdout: pd.DataFrame,
    rule: SplitRule,
    data_sha256: str,
    data_report: DataReport,
    dataset_file: str,
    config: PipelineConfig,
    model_name: str,
    mlflow_url: str,
    served: ServedRequests,
) -> Annotated[Candidate, "candidate"]:
    """Fit the model and register it; later steps load the registered version, nothing is pickled."""
    with timed_step(Step.TRAIN, served):
        run, client = active_run(), MlflowClient()
        # First, so that a failed run has the link too.
        log_metadata({"mlflow_run": Uri(run_link(mlflow_url, run.info.experiment_id, run.info.run_id))})
        log_cause(config, data_sha256, served.ids, zenml_tags())
        # Before the fit: a file that cannot be read must fail the run before a version is registered.
        tags = {
            TAG_FINGERPRINT: fingerprint_of(data_sha256, config, OWN_FOLDER),
            **cause_tags(data_sha256, served.ids),
            **zenml_tags(),
        }
        log_data(train_rows, holdout, config.dataset.target, data_report, data_sha256)
        live_rows = log_live_rows(train_rows, holdout)
        log_report(data_report, invalid_rows_file(Path(dataset_file)))
        started = time.monotonic()
        dataset = learn_columns(train_rows, config.dataset)
        metrics, gate = metrics_of(config, METRICS), config.gate
        minimums = {metrics[name]: limit for name, limit in gate.minimums.items()}
        study = Study(config.split.by, metrics[gate.metric], served.report, log_search, minimums)
        model = train_model.fit(train_rows, config.model, dataset, study)
        log_estimator(model)
        package = build_package(model, train_rows, holdout, dataset, rule)
        fitted = time.monotonic()
        mlflow.set_tag(TAG_PARITY, package.parity)
        version, manifest_sha256 = log_package(package, model_name, {**tags, TAG_PARITY: package.parity})
        registry = ModelRegistry(client, model_name)
        registry.tag(version, {TAG_MANIFEST_SHA256: manifest_sha256})
        registry.set_alias(CHALLENGER, version)
        seconds = {"fit": round(fitted - started, 2), "register": round(time.monotonic() - fitted, 2)}
        log_metadata({"mlflow_run_id": run.info.run_id, "model_version": version, "seconds": seconds, **live_rows})
        logger.info("train: registered %s version %s", model_name, version)
        return Candidate(model_version=version, mlflow_run_id=run.info.run_id, fingerprint=tags[TAG_FINGERPRINT])


@step(experiment_tracker=True)
def evaluate_on_holdout(  # noqa: PLR0913, PLR0917 - as above
    candidate: Candidate,
    frame: pd.DataFrame,
    rule: SplitRule,
    config: PipelineConfig,
    model_name: str,
    files: SharedFiles,
    served: ServedRequests,
) -> Annotated[Comparison, "comparison"]:
    """Score the challenger and its rivals on rows that none was trained on; log the scores, store the calibration."""
    with timed_step(Step.EVALUATE, served):
        registry = ModelRegistry(MlflowClient(), model_name)
        evaluation, comparison = compare(registry, candidate.model_version, split_by(rule, frame), config, METRICS)
        repeats = rolled_back_twin(registry, candidate.fingerprint)
        comparison = comparison.model_copy(update={"repeats": repeats})
        log_evaluation(evaluation, comparison, config.gate.metric)
        if config.dataset.feedback.use:
            live_rows_only = comparison.live_days is not None
            weight = config.dataset.feedback.weight
            note({"rows": comparison.rows, "live_rows_only": live_rows_only, "live_row_weight": weight})
        store_calibration(files.calibration, model_name, candidate.model_version, evaluation.calibration)
        return comparison


@step(experiment_tracker=True)
def promote(  # noqa: PLR0913, PLR0917 - as above
    candidate: Candidate,
    comparison: Comparison,
    holdout: pd.DataFrame,
    config: PipelineConfig,
    model_name: str,
    files: SharedFiles,
    served: ServedRequests,
) -> Annotated[Verdict, "verdict"]:
    """Apply the gate to the challenger; the verdict is recorded before the feature importance is computed."""
    with timed_step(Step.PROMOTE, served):
        registry = ModelRegistry(MlflowClient(), model_name)
        audit = AuditLog(files.audit)
        rollouts = Rollouts(files.rollouts, audit)
        promoter = Promoter(registry, config.gate, config.rollout, rollouts, files.alias_lock)
        verdict = promoter.promote(candidate, comparison)
        record_verdict(audit, verdict, comparison.champion_version, served.ids)
        mlflow.set_tags(verdict_tags(verdict))
        note({"mlflow_run_id": candidate.mlflow_run_id, "model_version": candidate.model_version})
        scored = holdout if comparison.live_days is None else holdout[are_live(holdout)]
        rank_columns(registry, candidate.model_version, scored, config, METRICS)
        return verdict


# With a cache, a retrain on unchanged data would skip every step. FAIL_FAST passes a step's own error to the caller.
@pipeline(name=PIPELINE, enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST)
def training_pipeline(  # noqa: PLR0913, PLR0917 - ZenML shows a run's parameters
    config: PipelineConfig,
    dataset_file: str,
    model_name: str,
    mlflow_url: str,
    served: ServedRequests,
    files: SharedFiles,
) -> None:
    """Preprocess, split, train and register, evaluate on the holdout, and promote or reject.

    Raises:
        ConfigError: the estimator, its parameters or a metric's name are invalid; no step has run.
    """
    train_model.check_model(config.model, config.dataset)
    metrics_of(config, METRICS)
    frame, data_sha256, data_report = preprocess(dataset=config.dataset, dataset_file=dataset_file, served=served)
    train_rows, holdout, rule = split(frame=frame, config=config, model_name=model_name, served=served)
    candidate = train(
        train_rows=train_rows,
        holdout=holdout,
        rule=rule,
        data_sha256=data_sha256,
        data_report=data_report,
        dataset_file=dataset_file,
        config=config,
        model_name=model_name,
        mlflow_url=mlflow_url,
        served=served,
    )
    comparison = evaluate_on_holdout(
        candidate=candidate,
        frame=frame,
        rule=rule,
        config=config,
        model_name=model_name,
        files=files,
        served=served,
    )
    promote(
        candidate=candidate,
        comparison=comparison,
        holdout=holdout,
        config=config,
        model_name=model_name,
        files=files,
        served=served,
    )
