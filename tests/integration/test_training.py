"""Whole training runs: run_pipeline.py against a real MLflow server and a real ZenML store, one after the other."""

import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import mlflow.artifacts
import mlflow.pyfunc
import pytest
from mlflow.entities import Run

from src.core.errors import InvalidModelError
from src.core.model_registry import verify_manifest
from src.core.retrain_record import RetrainRecord, Step
from src.core.training_baseline import read_baseline
from src.services.local.processes import REPOSITORY, LocalProcess
from src.training.compare_models import compare
from src.training.package_model import log_package
from src.training.registry import ModelRegistry
from tests.conftest import answers
from tests.support.inference_client import FLOWER
from tests.support.running import free_port, running, wait_until
from tests.support.training import (
    config,
    inexact_package,
    iris_parts,
    iris_split,
    last_line,
    run_training,
    training_environment,
    write_config,
)
from tests.support.training_world import TrainingWorld

pytestmark = pytest.mark.integration

# The MLflow server is shared with other tests.
NAME = "iris's training, 100 % ü"
PROCESS_LINE = re.compile(r"\d\d:\d\d:\d\d (INFO   |WARNING|ERROR  ) train-model: ")


@dataclass
class Outcome:
    """One run of run_pipeline.py, and the retrain request it served."""

    process: subprocess.CompletedProcess[str]
    record: RetrainRecord


class World(TrainingWorld):
    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.client, NAME)

    def train(self, **environment: str) -> Outcome:
        request_id = self.spool.submit("api").id
        self.spool.claim()
        process = run_training(self.folder, self.mlflow_url, **self.environment, **environment)
        record = self.spool.get(request_id)
        assert record is not None
        return Outcome(process, record)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(NAME, version).tags)

    def run_of(self, version: str) -> Run:
        return self.client.get_run(self.client.get_model_version(NAME, version).run_id)

    def store(self, query: str) -> list[tuple[str, ...]]:
        """Ask ZenML's store."""
        with sqlite3.connect(self.folder / "local/zenml/local_stores/default_zen_store/zenml.db") as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> World:
    mlflow.set_tracking_uri(mlflow_url)
    return World(tmp_path_factory.mktemp("training"), mlflow_url, NAME)


@pytest.fixture(scope="module")
def first(world: World) -> Outcome:
    # What a run against a ZenML server leaves behind must not lead a local one there.
    state = world.folder / "local/zenml/config.yaml"
    state.parent.mkdir(parents=True)
    state.write_text(f"version: 0.98.0\nstore:\n  type: rest\n  url: http://127.0.0.1:{free_port()}\n")
    outcome = world.train()
    assert outcome.process.returncode == 0, outcome.process.stderr
    return outcome


@pytest.fixture(scope="module")
def second(world: World, first: Outcome) -> Outcome:
    assert first.process.returncode == 0
    outcome = world.train()
    assert outcome.process.returncode == 0, outcome.process.stderr
    return outcome


def test_first_run_is_promoted_and_says_so_in_its_own_lines_only(world: World, first: Outcome) -> None:
    assert world.aliases() == {"best": "1", "challenger": "1", "champion": "1"}
    lines = first.process.stderr.splitlines()
    assert [line for line in lines if not PROCESS_LINE.match(line)] == []
    assert [line for line in lines if "WARNING" in line] == []
    assert f"ZenML store: local SQLite in {world.folder}/local/zenml" in lines[0]
    assert "promoted: version 1; f1_macro" in lines[-1]
    assert all(phase in lines[-2] for phase in ("imports", "connect", "preprocess", "train.register", "promote"))
    assert first.process.stdout == ""


def test_first_run_ends_its_request_with_the_outcome(world: World, first: Outcome) -> None:
    assert (world.folder / "retrain/done" / f"{first.record.id}.json").exists()
    result = first.record.result
    assert result is not None
    assert (result.outcome, result.model_version, result.champion) == ("promoted", "1", None)
    run = world.run_of("1")
    assert result.mlflow_run_id == run.info.run_id
    assert result.challenger is not None
    assert result.challenger.items() <= run.data.metrics.items()


