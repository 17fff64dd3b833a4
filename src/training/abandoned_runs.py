"""Ends the runs in ZenML and MLflow that a killed training has left as running."""

import logging
from datetime import UTC, datetime

from mlflow.tracking import MlflowClient
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse, PipelineRunUpdate, StepRunUpdate
from zenml.utils.pagination_utils import depaginate

from src.core.training_settings import TrainSettings

REASON = "the process ended before the run"

logger = logging.getLogger(__name__)


def end_abandoned_runs(settings: TrainSettings, pipeline: str) -> None:
    """Mark them as failed and killed. Call it under the trainer lock, when no other run is active.

    Args:
        settings: name the model and the MLflow experiment.
        pipeline: the pipeline's name in ZenML.

    Raises:
        MlflowException, OSError: a server does not respond.
    """
    client = Client()
    abandoned = runs_of_model(client, pipeline, settings.model_name, status=ExecutionStatus.RUNNING.value)
    for run in abandoned:
        _end_in_zenml(client, run)
        logger.info("ended ZenML's run %s, which a killed training had left running", run.name)
    if abandoned:
        _end_in_mlflow(settings.mlflow_experiment, {run.name for run in abandoned})


def runs_of_model(client: Client, pipeline: str, model_name: str, **filters: str) -> list[PipelineRunResponse]:
    """A pipeline's runs in ZenML by the current account for a model, newest first."""
    runs = depaginate(client.list_pipeline_runs, pipeline=pipeline, user=client.active_user.id, hydrate=True, **filters)
    return [run for run in runs if (run.config.parameters or {}).get("model_name") == model_name]


def _end_in_zenml(client: Client, run: PipelineRunResponse) -> None:
    for step in run.steps.values():
        if not step.status.is_finished:
            update = StepRunUpdate(status=ExecutionStatus.FAILED, end_time=datetime.now(UTC))
            client.zen_store.update_run_step(step.id, update)
    client.zen_store.update_run(run.id, PipelineRunUpdate(status=ExecutionStatus.FAILED, status_reason=REASON))


def _end_in_mlflow(experiment_name: str, names: set[str]) -> None:
    """Find the MLflow runs by name: ZenML's tracker names them like its own runs, before tags are set."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        return
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        if run.info.run_name in names:
            client.set_terminated(run.info.run_id, "KILLED")
