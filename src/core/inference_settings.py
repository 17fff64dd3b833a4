"""Environment settings of the inference service."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from src.core.prediction_log_settings import PredictionLogSettings
from src.core.settings import LinkingSettings, Port, Seconds, WriteKey


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
    sign_in_proxy_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="proves that the sign-in proxy has set a request's user name; unset: none is accepted"
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
