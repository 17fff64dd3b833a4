"""Helpers of all ZenML steps: logging, durations and metadata."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import mlflow
from zenml import get_step_context, log_metadata

from src.core.errors import RegistryError
from src.core.model_registry import TAG_ZENML_RUN_ID
from src.core.retrain_record import Step
from src.training.served_requests import ServedRequests

STEP_SECONDS = "step_seconds"

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def timed_step(step: Step, served: ServedRequests) -> Iterator[None]:
    """Log a step's start and end, and record its duration in ZenML, whose own times on MySQL are in whole seconds.

    Args:
        step: shown in the log, and as the current step of the retrain requests.
        served: the retrain requests.
    """
    logger.info("%s …", step)
    served.report_step(step)
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    note({STEP_SECONDS: round(seconds, 3)})
    logger.info("%s done in %.1f s", step, seconds)


def note(metadata: dict[str, Any]) -> None:
    """Record metadata of the step in ZenML. Failures are only logged, as the step's own work is done by then."""
    try:
        log_metadata(metadata)
    except Exception as error:  # ZenML raises built-in errors of every kind
        logger.warning("could not record %s in ZenML: %s", ", ".join(metadata), error, exc_info=True)


def active_run() -> mlflow.ActiveRun:
    """The MLflow run that ZenML's experiment tracker has started for this step.

    Raises:
        RegistryError: there is none.
    """
    run = mlflow.active_run()
    if run is None:
        raise RegistryError("ZenML's experiment tracker started no MLflow run; check that the stack has the tracker")
    return run


def zenml_tags() -> dict[str, str]:
    """Tags that link an MLflow run or model version to the ZenML run."""
    run = get_step_context().pipeline_run
    return {TAG_ZENML_RUN_ID: str(run.id), "zenml.run_name": run.name}
