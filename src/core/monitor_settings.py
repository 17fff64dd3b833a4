"""Environment settings of the monitor."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from src.core.settings import CommonSettings, Port, Seconds


class MonitorSettings(CommonSettings):
    """The monitor."""

    monitor_host: str = Field("127.0.0.1", description="address of the monitor's metrics")
    monitor_port: Port = Field(8001, description="port of the monitor's metrics")
    train_container: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$",
        description="container that trains, started through DOCKER_HOST; unset: a child process",
    )
    train_job: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$",
        description="suspended CronJob of this pod's namespace from whose template a Kubernetes Job trains",
    )
    train_start_seconds: Seconds = Field(600.0, description="how long that Job may take until its pod runs")
    docker_host: str = Field("tcp://docker-proxy:2375", description="the Docker proxy that may start that container")
    monitor_poll_seconds: Annotated[float, Field(gt=0, le=30)] = Field(
        1.0, description="how often the spool is re-read without a file event, at most 30"
    )
    retrain_max_attempts: Annotated[int, Field(ge=1)] = Field(3, description="training attempts per request")
    retrain_backoff_seconds: Seconds = Field(2.0, description="pause before a second attempt; doubles from there")
    retrain_backoff_max_seconds: Seconds = Field(300.0, description="longest pause between attempts")
    retrain_schedule: str | None = Field(
        None, description="when a training is requested: five fields of cron, and a time zone unless it is UTC"
    )

    @model_validator(mode="after")
    def _one_way_to_train(self) -> Self:
        if self.train_container is not None and self.train_job is not None:
            raise ValueError("TRAIN_CONTAINER and TRAIN_JOB exclude each other; unset one of them")
        return self
