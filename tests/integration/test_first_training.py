"""While the first training runs, inference says so; not once the training has been killed."""

import sys
import uuid
from pathlib import Path

import httpx
import pytest

from src.services.local.processes import LocalProcess
from tests.support.inference_process import Inference
from tests.support.models import SETOSA
from tests.support.running import running, wait_until
from tests.support.training import training_environment

pytestmark = pytest.mark.integration

NONE = "no version is champion yet; wait for the first training, or request one with POST /retrain"
RUNS = "no version is champion yet; a training is running"


def test_first_training_is_reported_while_it_runs_and_not_once_it_was_killed(mlflow_url: str, tmp_path: Path) -> None:
    inference = Inference(tmp_path, mlflow_url, f"iris-{uuid.uuid4().hex[:8]}")

    def reports(text: str) -> bool:
        health = inference.health()
        return bool(health and health["last_error"] == text)

    trainer = LocalProcess("train-model", (sys.executable, "run_pipeline.py", "--if-needed"))
    environment = training_environment(tmp_path / "data", mlflow_url) | {"MODEL_NAME": inference.model_name}
    with inference.started():
        wait_until("inference has no champion", lambda: reports(NONE))
        with running(trainer, tmp_path / "trainer.log", **environment) as child:
            wait_until("the training is reported", lambda: reports(RUNS))
            answer = httpx.post(f"{inference.url}/predict", json=SETOSA, timeout=5)
            assert (answer.status_code, answer.json()["detail"]) == (503, RUNS)
            child.kill()
            child.wait()
            wait_until("it is not reported any more", lambda: reports(NONE), seconds=10)
