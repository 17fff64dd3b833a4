import itertools

import pytest

from src.core.errors import ConnectionFailedError
from src.pipeline import connections
from src.pipeline.connections import wait_for_mlflow
from tests.support.running import free_port


def test_wait_for_mlflow_outwaits_a_server_that_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ConnectionFailedError("not yet"), ConnectionFailedError("not yet"), None])

    def probe(_: str) -> None:
        if (error := next(answers)) is not None:
            raise error

    monkeypatch.setattr(connections, "probe_mlflow", probe)
    pauses: list[float] = []
    wait_for_mlflow("http://mlflow", seconds=60, pause=pauses.append, clock=lambda: 0.0)
    assert len(pauses) == 2


def test_wait_for_mlflow_gives_up_with_the_probes_own_words() -> None:
    times = itertools.count(step=20.0)
    pauses: list[float] = []
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        wait_for_mlflow(
            f"http://127.0.0.1:{free_port()}", seconds=30, pause=pauses.append, clock=lambda: float(next(times))
        )
    assert len(pauses) == 1