def test_first_run_records_how_many_rows_it_has_read(world: World, first: Outcome) -> None:
    baseline = read_baseline(world.folder / "retrain", NAME)
    assert baseline is not None
    assert (baseline.version, baseline.rows) == ("1", {"iris": 150})
    result = first.record.result
    assert result is not None
    assert first.record.submitted_at <= baseline.started_at < result.finished_at


def test_first_run_tells_how_long_each_step_took_within_the_time_that_zenml_saw(world: World, first: Outcome) -> None:
    steps = world.store("SELECT name, (julianday(end_time) - julianday(start_time)) * 86400 FROM step_run")
    recorded = {name: float(seconds) for name, seconds in steps}
    assert set(recorded) == set(Step)
    assert first.record.result is not None
    told = first.record.result.step_seconds
    assert told is not None
    assert set(told) == set(Step)
    assert all(0 < seconds <= recorded[step] for step, seconds in told.items())


def test_first_run_records_cause_scores_and_pictures_in_mlflow(world: World, first: Outcome) -> None:
    run = world.run_of("1")
    assert run.info.status == "FINISHED"
    digest = (world.folder / f"{NAME}_preprocessed.csv.sha256").read_text().split()[0]
    expected = {
        "gate.verdict": "promoted",
        "retrain.request_ids": first.record.id,
        "data.sha256": digest,
        "onnx.parity": "passed",
    }
    assert run.data.tags | expected == run.data.tags
    assert world.tags("1") | expected == world.tags("1")
    params = run.data.params
    assert (params["estimator"], params["estimator.n_estimators"]) == ("RandomForestClassifier", "100")
    assert params["estimator.criterion"] == "gini"  # a default
    assert (params["dataset.source"], params["split.by"], params["gate.metric"]) == ("iris", "hash", "f1_macro")
    files = {file.path for file in world.client.list_artifacts(run.info.run_id)}
    assert {"confusion_matrix.png", "feature_importance.png", "classification_report.json"} <= files
    assert {used.dataset.name for used in run.inputs.dataset_inputs} == {"iris training", "iris holdout"}


def test_first_run_links_zenml_and_mlflow(world: World, first: Outcome) -> None:
    assert first.process.returncode == 0
    run = world.run_of("1")
    identifier = UUID(run.data.tags["zenml.run_id"]).hex
    assert world.store(f"select status from pipeline_run where id = '{identifier}'") == [("completed",)]  # noqa: S608 - ours
    linked = world.store("select distinct value from run_metadata where key = 'mlflow_run_id'")
    assert (f'"{run.info.run_id}"',) in linked
    pages = world.store("select distinct value from run_metadata where key = 'mlflow_run'")
    assert any(f"/runs/{run.info.run_id}" in page for (page,) in pages)


def test_training_rows_of_a_version_are_found_in_zenml(world: World, first: Outcome) -> None:
    assert first.process.returncode == 0
    code = (
        "import os, sys; from src.core.settings import load_settings;"
        "from src.core.training_settings import TrainSettings;"
        "from src.training.zenml_connection import prepare_environment;"
        "prepare_environment(load_settings(TrainSettings), os.environ);"
        "from zenml.utils.source_utils import set_custom_source_root; set_custom_source_root(os.getcwd());"
        "from src.training.seen_rows import training_rows_of;"
        "print(training_rows_of(sys.argv[1]).to_csv(index=False), end='')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, world.tags("1")["zenml.run_id"]],
        cwd=REPOSITORY,
        env=training_environment(world.folder, world.mlflow_url),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == iris_parts()[0].to_csv(index=False)


def test_registered_model_answers_through_mlflow_and_fails_on_a_changed_byte(
    world: World, first: Outcome, tmp_path: Path
) -> None:
    assert first.process.returncode == 0
    directory = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path)))
    holdout = iris_parts()[1]
    labels = mlflow.pyfunc.load_model(str(directory)).predict(holdout.drop(columns="species"))
    assert (labels == holdout["species"].to_numpy()).mean() > 0.85
    # MLflow's own client writes this one beside what it downloads.
    (directory / "registered_model_meta").unlink(missing_ok=True)
    digest = world.tags("1")["manifest.sha256"]
    verify_manifest(directory, digest, ("MLmodel", "model.onnx", "golden_rows.json", "drift_reference.json"))
    with (directory / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidModelError, match=r"model\.onnx differs"):
        verify_manifest(directory, digest, ())


