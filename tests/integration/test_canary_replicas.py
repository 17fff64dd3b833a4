"""A canary in two real processes: they choose the same customers, count together, and let go of it together."""

import math
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import mlflow
import pytest

from src.core.canary_config import CanaryConfig
from src.core.inference_settings import InferenceSettings
from src.core.model_registry import CHAMPION
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.inference_process import Inference
from tests.support.models import SETOSA, build_model, register_model
from tests.support.running import wait_until

pytestmark = pytest.mark.integration
SHARE = 0.25
CUSTOMERS = [f"customer {number}" for number in range(200)]


@pytest.fixture
def replicas(mlflow_url: str, tmp_path: Path) -> tuple[Inference, Inference]:
    """Version 1 is champion; version 2 exists."""
    name = f"canary-{uuid.uuid4().hex[:8]}"
    for seed in (1, 2):
        build_model(tmp_path / f"model-{seed}", seed=seed)
        register_model(mlflow_url, name, tmp_path / f"model-{seed}")
    mlflow.MlflowClient(mlflow_url).set_registered_model_alias(name, CHAMPION, "1")
    (tmp_path / "other").mkdir()
    return Inference(tmp_path, mlflow_url, name), Inference(tmp_path / "other", mlflow_url, name)


def version_for(client: httpx.Client, replica: Inference, customer: str) -> tuple[str, str | None]:
    """The version that answers a customer's request, and its role if it is no champion."""
    answer = client.post(f"{replica.url}/predict", json=SETOSA, headers={"x-customer": customer}).raise_for_status()
    return answer.headers["x-model-version"], answer.headers.get("x-model-role")


def test_replicas_agree_on_a_canary_from_its_start_to_its_end(replicas: tuple[Inference, Inference]) -> None:
    first, second = replicas
    data = first.folder / "data"
    rollouts, now = Rollouts(InferenceSettings(_env_file=None, data_dir=data).rollouts_dir), datetime.now(UTC)
    known = {"model": first.model_name, "previous": "1", "started": now, "until": now + timedelta(hours=1)}
    canary = CanaryConfig(share=SHARE, key_header="x-customer", minimum_rows=1_000_000)
    given = {"version": "2", "state": RolloutState.CANARY, "canary": canary, "canary_started": now}
    rollout = Rollout.model_validate(known | given)
    rollouts.begin(rollout)
    with (
        first.serving(DATA_DIR=str(data)),
        second.serving(DATA_DIR=str(data)),
        httpx.Client(timeout=10) as client,
    ):
        answers = 0

        def canaries(replica: Inference) -> list[str]:
            nonlocal answers
            found = {customer: version_for(client, replica, customer) for customer in CUSTOMERS}
            assert set(found.values()) <= {("1", None), ("2", "canary")}
            chosen = [customer for customer, version in found.items() if version == ("2", "canary")]
            answers += len(chosen)
            return chosen

        for replica in replicas:
            wait_until("a canary answers", lambda replica=replica: canaries(replica))
        chosen = canaries(first)
        assert canaries(second) == chosen
        assert abs(len(chosen) - SHARE * len(CUSTOMERS)) < 5 * math.sqrt(len(CUSTOMERS) * SHARE * (1 - SHARE))

        def record() -> Rollout:
            found = rollouts.get(rollout.id)
            assert found is not None
            return found

        wait_until("the answers of both are counted", lambda: record().answered == answers)
        # A later version takes its place.
        rollouts.begin(Rollout.model_validate(known | {"version": "3", "state": RolloutState.AWAITING_APPROVAL}))
        for replica in replicas:
            wait_until("the champion answers", lambda replica=replica: not canaries(replica))
        assert record().state is RolloutState.ABORTED
