import itertools
import logging

import pytest

from src.core.errors import ConnectionFailedError
from src.training.connections import probe_mlflow, wait_until_answering
from tests.support.running import free_port


def test_wait_outlasts_servers_that_are_starting_and_logs_each_problem_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = iter(["MLflow starts", "MLflow starts", "ZenML starts", None])

    def probe() -> None:
        if (trouble := next(answers)) is not None:
            raise ConnectionFailedError(trouble)

    pauses: list[float] = []
    wait_until_answering(probe, seconds=60, pause=pauses.append, clock=lambda: 0.0)
    assert len(pauses) == 3
    assert caplog.messages == [f"{name} starts; waiting for it up to 60 s" for name in ("MLflow", "ZenML")]


def test_wait_ends_with_the_probes_own_error() -> None:
    times = itertools.count(step=20.0)
    url = f"http://127.0.0.1:{free_port()}"
    pauses: list[float] = []
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        wait_until_answering(
            lambda: probe_mlflow(url), seconds=30, pause=pauses.append, clock=lambda: float(next(times))
        )
    assert len(pauses) == 1


def test_wait_without_patience_probes_once() -> None:
    asked: list[None] = []

    def probe() -> None:
        asked.append(None)
        raise ConnectionFailedError("down")

    with pytest.raises(ConnectionFailedError):
        wait_until_answering(probe, seconds=0)
    assert len(asked) == 1
