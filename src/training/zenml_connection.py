"""Connects this process to ZenML: prepares the environment for its import and the stack for the pipeline."""

import logging
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.core.training_settings import TrainSettings
from src.training.connections import login_of, shown

if TYPE_CHECKING:  # importing ZenML reads the environment, which must be prepared first
    from zenml.client import Client
    from zenml.enums import StackComponentType

REPOSITORY = Path(__file__).resolve().parents[2]
STACK = "mlops-loop"
# ZenML's tracker requires credentials for any http URL; servers without authentication ignore this token. In MLflow's
# client, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD take precedence over it.
NO_TOKEN = "none"  # noqa: S105 - not a secret
# Records below these levels are redundant: ZenML logs each exception that it raises with its traceback, and both warn
# that the environment has no pip.
_LEVELS = {
    "zenml": logging.ERROR,
    "zenml.orchestrators.local.local_orchestrator": logging.CRITICAL,
    "zenml.orchestrators.step_launcher": logging.CRITICAL,
    "mlflow": logging.WARNING,
    "mlflow.utils.environment": logging.ERROR,
    "alembic": logging.WARNING,
    "matplotlib": logging.WARNING,
    "skl2onnx": logging.WARNING,
}


def prepare_environment(settings: TrainSettings, environment: MutableMapping[str, str]) -> None:
    """Set what ZenML and MLflow read when they are imported; call it before either is.

    Args:
        settings: which store and which MLflow server.
        environment: the process's environment, changed in place.
    """
    environment.update(
        ZENML_CONFIG_PATH=str(settings.zenml_dir.resolve()),
        # The key comes from the environment; ZenML would write it to a world-readable file.
        DISABLE_CREDENTIALS_DISK_CACHING="true",
        ZENML_ANALYTICS_OPT_IN="false",
        ZENML_LOGGING_VERBOSITY="WARNING",
        ZENML_LOGGING_COLORS_DISABLED="true",
        ZENML_ENABLE_RICH_TRACEBACK="false",
        ZENML_ENABLE_REPO_INIT_WARNINGS="false",
        # The process's log has these lines; a server's dashboard cannot read a local artifact store.
        ZENML_DISABLE_PIPELINE_LOGS_STORAGE="true",
        ZENML_DISABLE_STEP_LOGS_STORAGE="true",
        MLFLOW_TRACKING_URI=shown(settings.mlflow_url),
        MLFLOW_CONFIGURE_LOGGING="false",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        GIT_PYTHON_REFRESH="quiet",
    )
    # Not in the URL, which MLflow's errors and ZenML's store would show.
    if login := login_of(settings.mlflow_url):
        environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"] = login
    # MLflow's client would retry for minutes; failed runs are repeated as a whole.
    environment.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    environment.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    environment.update(_store_environment(settings))
    if settings.zenml_store_url is None:
        environment.pop("ZENML_STORE_API_KEY", None)


def describe_store(settings: TrainSettings) -> str:
    """A description of the ZenML store, without secrets."""
    if settings.zenml_store_url is not None:
        return f"server {shown(str(settings.zenml_store_url))}"
    return f"local SQLite in {settings.zenml_dir.resolve()}"


def _store_environment(settings: TrainSettings) -> dict[str, str]:
    if settings.zenml_store_url is not None and settings.zenml_store_api_key is not None:
        return {
            "ZENML_STORE_TYPE": "rest",
            "ZENML_STORE_URL": str(settings.zenml_store_url).rstrip("/"),
            "ZENML_STORE_API_KEY": settings.zenml_store_api_key.get_secret_value(),
        }
    # Explicit: otherwise ZenML uses the server of a previous run.
    database = settings.zenml_dir.resolve() / "local_stores" / "default_zen_store" / "zenml.db"
    return {"ZENML_STORE_TYPE": "sql", "ZENML_STORE_URL": f"sqlite:///{database}"}


def quiet_libraries(level: str) -> None:
    """Raise the log levels of libraries, unless the level is DEBUG; call it after importing ZenML and MLflow."""
    if level != "DEBUG":
        for name, least in _LEVELS.items():
            logging.getLogger(name).setLevel(least)


def activate_stack(settings: TrainSettings) -> None:
    """Register the stack if it is missing, update its components and activate it."""
    from zenml.client import Client  # noqa: PLC0415 - see TYPE_CHECKING above
    from zenml.enums import StackComponentType as Kind  # noqa: PLC0415
    from zenml.utils.source_utils import set_custom_source_root  # noqa: PLC0415

    # Steps are identified by their path relative to this folder, whatever the working directory.
    set_custom_source_root(str(REPOSITORY))
    artifacts = settings.zenml_dir.resolve() / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    tracker = {
        "tracking_uri": shown(settings.mlflow_url),
        "experiment_name": settings.mlflow_experiment,
        "tracking_token": NO_TOKEN,
    }
    client = Client()
    _ensure_component(client, Kind.ORCHESTRATOR, "local", {})
    _ensure_component(client, Kind.ARTIFACT_STORE, "local", {"path": str(artifacts)})
    _ensure_component(client, Kind.EXPERIMENT_TRACKER, "mlflow", tracker)
    try:
        client.get_stack(STACK, allow_name_prefix_match=False)
    except KeyError:
        kinds = (Kind.ORCHESTRATOR, Kind.ARTIFACT_STORE, Kind.EXPERIMENT_TRACKER)
        client.create_stack(STACK, dict.fromkeys(kinds, STACK))
    client.activate_stack(STACK)


def _ensure_component(client: "Client", kind: "StackComponentType", flavor: str, wanted: dict[str, Any]) -> None:
    try:
        component = client.get_stack_component(kind, STACK, allow_name_prefix_match=False)
    except KeyError:
        client.create_stack_component(STACK, flavor, kind, wanted)
        return
    if any(component.configuration.get(key) != value for key, value in wanted.items()):
        client.update_stack_component(component.id, kind, configuration=wanted)
