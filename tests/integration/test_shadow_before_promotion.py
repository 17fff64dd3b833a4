"""A version that has to answer rows before its promotion, in real processes: it answers, is approved, and watched."""

import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest

from src.core.inference_settings import InferenceSettings
from src.core.model_registry import CHAMPION
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.services.local.processes import LocalProcess
from tests.support.configuration import CONFIG_FILE
from tests.support.inference_client import InferenceClient
from tests.support.inference_process import Inference
from tests.support.models import build_model, register_model
from tests.support.running import free_port, running, wait_until

pytestmark = pytest.mark.integration
ROWS = 20
KEY = "a key of twenty-six letters"


@pytest.fixture
def inference(mlflow_url: str, tmp_path: Path) -> Inference:
    """Version 1 is champion; version 2 exists."""
    inference = Inference(tmp_path, mlflow_url, f"shadowed-{uuid.uuid4().hex[:8]}")
    for seed in (1, 2):
        build_model(tmp_path / f"model-{seed}", seed=seed)
        register_model(mlflow_url, inference.model_name, tmp_path / f"model-{seed}")
    mlflow.MlflowClient(mlflow_url).set_registered_model_alias(inference.model_name, CHAMPION, "1")
    return inference


def wait_for_rows(inference: Inference, approval: str) -> Rollouts:
    """Record version 2 as a training does."""
    settings = InferenceSettings(_env_file=None, data_dir=inference.folder / "data")
    rollouts, now = Rollouts(settings.rollouts_dir), datetime.now(UTC)
    rollouts.begin(
        Rollout(
            model=inference.model_name,
            version="2",
            previous="1",
            state=RolloutState.AWAITING_APPROVAL,
            started=now,
            until=now + timedelta(hours=1),
            minimum_rows=ROWS,
            approval="manual" if approval == "manual" else "automatic",
        )
    )
    return rollouts


@pytest.mark.parametrize("approval", ["automatic", "manual"])
def test_a_version_answers_its_rows_beside_the_champion_and_is_then_promoted_or_ready(
    inference: Inference, approval: str
) -> None:
    rollouts = wait_for_rows(inference, approval)
    quality = LocalProcess(
        "quality",
        (sys.executable, "-m", "src.services.quality.run_quality"),
        {
            "QUALITY_PORT": str(free_port()),
            "QUALITY_SECONDS": "1",
            "INFERENCE_URL": inference.url,
            "WRITE_API_KEY": KEY,
            "MODEL_NAME": inference.model_name,
            "PIPELINE_CONFIG": str(CONFIG_FILE),
        },
    )
    client = InferenceClient(inference.url)

    def record() -> Rollout:
        (found,) = rollouts.recent(inference.model_name, 1)
        return found

    def has_its_rows() -> bool:
        client.predict()
        return record().has_its_rows

    with (
        inference.serving(WRITE_API_KEY=KEY),
        running(quality, inference.folder / "quality.log", DATA_DIR=str(inference.folder / "data")),
    ):
        wait_until("version 2 has answered its rows", has_its_rows, seconds=120)
        if approval == "manual":
            compared = wait_until("a comparison", lambda: record().comparison)
            assert compared.rows > 0
            assert compared.agreement is not None
            assert record().state is RolloutState.AWAITING_APPROVAL
            assert inference.served() == "1"
        else:
            client.wait_for_version("2")
            wait_until("its watch has begun", lambda: record().state is RolloutState.WATCHING)
            assert str(record().decided_by).startswith("quality service, after ")
