"""Promoted versions that fail or are slow, as real models in real processes: rolled back without labels."""

import itertools
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from src.core.inference_settings import InferenceSettings
from src.core.model_registry import CHAMPION, PREVIOUS
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.inference_process import Inference
from tests.support.mlflow_models import QUICKLY, quietly
from tests.support.running import wait_until

pytestmark = pytest.mark.integration
MODEL = """
import time
import mlflow.models, mlflow.pyfunc
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        {fault}
        return model_input['x'] * 3
mlflow.models.set_model(Model())
"""
GOOD, FAILS_ON_FEW = "pass", "assert not (model_input['x'] % 10 == 7).any()"
SLOW = "time.sleep(0.03)"


@pytest.fixture
def inference(mlflow_url: str, tmp_path: Path) -> Inference:
    mlflow.set_tracking_uri(mlflow_url)
    return Inference(tmp_path, mlflow_url, f"watched-{uuid.uuid4().hex[:8]}")


def register(inference: Inference, fault: str) -> None:
    """Register a version that does this before it predicts."""
    file = inference.folder / "watched_model.py"
    file.write_text(MODEL.format(fault=fault))
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    with quietly():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(file),
            registered_model_name=inference.model_name,
            signature=infer_signature(frame, np.array([3.0])),
            **QUICKLY,
        )


def promote(inference: Inference) -> Rollouts:
    """Make version 2 champion in place of version 1, and watch it."""
    client = mlflow.MlflowClient(inference.mlflow_url)
    for alias, version in ((PREVIOUS, "1"), (CHAMPION, "2")):
        client.set_registered_model_alias(inference.model_name, alias, version)
    settings = InferenceSettings(_env_file=None, data_dir=inference.folder / "data")
    rollouts, now = Rollouts(settings.rollouts_dir), datetime.now(UTC)
    until = now + timedelta(hours=1)
    rollouts.begin(
        Rollout(model=inference.model_name, version="2", previous="1", started=now, until=until, max_slowdown=3.0)
    )
    return rollouts


def traffic(replicas: list[Inference], rollouts: Rollouts) -> tuple[Rollout, Counter[int]]:
    """Send different rows to the replicas in turn until the watch ends; return its record, and the answers' status."""
    status = Counter[int]()
    numbers, turns = itertools.count(), itertools.cycle(replicas)
    with httpx.Client(timeout=20) as client:

        def is_over() -> Any:
            for _ in range(20):
                body = {"x": float(next(numbers))}
                status[client.post(f"{next(turns).url}/predict", json=body).status_code] += 1
            (record,) = rollouts.recent(replicas[0].model_name, 1)
            return record if record.state is not RolloutState.WATCHING else None

        return wait_until("the promotion is taken back", is_over, seconds=120), status


@pytest.mark.parametrize(
    ("fault", "says", "codes"),
    [
        (FAILS_ON_FEW, "version 2 fails on rows that version 1 answers: ", {200, 500}),
        (SLOW, "version 2 takes more than 3 times as long as version 1: ", {200}),
    ],
)
def test_a_model_that_fails_on_some_rows_or_is_slow_is_rolled_back(
    inference: Inference, fault: str, says: str, codes: set[int]
) -> None:
    for one in (GOOD, fault):
        register(inference, one)
    rollouts = promote(inference)
    with inference.serving():
        record, status = traffic([inference], rollouts)
        assert (record.state, record.by, record.requested) == (RolloutState.ROLLED_BACK, "automatic, inference", True)
        assert str(record.reason).startswith(says)
        assert set(status) == codes
        wait_until("version 1 is served", lambda: inference.served() == "1")
        answer = httpx.post(f"{inference.url}/predict", json={"x": 7.0}, timeout=20)
        assert (answer.status_code, answer.json()["prediction"]) == (200, 21.0)


def test_replicas_find_it_together_and_roll_back_once(inference: Inference, tmp_path: Path) -> None:
    for one in (GOOD, FAILS_ON_FEW):
        register(inference, one)
    rollouts = promote(inference)
    other = Inference(tmp_path, inference.mlflow_url, inference.model_name)
    with inference.serving(), other.serving():
        record, _ = traffic([inference, other], rollouts)
        assert record.state is RolloutState.ROLLED_BACK
        for replica in (inference, other):
            wait_until("version 1 is served", lambda replica=replica: replica.served() == "1")
    client = mlflow.MlflowClient(inference.mlflow_url)
    aliases = {
        name: client.get_model_version_by_alias(inference.model_name, name).version for name in (CHAMPION, PREVIOUS)
    }
    assert aliases == {CHAMPION: "1", PREVIOUS: "2"}
