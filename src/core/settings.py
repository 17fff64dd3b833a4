"""Environment settings, common to all processes: addresses, folders, credentials and limits; and how they are loaded.

Each process has a frozen class: ``training_settings``, ``inference_settings``, ``monitor_settings``,
``quality_settings``, ``local_settings``.

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
# How the variables begin that Kubernetes adds for each Service of a namespace: INFERENCE_PORT=tcp://10.96.0.7:8000.
SERVICE_LINK = "tcp://"


DATABASE_SCHEME = "mysql+pymysql://"


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
    retrain_queue: Literal["file", "database"] = Field(
        "file", description="what carries retrain requests: files on the shared volume, or a database"
    )
    retrain_database_url: SecretStr | None = Field(
        None, description="the database that carries retrain requests, as a SQLAlchemy URL"
    )

    @model_validator(mode="after")
    def _queue_needs_database(self) -> Self:
        url = self.retrain_database_url
        if self.retrain_queue == "database" and (url is None or not url.get_secret_value().startswith(DATABASE_SCHEME)):
            raise ValueError(f"RETRAIN_QUEUE=database needs RETRAIN_DATABASE_URL, which begins with {DATABASE_SCHEME}")
        return self

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
    def calibration_dir(self) -> Path:
        """How each version's probabilities become calibrated ones, on the shared volume."""
        return self.quality_dir / "calibration"

    @property
    def audit_file(self) -> Path:
        """The audit log, on the shared volume."""
        return self.data_dir / "audit" / "audit.ndjson"

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


Settings = TypeVar("Settings", bound=BaseSettings)


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
            for item in error.errors(include_url=False)
        ]
        raise ConfigError("wrong environment: " + "; ".join(problems) + " (see .env.example)") from None


def _problem(error: ErrorDetails, settings_class: type[BaseSettings]) -> str:
    """The problem with a variable, without its value; its description is clearer than a pattern."""
    name = str(error["loc"][0]) if error["loc"] else ""
    field = settings_class.model_fields.get(name)
    if name.endswith("_port") and str(error["input"]).startswith(SERVICE_LINK):
        service = name.removesuffix("_port").replace("_", "-")
        return (
            f"Kubernetes sets this variable to an address in the pods beside a Service named {service}; "
            "set enableServiceLinks: false in the pod, or give the Service another name"
        )
    if error["type"] == "string_pattern_mismatch" and field is not None:
        return f"has an invalid format ({field.description})"
    if error["type"] == "too_short":  # pydantic's message calls a secret's characters items
        return f"must have at least {error['ctx']['min_length']} characters"
    if error["type"] == "value_error":  # pydantic's message has a prefix
        return str(error["ctx"]["error"])
    return error["msg"]
