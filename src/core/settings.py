"""Environment settings, one frozen class per process: addresses, folders, credentials and limits.

Data set, model and gate are configured in ``config/pipeline.yaml`` instead. Every field can be set by an environment
variable of its name in capitals, or in ``.env``; ``.env.example`` lists them all.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from src.core.errors import ConfigError
from src.core.log import LogFormat
from src.core.model_registry import checked_model_name

Port = Annotated[int, Field(ge=1, le=65535)]
# Of every class of settings.
BASE = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, str_strip_whitespace=True)
WriteKey = Annotated[SecretStr, Field(min_length=16)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CommonSettings(BaseSettings):
    """Settings of every process."""

    model_config = BASE

    log_format: LogFormat = Field("console", description="console for people, json for log collectors")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    data_dir: Path = Field(Path("data-file"), description="the shared volume: data set and retrain signals")
    mlflow_tracking_uri: AnyHttpUrl = Field(
        AnyHttpUrl("http://127.0.0.1:5000"), description="MLflow server: runs, artifacts and model registry"
    )
    model_name: Annotated[str, AfterValidator(checked_model_name)] = Field(
        "iris", description="the registered model's name, the same in every process"
    )

    @property
    def mlflow_url(self) -> str:
        """MLflow's base URL without a trailing slash."""
        return str(self.mlflow_tracking_uri).rstrip("/")

    @property
    def dataset_file(self) -> Path:
        """The validated data set, on the shared volume."""
        return self.data_dir / f"{self.model_name}_preprocessed.csv"

    @property
    def retrain_dir(self) -> Path:
        """The retrain spool, on the shared volume."""
        return self.data_dir / "retrain"

    @property
    def quality_dir(self) -> Path:
        """The prediction log, feedback and the quality report, on the shared volume."""
        return self.data_dir / "quality"

    @property
    def rollouts_dir(self) -> Path:
        """The records of promotions, on the shared volume."""
        return self.quality_dir / "rollouts"

    @property
    def labels_dir(self) -> Path:
        """Where the team puts files with true labels, on the shared volume."""
        return self.data_dir / "labels"

    @property
    def alias_lock(self) -> Path:
        """The lock file for moving the model's aliases, on the shared volume."""
        return self.retrain_dir / "aliases.lock"

    @property
    def training_lock(self) -> Path:
        """The file that a training run holds locked while it trains."""
        return self.retrain_dir / "training.lock"

    @property
    def local_dir(self) -> Path:
        """The state that containers keep in their own volumes, for processes on one machine."""
        return self.data_dir / "local"


class LinkingSettings(CommonSettings):
    """Settings of processes that show links to MLflow."""

    mlflow_public_url: AnyHttpUrl | None = Field(
        None, description="MLflow as a browser reaches it, for links; unset: MLFLOW_TRACKING_URI"
    )

    @property
    def mlflow_link(self) -> str:
        """MLflow's base URL for links, without a trailing slash, and without a user's name and password."""
        parts = urlsplit(str(self.mlflow_public_url or self.mlflow_tracking_uri))
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


class SourceSettings(BaseSettings):
    """Settings for reading rows and labels: the pipeline's configuration and the database."""

    model_config = BASE

    pipeline_config: Path = Field(Path("config/pipeline.yaml"), description="what is learned")
    dataset_url: SecretStr | None = Field(
        None, description="database for dataset.source sql and labels.query, as a SQLAlchemy URL"
    )


class TrainSettings(LinkingSettings, SourceSettings):
    """The training process (``run_pipeline.py``) and the preprocess entry point."""

    mlflow_experiment: str = Field("iris-training", min_length=1, description="MLflow experiment for training runs")
    server_patience_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        60.0, description="how long a run that serves retrain requests waits for MLflow and ZenML to answer"
    )
    zenml_store_url: AnyHttpUrl | None = Field(None, description="ZenML server; unset: the local SQLite store")
    zenml_store_api_key: SecretStr | None = Field(None, description="ZenML service-account key for that server")
    zenml_config_path: Path | None = Field(
        None, description="ZenML client state and local store; unset: DATA_DIR/local/zenml"
    )

    @model_validator(mode="after")
    def _server_needs_key(self) -> Self:
        # A key without a URL is allowed: .env has it for the Compose stack.
        if self.zenml_store_url is not None and self.zenml_store_api_key is None:
            raise ValueError("ZENML_STORE_URL needs ZENML_STORE_API_KEY; set both, or neither")
        return self

    @property
    def zenml_dir(self) -> Path:
        """Where ZenML keeps its client state and its local store."""
        return self.zenml_config_path or self.local_dir / "zenml"


