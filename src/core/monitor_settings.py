"""Environment settings of the monitor."""

from typing import Annotated

from pydantic import Field

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
