"""A version that needs an approval, on a real MLflow server: it waits, and is approved as docs/approval.md says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import mlflow
import pytest
import yaml

from src.core.gate_config import GateConfig
from src.core.retrain_record import RetrainRecord, Source
from src.core.rollout_record import RolloutState
from src.core.rollouts import Rollouts
from src.services.local.processes import REPOSITORY
from tests.support.inference_process import Inference
from tests.support.readme import on_ports
from tests.support.training import run_training, write_config
from tests.support.training_world import TrainingWorld

pytestmark = pytest.mark.integration

NAME = "iris-approval-test"
PAGE = (REPOSITORY / "docs" / "approval.md").read_text(encoding="utf-8")
LISTING, APPROVING, REJECTING = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.M)
(SWITCH,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.M)


class World(TrainingWorld):
    def train(self, source: Source = "api", **environment: str) -> RetrainRecord:
        """Train for one request, as the monitor does."""
        request_id = self.spool.submit(source).id
        (record,) = self.spool.claim()
        self.spool.update(record.model_copy(update={"attempts": 1, "started_at": datetime.now(UTC)}))
        process = run_training(self.folder, self.mlflow_url, **self.environment, **environment)
        assert process.returncode == 0, process.stderr
        ended = self.spool.get(request_id)
        assert ended is not None
        return ended


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> World:
    mlflow.set_tracking_uri(mlflow_url)
    folder = tmp_path_factory.mktemp("approval") / "data"
    folder.mkdir()
    return World(folder, mlflow_url, NAME)


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("config") / "manual.yaml"
    model = {"n_estimators": 20, "min_samples_leaf": 2}
    return str(write_config(file, model=model, gate={"tolerance": 0.2, "approval": "manual"}))


@pytest.fixture(scope="module")
def inference(world: World) -> Iterator[Inference]:
    service = Inference(world.folder.parent, world.mlflow_url, NAME)
    assert world.train().state == "promoted"
    with service.serving():
        yield service


def run(inference: Inference, command: str) -> Any:
    script = on_ports(command, {"8000": inference.port})
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_version_waits_is_approved_as_documented_and_served(world: World, inference: Inference, manual: str) -> None:
    record = world.train(PIPELINE_CONFIG=manual)
    assert (record.state, record.result and record.result.model_version) == ("passed", "2")
    assert world.aliases() == {"champion": "1", "challenger": "2", "best": "1"}
    assert world.client.get_model_version(NAME, "2").tags["gate.verdict"] == "passed"
    (waiting,) = run(inference, LISTING)["rollouts"]
    assert (waiting["version"], waiting["previous"], waiting["state"]) == ("2", "1", "awaiting_approval")
    assert waiting["challenger"].keys() == waiting["champion"].keys() >= {"f1_macro"}

    again = world.train("schedule", PIPELINE_CONFIG=manual)
    assert again.state == "skipped"
    assert again.result is not None
    assert "since version 2 (passed the gate" in again.result.reason

    approved = run(inference, APPROVING)
    assert (approved["served"], approved["rollout"]["state"]) == ("2", "watching")
    assert approved["rollout"]["decision_reason"] == "reviewed"
    assert inference.predict()["model"]["version"] == "2"
    aliases = world.aliases()
    assert (aliases["champion"], aliases["previous"]) == ("2", "1")
    tags = world.client.get_model_version(NAME, "2").tags
    assert tags["gate.verdict"] == "promoted"
    assert "pending.previous" not in tags
    watched = Rollouts(world.folder / "quality" / "rollouts").watched(NAME)
    assert (watched and watched.version) == "2"


def test_version_is_rejected_as_documented_and_the_champion_stays(
    world: World, inference: Inference, manual: str
) -> None:
    before = world.aliases()["champion"]
    record = world.train(PIPELINE_CONFIG=manual)
    assert record.state == "passed"
    rejected = run(inference, APPROVING.splitlines()[0] + "\n" + REJECTING)
    assert (rejected["rollout"]["state"], rejected["rollout"]["reason"]) == ("aborted", "too few rows")
    assert world.aliases()["champion"] == before
    version = str(rejected["rollout"]["version"])
    assert world.client.get_model_version(NAME, version).tags["gate.verdict"] == "rejected"


def test_setting_of_the_page_switches_it_on() -> None:
    gate = yaml.safe_load(SWITCH)["gate"]
    assert GateConfig(metric="accuracy", tolerance=0.0, **gate).approval == "manual"


def test_states_of_the_page_are_those_of_a_version_that_needs_an_approval() -> None:
    table = PAGE.partition("## What happens to a version")[2].partition("At most one")[0]
    named = set(re.findall(r"`([a-z_]+)`", table)) - {"started", "by", "reason"}
    assert named == set(RolloutState)


def test_links_of_the_page_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", PAGE)
    assert links
    assert all((REPOSITORY / "docs" / link).exists() for link in links)
