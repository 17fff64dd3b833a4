"""How earlier versions affect later runs, on a real MLflow server and ZenML store: best, skipped, retention."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from src.core.counting import counted
from src.core.retrain_record import RetrainRecord, RetrainResult, Source
from src.services.local.processes import REPOSITORY
from tests.support.training import last_line, run_training, training_environment, write_config
from tests.support.training_world import TrainingWorld

pytestmark = pytest.mark.integration

NAME = "iris-history-test"


class World(TrainingWorld):
    def train(
        self, source: Source = "api", **environment: str
    ) -> tuple[RetrainRecord, subprocess.CompletedProcess[str]]:
        """Train for one request, as the monitor does."""
        request_id = self.spool.submit(source).id
        (record,) = self.spool.claim()
        self.spool.update(record.model_copy(update={"attempts": 1, "started_at": datetime.now(UTC)}))
        process = run_training(self.folder, self.mlflow_url, **self.environment, **environment)
        ended = self.spool.get(request_id)
        assert ended is not None
        assert process.returncode == 0, process.stderr
        assert "Traceback" not in process.stderr, process.stderr
        return ended, process

    def retention(self, *arguments: str, **environment: str) -> str:
        process = subprocess.run(
            [sys.executable, "-m", "src.training.retention", *arguments],
            cwd=REPOSITORY,
            env=training_environment(self.folder, self.mlflow_url) | self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert process.returncode == 0, process.stderr
        return last_line(process)

    def versions(self) -> set[str]:
        return {str(found.version) for found in self.client.search_model_versions(f"name = '{NAME}'")}

    def zenml_bytes(self) -> int:
        return size(self.folder / "local/zenml/artifacts")


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def files(location: str) -> list[str]:
    return sorted(item.path for item in mlflow.artifacts.list_artifacts(artifact_uri=location))


def result_of(record: RetrainRecord) -> RetrainResult:
    assert record.result is not None
    return record.result


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> World:
    mlflow.set_tracking_uri(mlflow_url)
    return World(tmp_path_factory.mktemp("history"), mlflow_url, NAME)


@pytest.fixture(scope="module")
def other_settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("config") / "other.yaml"
    return str(write_config(file, model={"n_estimators": 20, "min_samples_leaf": 2}, gate={"tolerance": 0.2}))


@pytest.fixture(scope="module")
def first(world: World) -> RetrainResult:
    return result_of(world.train()[0])


@pytest.fixture(scope="module")
def second(world: World, first: RetrainResult, other_settings: str) -> RetrainResult:
    assert first.model_version == "1"
    return result_of(world.train("schedule", PIPELINE_CONFIG=other_settings)[0])


@pytest.fixture(scope="module")
def repeated(world: World, second: RetrainResult, other_settings: str) -> RetrainResult:
    """The second training again, after its version was rolled back as serving does it."""
    assert second.model_version == "2"
    world.client.set_model_version_tag(NAME, "2", "rollback.at", datetime.now(UTC).isoformat(timespec="seconds"))
    world.client.set_model_version_tag(NAME, "2", "rollback.to", "1")
    world.client.set_registered_model_alias(NAME, "champion", "1")
    world.client.set_registered_model_alias(NAME, "previous", "2")
    return result_of(world.train(PIPELINE_CONFIG=other_settings)[0])


def test_first_version_is_the_best_so_far(world: World, first: RetrainResult) -> None:
    assert first.outcome == "promoted"
    assert world.aliases() == {"champion": "1", "challenger": "1", "best": "1"}
    assert len(world.client.get_model_version(NAME, "1").tags["training.fingerprint"]) == 64


@pytest.mark.parametrize("source", ["schedule", "alert"])
def test_request_without_a_person_is_skipped_where_nothing_is_new(
    world: World, first: RetrainResult, source: Source
) -> None:
    record, process = world.train(source)
    skipped = result_of(record)
    assert (skipped.outcome, skipped.model_version) == ("skipped", None)
    known = f"nothing new to learn from since version {first.model_version} (promoted, trained 20"
    assert skipped.reason.startswith(known)
    assert "loading ZenML" not in process.stderr
    assert last_line(process).endswith(skipped.reason)
    assert world.versions() == {"1"}


def test_other_settings_are_new_to_a_schedule(world: World, second: RetrainResult) -> None:
    assert (second.outcome, second.model_version) == ("promoted", "2"), second.reason
    assert world.aliases()["champion"] == "2"
    assert world.aliases()["previous"] == "1"
    assert "pending.previous" not in world.client.get_model_version(NAME, "2").tags


def test_version_that_was_rolled_back_does_not_return_by_the_same_training(
    world: World, repeated: RetrainResult
) -> None:
    assert (repeated.outcome, repeated.model_version) == ("rejected", "3")
    assert "has the same data, settings and code as version 2, which was rolled back" in repeated.reason
    assert world.aliases()["champion"] == "1"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_config(tmp_path_factory.mktemp("config") / "short.yaml", retention={"versions": 1}))


def test_retention_lists_what_a_training_then_deletes(world: World, repeated: RetrainResult, short: str) -> None:
    assert repeated.model_version == "3"
    client = world.client
    client.delete_registered_model_alias(NAME, "challenger")
    client.delete_registered_model_alias(NAME, "previous")
    client.set_registered_model_alias(NAME, "best", "1")
    found = {version: client.get_model_version(NAME, version) for version in ("1", "2", "3")}
    models = {version: client.get_logged_model(found[version].source.removeprefix("models:/")) for version in found}
    listings = {version: files(models[version].artifact_location) for version in found}
    assert all(listings.values())
    before = world.zenml_bytes()
    # Version 1 has aliases; version 3 is the newest of the others.
    listed = world.retention(PIPELINE_CONFIG=short)
    assert "would delete (use --apply to delete) 1 model version with files and MLflow run (2); 1 ZenML run " in listed
    assert (world.versions(), world.zenml_bytes()) == ({"1", "2", "3"}, before)

    _, process = world.train(PIPELINE_CONFIG=short)
    deleted = next(line for line in process.stderr.splitlines() if "retention: deleted" in line)
    assert deleted.partition("version")[2] == listed.partition("version")[2]
    assert world.versions() == {"1", "3", "4"}
    run = client.get_run(found["2"].run_id).info
    assert (run.lifecycle_stage, files(run.artifact_uri), files(models["2"].artifact_location)) == ("deleted", [], [])
    with pytest.raises(MlflowException, match="not found"):
        client.get_logged_model(models["2"].model_id)
    for version in ("1", "3"):
        assert files(models[version].artifact_location) == listings[version]
        assert client.get_run(found[version].run_id).info.lifecycle_stage == "active"
    # Each training has stored about the same: one was deleted and one was added.
    assert world.zenml_bytes() == pytest.approx(before, rel=0.2)


def test_retention_as_a_program_deletes_on_demand(world: World, repeated: RetrainResult, short: str) -> None:
    assert repeated.model_version == "3"
    for alias in ("previous", "best"):
        with contextlib.suppress(MlflowException):
            world.client.delete_registered_model_alias(NAME, alias)
    aliased = set(world.aliases().values())
    free = sorted(world.versions() - aliased)
    before = world.zenml_bytes()
    assert f"deleted {counted(len(free) - 1, 'model version')}" in world.retention("--apply", PIPELINE_CONFIG=short)
    assert world.versions() == aliased | {free[-1]}
    assert world.zenml_bytes() < before
    assert "deleted 0 model versions" in world.retention("--apply", PIPELINE_CONFIG=short)