class PredictionLogSettings(BaseSettings):
    """Settings of processes that write or read the prediction log."""

    model_config = BASE

    prediction_log: bool = Field(default=True, description="whether rows and their predictions are kept")
    prediction_log_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        200.0, description="most rows per second that are kept, on average; of more rows, a random sample"
    )
    prediction_log_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="secret key of hashed columns and of the sampling"
    )
    prediction_log_omit: str = Field("", description="columns that are not kept, separated by commas")
    prediction_log_hash: str = Field("", description="columns of which only a keyed hash is kept, separated by commas")

    @model_validator(mode="after")
    def _hashes_need_key(self) -> Self:
        if self.hashed_columns and self.prediction_log_key is None:
            raise ValueError("PREDICTION_LOG_HASH needs PREDICTION_LOG_KEY; set both, or neither")
        return self

    @property
    def omitted_columns(self) -> frozenset[str]:
        """The names in ``prediction_log_omit``."""
        return _names(self.prediction_log_omit)

    @property
    def hashed_columns(self) -> frozenset[str]:
        """The names in ``prediction_log_hash``."""
        return _names(self.prediction_log_hash)

    @property
    def log_key(self) -> str:
        """The key as text; empty if there is none."""
        return self.prediction_log_key.get_secret_value() if self.prediction_log_key else ""


class InferenceSettings(LinkingSettings, PredictionLogSettings):
    """The inference service."""

    inference_host: str = Field("127.0.0.1", description="address the service listens on")
    inference_port: Port = Field(8000, description="port the service listens on")
    model_cache_dir: Path | None = Field(None, description="downloaded versions; unset: DATA_DIR/local/model-cache")
    model_poll_seconds: Seconds = Field(1.0, description="how often the champion alias is looked up")
    model_retry_max_seconds: Seconds = Field(30.0, description="longest pause after failed look-ups or bad models")
    mlflow_timeout_seconds: Seconds = Field(5.0, description="time-out of one call to MLflow")
    max_body_bytes: Annotated[int, Field(ge=1)] = Field(1_000_000, description="largest accepted request body")
    max_batch_bytes: Annotated[int, Field(ge=1)] = Field(64_000_000, description="largest body of a batch")
    max_batch_values: Annotated[int, Field(ge=1)] = Field(
        4_000_000, description="most values, rows times columns, of a batch"
    )
    max_large_batches: Annotated[int, Field(ge=1)] = Field(
        2, description="most batches of over 1 MiB, or of Arrow or Parquet, in memory at once; others wait"
    )
    retrain_max_pending: Annotated[int, Field(ge=1)] = Field(1000, description="most retrain requests that may wait")
    feedback_max_pending: Annotated[int, Field(ge=1)] = Field(
        10_000, description="most requests with labels that may wait for the quality service"
    )
    max_concurrency: Annotated[int, Field(ge=1)] = Field(128, description="most requests in work at once")
    max_queue: Annotated[int, Field(ge=0)] = Field(128, description="most requests that wait for their turn")
    queue_seconds: Seconds = Field(0.5, description="how long a request may wait for its turn")
    head_seconds: Seconds = Field(10.0, description="how long a request's head may take")
    body_seconds: Seconds = Field(10.0, description="how long a request's body may take, and a client to read on")
    body_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        32_000.0, description="bytes of a body that earn it one second more, and that a reading client takes a second"
    )
    keep_alive_seconds: Annotated[int, Field(ge=1)] = Field(
        75, description="how long a connection may be idle between requests; longer than in clients and load balancers"
    )
    drain_seconds: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="how long requests are still accepted after a signal to stop, while readiness says no"
    )
    allowed_hosts: str = Field(
        "localhost,inference",
        pattern=r"^[A-Za-z0-9_.*:, \[\]-]+$",
        description="names by which clients reach the service, besides IP addresses; *.name: all below it, *: any",
    )
    write_api_key: WriteKey | None = Field(
        None, description="key that writing requests must send as a bearer token; unset: none is needed"
    )
    drift_window_rows: Annotated[int, Field(ge=200)] = Field(
        300, description="how many of the newest rows are compared with the training rows, at least 200"
    )
    alert_retrain: bool = Field(
        default=False, description="whether an alert labelled action=retrain requests a training"
    )
    alert_token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="bearer token that Alertmanager sends with its notifications"
    )
    alert_cooldown_seconds: Seconds = Field(3600.0, description="least time between two trainings for alerts")

    zenml_public_url: AnyHttpUrl | None = Field(
        None, description="ZenML's dashboard as a browser reaches it, for links; unset: no such links"
    )
    grafana_public_url: AnyHttpUrl | None = Field(
        None, description="Grafana as a browser reaches it, for a link; unset: no such link"
    )
    stack_grafana_url: AnyHttpUrl | None = Field(
        None, description="the stack's own Grafana, linked where GRAFANA_PUBLIC_URL is unset and it runs"
    )
    stack_profiles: str = Field("", description="the stack's Compose profiles; Grafana has the profile monitoring")

    @model_validator(mode="after")
    def _alerts_need_token(self) -> Self:
        if self.alert_retrain and self.alert_token is None:
            raise ValueError("ALERT_RETRAIN needs ALERT_TOKEN; set both, or ALERT_RETRAIN=false")
        return self

    @property
    def grafana_link(self) -> str | None:
        """Grafana as a browser reaches it: the configured URL, or the stack's own Grafana where it runs."""
        runs = "monitoring" in self.stack_profiles.split(",")
        url = self.grafana_public_url or (self.stack_grafana_url if runs else None)
        return None if url is None else str(url).rstrip("/")

    @property
    def cache_dir(self) -> Path:
        """Where downloaded model versions are kept."""
        return self.model_cache_dir or self.local_dir / "model-cache"