def test_registered_model_is_served_by_mlflow(world: World, first: Outcome, tmp_path: Path) -> None:
    assert first.process.returncode == 0
    port, body = free_port(), {"dataframe_records": [FLOWER]}
    server = LocalProcess(
        "serve",
        (
            *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@champion"),
            *("--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"),
        ),
        {"PYTHONWARNINGS": "ignore"},
    )
    environment = training_environment(world.folder, world.mlflow_url)
    # MLflow starts uvicorn by its name, as it finds it in an activated environment.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with running(server, tmp_path / "serve.log", **environment):
        url = f"http://127.0.0.1:{port}"
        wait_until("mlflow models serve answers", lambda: answers(f"{url}/ping"), seconds=120)
        answer = httpx.post(f"{url}/invocations", json=body, timeout=30)
    assert answer.json() == {"predictions": ["setosa"]}


def test_second_run_on_unchanged_data_trains_again_and_is_promoted(
    world: World, first: Outcome, second: Outcome
) -> None:
    assert world.aliases() == {"best": "2", "challenger": "2", "champion": "2", "previous": "1"}
    assert "champion version 1 has" in world.tags("2")["gate.reason"]
    assert "rows that neither was trained on" in world.tags("2")["gate.reason"]
    assert world.tags("2")["data.sha256"] == world.tags("1")["data.sha256"]
    assert world.run_of("2").info.run_id != world.run_of("1").info.run_id
    assert world.run_of("2").data.metrics["champion_f1_macro"] == world.run_of("1").data.metrics["f1_macro"]
    assert second.record.result is not None
    assert first.record.result is not None
    assert second.record.result.champion == first.record.result.challenger


def test_run_below_the_floor_is_rejected_and_changes_nothing_served(
    world: World, first: Outcome, tmp_path: Path
) -> None:
    assert first.process.returncode == 0
    before = world.aliases()
    rejected = world.train(PIPELINE_CONFIG=str(write_config(tmp_path / "p.yaml", gate={"floor": 0.99})))
    assert rejected.process.returncode == 0, rejected.process.stderr
    assert "is below the floor 0.99" in last_line(rejected.process)
    newest = world.aliases()["challenger"]
    assert world.aliases() == before | {"challenger": newest}
    assert newest != before["challenger"]
    assert world.tags(newest)["gate.verdict"] == "rejected"
    assert rejected.record.result is not None
    assert rejected.record.result.outcome == "rejected"


def test_champion_that_is_not_what_was_registered_is_told_and_does_not_block(world: World, second: Outcome) -> None:
    assert second.process.returncode == 0
    champion = world.aliases()["champion"]
    digest = world.tags(champion)["manifest.sha256"]
    world.client.set_model_version_tag(NAME, champion, "manifest.sha256", "0" * 64)
    try:
        challenger = next(version for version in ("1", "2") if version != champion)
        comparison = compare(world.registry, challenger, iris_split(), config(), {})[1]
    finally:
        world.client.set_model_version_tag(NAME, champion, "manifest.sha256", digest)
    assert (comparison.champion, comparison.champion_version) == (None, champion)
    assert "manifest.json is missing or not the one that was registered" in (comparison.champion_problem or "")


def test_model_without_onnx_is_registered_and_scored_by_the_gate(world: World, first: Outcome) -> None:
    assert first.process.returncode == 0
    holdout = iris_parts()[1]
    with mlflow.start_run(experiment_id=world.run_of("1").info.experiment_id):
        version, digest = log_package(inexact_package(), f"{NAME}-inexact")
    registry = ModelRegistry(world.client, f"{NAME}-inexact")
    registry.tag(version, {"manifest.sha256": digest})
    registry.set_alias("champion", version)
    evaluation, comparison = compare(registry, version, iris_split(), config(), {})
    assert registry.fetch(version).engine.name == "pyfunc"
    expected = inexact_package().model.score(holdout.drop(columns="species"), holdout["species"])
    assert evaluation.scores["accuracy"] == pytest.approx(expected)
    assert comparison.champion == evaluation.scores


