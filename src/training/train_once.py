"""One training run on real servers: connect, run the pipeline, return the gate's verdict."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from src.core.errors import LoopError, RegistryError, first_line
from src.core.log import configure_logging
from src.core.model_registry import CHAMPION
from src.core.pipeline_config import PipelineConfig
from src.core.retrain_record import Step
from src.core.training_settings import TrainSettings
from src.training.connections import has_alias, probe_mlflow, probe_zenml, shown, wait_until_answering
from src.training.gate import Verdict
from src.training.served_requests import ServedRequests
from src.training.shared_files import SharedFiles
from src.training.training_run import SERVICE, Training
from src.training.zenml_connection import activate_stack, describe_store, prepare_environment, quiet_libraries

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse

# The pipeline's name in ZenML.
PIPELINE = "training"

logger = logging.getLogger(__name__)


def train_once(
    load_pipeline: Callable[[], Callable[..., "PipelineRunResponse | None"]],
    settings: TrainSettings,
    config: PipelineConfig,
    request_ids: Sequence[str],
) -> Training:
    """Run the training pipeline once; when this returns, the registry has the verdict.

    Args:
        load_pipeline: imports the ZenML pipeline; called once the environment that ZenML reads is prepared.
        settings: the servers and the shared volume.
        config: what to learn.
        request_ids: the retrain requests that this run serves.

    Raises:
        ConnectionFailedError: a server does not respond or refuses the request; raised within seconds, or after
            ``server_patience_seconds`` where the run serves requests.
        RegistryError: a request to MLflow fails.
        DataError, InvalidModelError: raised by the steps.
    """
    seconds: dict[str, float] = {}
    started = time.monotonic()
    logger.info("MLflow: %s; ZenML store: %s", shown(settings.mlflow_url), describe_store(settings))
    # A run that serves requests is unattended, and a server's restart must not cost an attempt.
    patience = settings.server_patience_seconds if request_ids else 0.0
    wait_until_answering(lambda: probe(settings), seconds=patience)
    prepare_environment(settings, os.environ)
    with _timed(seconds, "imports"):
        logger.info("loading ZenML, MLflow and scikit-learn …")
        # Heavy imports that read the environment.
        from src.training.abandoned_runs import end_abandoned_runs  # noqa: PLC0415
        from src.training.step_context import STEP_SECONDS  # noqa: PLC0415

        pipeline = load_pipeline()

    # Importing ZenML adds its handlers to the root logger.
    configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
    quiet_libraries(settings.log_level)
    with library_errors_in_one_line():
        with _timed(seconds, "connect"):
            activate_stack(settings)
            end_abandoned_runs(settings, PIPELINE)
        with _timed(seconds, "pipeline"):
            run = pipeline(
                config=config,
                dataset_file=str(settings.dataset_file.resolve()),
                model_name=settings.model_name,
                mlflow_url=settings.mlflow_link,
                served=ServedRequests(ids=list(request_ids), retrain_dir=str(settings.retrain_dir.resolve())),
                files=SharedFiles.of(settings),
            )
        verdict, rows = _verdict_of(run), _rows_of(run)
        steps = _step_seconds(run, STEP_SECONDS)
        seconds |= steps
    seconds["total"] = time.monotonic() - started
    logger.info("seconds: %s", ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    return Training(verdict, {step: steps[step] for step in Step if step in steps}, rows)


def has_champion(settings: TrainSettings) -> bool:
    """Whether a version is served; waits for MLflow for up to ``server_patience_seconds``.

    Raises:
        ConnectionFailedError: MLflow does not respond, or with an error.
    """
    wait_until_answering(lambda: probe_mlflow(settings.mlflow_url), seconds=settings.server_patience_seconds)
    return has_alias(settings.mlflow_url, settings.model_name, CHAMPION)


def probe(settings: TrainSettings) -> None:
    """Require both servers to respond before the run starts."""
    probe_mlflow(settings.mlflow_url)
    if settings.zenml_store_url is not None and settings.zenml_store_api_key is not None:
        probe_zenml(str(settings.zenml_store_url), settings.zenml_store_api_key.get_secret_value())


def _verdict_of(run: "PipelineRunResponse | None") -> Verdict:
    if run is None:
        raise RegistryError("ZenML returned no pipeline run")
    verdict = run.steps["promote"].outputs["verdict"][0].load()
    if not isinstance(verdict, Verdict):
        raise RegistryError(f"ZenML returned {type(verdict).__name__} instead of the verdict")
    return verdict


def _rows_of(run: "PipelineRunResponse | None") -> dict[str, int]:
    """The rows of the source by file."""
    if run is None:
        return {}
    report = run.steps["preprocess"].outputs["data_report"][0].load()
    return {file.name: file.rows for file in report.files}


def _step_seconds(run: "PipelineRunResponse | None", key: str) -> dict[str, float]:
    """The duration of each step and of the training step's parts, from ZenML's metadata."""
    found: dict[str, float] = {}
    for name, step in run.steps.items() if run is not None else ():
        seconds, parts = step.run_metadata.get(key), step.run_metadata.get("seconds")
        found |= {name: seconds} if isinstance(seconds, float) else {}
        found |= {f"{name}.{part}": value for part, value in parts.items()} if isinstance(parts, dict) else {}
    return found


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - started


@contextlib.contextmanager
def library_errors_in_one_line() -> Iterator[None]:
    """Convert errors of MLflow, ZenML and the network to LoopError, with one-line messages."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy, and reads the environment

    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"MLflow failed: {first_line(error)}; see the MLflow server's log") from error
    except OSError as error:  # files, and every network error of the clients
        raise LoopError(f"{type(error).__name__}: {first_line(error)}") from error