class MonitorSettings(CommonSettings):
    """The monitor."""

    monitor_host: str = Field("127.0.0.1", description="address of the monitor's metrics")
    monitor_port: Port = Field(8001, description="port of the monitor's metrics")
    train_container: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$",
        description="container that trains, started through DOCKER_HOST; unset: a child process",
    )
    docker_host: str = Field("tcp://docker-proxy:2375", description="the Docker proxy that may start that container")
    monitor_poll_seconds: Annotated[float, Field(gt=0, le=30)] = Field(
        1.0, description="how often the spool is re-read without a file event, at most 30"
    )
    retrain_max_attempts: Annotated[int, Field(ge=1)] = Field(3, description="training attempts per request")
    retrain_backoff_seconds: Seconds = Field(2.0, description="pause before a second attempt; doubles from there")
    retrain_backoff_max_seconds: Seconds = Field(300.0, description="longest pause between attempts")


class QualitySettings(CommonSettings, SourceSettings, PredictionLogSettings):
    """The quality service."""

    quality_host: str = Field("127.0.0.1", description="address of the quality service's metrics")
    quality_port: Port = Field(8002, description="port of the quality service's metrics")
    quality_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        60.0, description="how often rows and labels are taken in and the report is written, at most 300"
    )
    prediction_log_days: Annotated[int, Field(ge=1)] = Field(90, description="how long rows and labels are kept")
    prediction_log_max_bytes: Annotated[int, Field(ge=1)] = Field(
        2_000_000_000, description="most bytes of rows that are kept; the oldest are deleted"
    )
    feedback_patience_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        3600.0, description="how long a label may wait for its row before it counts as unmatched"
    )
    inference_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://127.0.0.1:8000"), description="inference service from which a rollback is requested"
    )
    write_api_key: WriteKey | None = Field(None, description="its key for writing requests, if it has one")


class LocalSettings(InferenceSettings, MonitorSettings, QualitySettings):
    """The whole loop as processes on one machine (``make local``)."""

    mlflow_port: Port = Field(5000, description="port of the MLflow server that make local starts")


Settings = TypeVar("Settings", bound=BaseSettings)


def _names(listed: str) -> frozenset[str]:
    """Names separated by commas, without the spaces around them."""
    return frozenset(name.strip() for name in listed.split(",")) - {""}


def env_file() -> str:
    """The file with variables: ENV_FILE, no file if that is empty, ``.env`` if it is not set.

    Raises:
        ConfigError: the file in ENV_FILE does not exist.
    """
    named = os.environ.get("ENV_FILE")
    if named and not Path(named).exists():
        raise ConfigError(f"ENV_FILE names {named}, which does not exist; correct the name, or unset it to use .env")
    return ".env" if named is None else named


def load_settings(settings_class: type[Settings]) -> Settings:
    """Read a process's settings from its environment and from the file of ``env_file``.

    Raises:
        ConfigError: with the name of each invalid variable and the reason, never its value.
    """
    file = env_file()
    try:
        return settings_class(_env_file=file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}); fix it or name another one in ENV_FILE") from error
    except ValidationError as error:
        problems = [
            "".join(f"{part}: ".upper() for part in item["loc"]) + _problem(item, settings_class)
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError("wrong environment: " + "; ".join(problems) + " (see .env.example)") from None


def _problem(error: ErrorDetails, settings_class: type[BaseSettings]) -> str:
    """The problem with a variable; its description is clearer than a pattern."""
    field = settings_class.model_fields.get(str(error["loc"][0])) if error["loc"] else None
    if error["type"] == "string_pattern_mismatch" and field is not None:
        return f"has an invalid format ({field.description})"
    if error["type"] == "too_short":  # pydantic's message calls a secret's characters items
        return f"must have at least {error['ctx']['min_length']} characters"
    if error["type"] == "value_error":  # pydantic's message has a prefix
        return str(error["ctx"]["error"])
    return error["msg"]