def test_bad_data_end_the_request_with_one_clear_line(world: World, tmp_path: Path) -> None:
    data = tmp_path / "bad.csv"
    iris_parts()[0].assign(sepal_width=-1).to_csv(data, index=False)
    os.utime(data, (1e9, 1e9))  # a training waits for a file that has just changed
    settings = write_config(tmp_path / "p.yaml", dataset={"source": str(data)})
    failed = world.train(PIPELINE_CONFIG=str(settings))
    assert failed.process.returncode == 2
    assert [line for line in failed.process.stderr.splitlines() if not PROCESS_LINE.match(line)] == []
    assert f"sepal_width: outside 0.1 to 20: {len(iris_parts()[0])} rows" in last_line(failed.process)
    assert failed.record.result is not None
    assert failed.record.result.outcome == "failed"


def test_wrong_zenml_server_is_one_clear_line(world: World) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    failed = world.train(ZENML_STORE_URL=nobody, ZENML_STORE_API_KEY="ZENKEY_secret", SERVER_PATIENCE_SECONDS="0")
    assert failed.process.returncode == 1
    assert len(failed.process.stderr.splitlines()) == 2
    assert f"ZenML server at {nobody} cannot be reached" in last_line(failed.process)
    assert "ZENKEY_secret" not in failed.process.stderr


def test_sigterm_ends_a_run_at_once_and_keeps_its_request_claimed(world: World, tmp_path: Path) -> None:
    request_id = world.spool.submit("api").id
    world.spool.claim()
    log = tmp_path / "train.log"
    training = LocalProcess("train", (sys.executable, "run_pipeline.py"), world.environment)
    environment = training_environment(world.folder, world.mlflow_url)
    with running(training, log, **environment) as child:
        wait_until("the training step runs", lambda: "train-model: train …" in log.read_text(), seconds=120)
        child.terminate()
        assert child.wait(timeout=3) == 143
    assert "stopped by SIGTERM" in log.read_text().splitlines()[-1]
    record = world.spool.get(request_id)
    assert record is not None
    assert record.result is None
    assert (world.folder / "retrain/cur" / f"{request_id}.json").exists()


def test_next_run_ends_what_a_killed_one_left_running(world: World, tmp_path: Path) -> None:
    experiment = world.client.get_experiment_by_name(NAME)
    assert experiment is not None

    def statuses() -> list[str]:
        return [run.info.status for run in world.client.search_runs([experiment.experiment_id])]

    log = tmp_path / "train.log"
    training = LocalProcess("train", (sys.executable, "run_pipeline.py"), world.environment)
    with running(training, log, **training_environment(world.folder, world.mlflow_url)) as child:
        wait_until("the training step runs", lambda: "train-model: train …" in log.read_text(), seconds=120)
        wait_until("MLflow knows of the run", lambda: "RUNNING" in statuses())
        child.kill()
    somebody_elses = world.client.create_run(experiment.experiment_id).info.run_id
    outcome = world.train()
    assert outcome.process.returncode == 0, outcome.process.stderr
    running_still = world.client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    assert [run.info.run_id for run in running_still] == [somebody_elses]
    assert "KILLED" in statuses()
    for table in ("pipeline_run", "step_run"):
        assert world.store(f"SELECT name FROM {table} WHERE status = 'running'") == []  # noqa: S608 - two constants
    assert "which a killed training had left running" in outcome.process.stderr


def test_login_in_the_mlflow_url_is_in_no_log_record_or_component(world: World) -> None:
    # MLflow here asks for no login, so that it takes any.
    url = world.mlflow_url.replace("http://", "http://me:s3cret@")
    process = run_training(world.folder, url, **world.environment)
    assert process.returncode == 0, process.stderr
    assert "s3cret" not in process.stderr
    assert "s3cret" not in str(world.store("SELECT configuration FROM stack_component"))
