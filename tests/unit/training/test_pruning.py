"""What is deleted in MLflow and ZenML, in which order, and what is left because something kept needs it."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST

from src.core.calibration import Calibration, calibration_file, write_calibration
from src.core.errors import ConnectionFailedError
from src.core.training_settings import TrainSettings
from src.training import pruning
from src.training.pruning import Pruner

SETTINGS = TrainSettings(_env_file=None, model_name="wine", mlflow_tracking_uri="http://me:secret@mlflow:5000")
RUN = "00000000-0000-0000-0000-00000000000"


@dataclass
class FakeVersion:
    version: str
    source: str
    run_id: str
    tags: dict[str, str] = field(default_factory=dict)


def made(number: int, *, source: str | None = None, run: str | None = None) -> Any:
    version = str(number)
    return FakeVersion(version, source or f"models:/m-{version}", run or f"r{version}", {"zenml.run_id": RUN + version})


class World:
    """A registry and the clients of MLflow and ZenML, which record all deletions in order."""

    def __init__(self, *versions: Any) -> None:
        self.found = list(versions)
        self.zenml_runs: list[str] = []
        self.done: list[Any] = []
        self.missing: set[str] = set()
        self.stored = True

    # The registry.

    def versions(self) -> list[Any]:
        return sorted(self.found, key=lambda version: int(version.version), reverse=True)

    # MLflow's client.

    def get_logged_model(self, model_id: str) -> Any:
        self._require(model_id)
        return SimpleNamespace(artifact_location=f"mlflow-artifacts:/1/models/{model_id}/artifacts")

    def get_run(self, run_id: str) -> Any:
        self._require(run_id)
        return SimpleNamespace(info=SimpleNamespace(artifact_uri=f"mlflow-artifacts:/1/{run_id}/artifacts"))

    def delete_logged_model(self, model_id: str) -> None:
        self.done.append(model_id)

    def delete_model_version(self, name: str, version: str) -> None:
        self.done.append((name, version))

    def _require(self, name: str) -> None:
        if name in self.missing:
            raise MlflowException(f"{name} not found", RESOURCE_DOES_NOT_EXIST)

    def delete_artifacts(self, url: str, location: str) -> bool:
        assert url == SETTINGS.mlflow_url
        self.done.append(location)
        return self.stored

    # ZenML's client, and MLflow's once more: both delete runs.

    def delete_run(self, run_id: str) -> None:
        self.done.append(run_id)

    def list_artifact_versions(self, pipeline_run: str, page: int = 1) -> Any:
        assert pipeline_run == RUN + "1"
        return SimpleNamespace(items=[SimpleNamespace(id=f"artifact {page}")], index=page, total_pages=2)

    def delete_artifact_version(self, artifact: str, **how: bool) -> None:
        if how and artifact in self.missing:
            raise FileNotFoundError(artifact)
        self.done.append((artifact, "files" if how else "name"))
        assert how in ({}, {"delete_metadata": False, "delete_from_artifact_store": True})

    def delete_pipeline_run(self, run_id: UUID) -> None:
        self.done.append(run_id)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(made(1), made(2), made(3))

    def client(url: str) -> World:
        assert url == "http://mlflow:5000", "without its password, which the environment has"
        return world

    def runs_of_model(given: object, pipeline: str, model: str) -> list[Any]:
        assert (given, pipeline, model) == (world, "training", "wine")
        return [SimpleNamespace(id=run) for run in world.zenml_runs]

    monkeypatch.setattr(pruning, "MlflowClient", client)
    monkeypatch.setattr(
        pruning, "ModelRegistry", lambda given, name: world if (given, name) == (world, "wine") else None
    )
    monkeypatch.setattr(pruning, "Client", lambda: world)
    monkeypatch.setattr(pruning, "delete_artifacts", world.delete_artifacts)
    monkeypatch.setattr(pruning, "runs_of_model", runs_of_model)
    return world


def test_version_is_deleted_from_its_files_to_its_name(world: World) -> None:
    Pruner(SETTINGS).delete_version("2")
    model = ["mlflow-artifacts:/1/models/m-2/artifacts", "m-2"]
    assert world.done == [*model, "mlflow-artifacts:/1/r2/artifacts", "r2", ("wine", "2")]


def test_version_is_deleted_with_its_calibration(world: World, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"data_dir": tmp_path})
    for version in ("1", "2"):
        write_calibration(
            calibration_file(settings.calibration_dir, "wine", version), Calibration(rows=1, reason="few")
        )
    Pruner(settings).delete_version("2")
    assert world.done[-1] == ("wine", "2")
    assert [path.name for path in (settings.calibration_dir / "wine").iterdir()] == ["1.json"]


def test_model_and_run_that_another_version_needs_are_kept(world: World) -> None:
    world.found = [made(1), made(2, source="models:/m-1"), made(3, run="r1")]
    Pruner(SETTINGS).delete_version("1")
    assert world.done == [("wine", "1")]


def test_version_that_is_no_logged_model_loses_its_run_alone(world: World) -> None:
    world.found = [made(1, source="mlflow-artifacts:/1/r1/artifacts/model"), made(2)]
    Pruner(SETTINGS).delete_version("1")
    assert world.done == ["mlflow-artifacts:/1/r1/artifacts", "r1", ("wine", "1")]


def test_deletion_that_was_interrupted_is_completed(world: World) -> None:
    world.missing = {"m-2", "r2"}
    Pruner(SETTINGS).delete_version("2")
    assert world.done == [("wine", "2")]


def test_files_that_the_server_does_not_store_are_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.stored = False
    Pruner(SETTINGS).delete_version("2")
    assert world.done[-1] == ("wine", "2")
    assert "the MLflow server does not store the files at mlflow-artifacts:/1/models/m-2/artifacts" in caplog.text


@pytest.mark.parametrize(
    "error", [ConnectionFailedError("away"), MlflowException("oops", INTERNAL_ERROR), OSError("reset")]
)
def test_version_whose_files_cannot_be_deleted_stays(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: str) -> bool:
        raise error

    monkeypatch.setattr(pruning, "delete_artifacts", fail)
    Pruner(SETTINGS).delete_version("2")
    assert world.done == []
    assert "version 2 was not deleted completely" in caplog.text


def test_zenml_run_is_deleted_between_its_artifacts_files_and_names(world: World) -> None:
    Pruner(SETTINGS).delete_run(RUN + "1")
    files = [("artifact 1", "files"), ("artifact 2", "files")]
    assert world.done == [*files, UUID(RUN + "1"), ("artifact 1", "name"), ("artifact 2", "name")]


def test_zenml_run_whose_files_are_gone_already_is_deleted(world: World) -> None:
    world.missing = {"artifact 1"}
    Pruner(SETTINGS).delete_run(RUN + "1")
    assert world.done[:2] == [("artifact 2", "files"), UUID(RUN + "1")]


def test_zenml_run_that_cannot_be_deleted_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: UUID) -> None:
        raise KeyError("no such run")

    monkeypatch.setattr(world, "delete_pipeline_run", refuse)
    Pruner(SETTINGS).delete_run(RUN + "1")
    assert f"ZenML's run {RUN}1 was not deleted completely" in caplog.text
    assert ("artifact 1", "name") not in world.done


def test_runs_of_no_kept_version_are_those_from_the_newest_deleted_version_s_on(world: World) -> None:
    # Newest first; "x" and "y" failed before they registered a version.
    world.zenml_runs = ["z", RUN + "3", "y", RUN + "2", "x", RUN + "1", "w"]
    pruner, versions = Pruner(SETTINGS), world.versions()
    assert pruner.runs_without(versions, ["2"]) == [RUN + "2", "x", "w"]
    assert pruner.runs_without(versions, ["1"]) == [RUN + "1", "w"]
    assert pruner.runs_without(versions, ["1", "2"]) == [RUN + "2", "x", RUN + "1", "w"]
    assert pruner.runs_without(versions, []) == []


def test_run_that_an_interrupted_deletion_has_removed_does_not_hide_the_older_ones(world: World) -> None:
    world.zenml_runs = [RUN + "3", "y", RUN + "1", "w"]
    assert Pruner(SETTINGS).runs_without(world.versions(), ["2"]) == ["w"]
    world.zenml_runs = ["y"]
    assert Pruner(SETTINGS).runs_without(world.versions(), ["2"]) == []
