import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from src.core.errors import LoopError, RegistryError
from src.core.retrain_record import Step
from src.core.training_settings import TrainSettings
from src.training import abandoned_runs
from src.training import train_once as module
from src.training.step_context import STEP_SECONDS
from src.training.train_once import train_once
from src.training.training_run import Training
from tests.support.training import VERDICT, config


def run_with(verdict: Any) -> SimpleNamespace:
    """A pipeline's run as ZenML returns it."""
    promoted = {"verdict": [SimpleNamespace(load=lambda: verdict)]}
    files = [SimpleNamespace(name="a.csv", rows=3), SimpleNamespace(name="b.csv", rows=4)]
    read = {"data_report": [SimpleNamespace(load=lambda: SimpleNamespace(files=files))]}
    times: dict[str, Any] = {STEP_SECONDS: 1.5, "seconds": {"fit": 1.25}}
    return SimpleNamespace(
        steps={
            "preprocess": SimpleNamespace(outputs=read, run_metadata={}),
            "train": SimpleNamespace(outputs={}, run_metadata=times),
            "split": SimpleNamespace(outputs={}, run_metadata={}),
            "promote": SimpleNamespace(outputs=promoted, run_metadata={STEP_SECONDS: 0.25}),
        }
    )


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], Training]:
    """Trains by a pipeline, without servers."""
    for name in ("probe", "prepare_environment", "configure_logging", "quiet_libraries", "activate_stack"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(abandoned_runs, "end_abandoned_runs", lambda *_: None)
    settings = TrainSettings(_env_file=None, data_dir=tmp_path)
    return lambda pipeline: train_once(lambda: pipeline, settings, config(), ["a"])


def test_training_returns_the_verdict_and_logs_what_took_how_long(
    trained: Callable[..., Training], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = trained(lambda **_: run_with(VERDICT))
    assert found == Training(VERDICT, {Step.TRAIN: 1.5, Step.PROMOTE: 0.25}, {"a.csv": 3, "b.csv": 4})
    line = caplog.messages[-1]
    assert "train 1.5, train.fit 1.2, promote 0.2, total " in line
    assert all(f"{phase} " in line for phase in ("imports", "connect", "pipeline"))


@pytest.mark.parametrize("run", [None, run_with("promoted")], ids=["no run", "another verdict"])
def test_run_without_a_verdict_is_an_error(trained: Callable[..., Training], run: Any) -> None:
    with pytest.raises(RegistryError, match="ZenML returned"):
        trained(lambda **_: run)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (MlflowException("gone\nfor good"), RegistryError, "MLflow failed: gone.*; see the MLflow server's log"),
        (ConnectionResetError("reset\nby peer"), LoopError, "ConnectionResetError: reset"),
        (ZeroDivisionError("a fault of ours"), ZeroDivisionError, "a fault of ours"),
    ],
)
def test_errors_of_servers_and_files_are_one_line(
    trained: Callable[..., Training], raised: Exception, expected: type[Exception], message: str
) -> None:
    def pipeline(**_: Any) -> None:
        raise raised

    with pytest.raises(expected, match=message) as caught:
        trained(pipeline)
    assert "\n" not in str(caught.value)
