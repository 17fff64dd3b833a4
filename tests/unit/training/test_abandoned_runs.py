"""Only runs of a killed training of this account and this model are ended in ZenML and MLflow."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from src.core.training_settings import TrainSettings
from src.training import abandoned_runs
from src.training.abandoned_runs import end_abandoned_runs, runs_of_model

SETTINGS = TrainSettings(_env_file=None, model_name="wine", mlflow_experiment="wine-training")


def step(number: int, *, finished: bool) -> SimpleNamespace:
    return SimpleNamespace(id=f"step {number}", status=SimpleNamespace(is_finished=finished))


def zenml_run(name: str, model: str | None, **steps: SimpleNamespace) -> SimpleNamespace:
    parameters = None if model is None else {"model_name": model}
    return SimpleNamespace(id=f"id of {name}", name=name, config=SimpleNamespace(parameters=parameters), steps=steps)


@dataclass
class FakeZenml:
    """Returns two pages of runs and records updates."""

    pages: list[list[SimpleNamespace]]
    asked: list[dict[str, Any]] = field(default_factory=list)
    updated: list[tuple[str, str]] = field(default_factory=list)

    @property
    def active_user(self) -> SimpleNamespace:
        return SimpleNamespace(id="me")

    @property
    def zen_store(self) -> "FakeZenml":
        return self

    def list_pipeline_runs(self, page: int = 1, **filters: Any) -> SimpleNamespace:
        self.asked.append(filters)
        return SimpleNamespace(items=self.pages[page - 1], index=page, total_pages=len(self.pages))

    def update_run(self, run_id: str, update: Any) -> None:
        self.updated.append((run_id, update.status.value))

    def update_run_step(self, step_id: str, update: Any) -> None:
        self.updated.append((step_id, update.status.value))


@dataclass
class FakeMlflow:
    """Has running runs of several names."""

    names: list[str]
    ended: list[tuple[str, str]] = field(default_factory=list)

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id="7") if name == "wine-training" else None

    def search_runs(self, experiments: list[str], filter_string: str) -> list[SimpleNamespace]:
        assert (experiments, filter_string) == (["7"], "attributes.status = 'RUNNING'")
        return [SimpleNamespace(info=SimpleNamespace(run_id=f"id of {name}", run_name=name)) for name in self.names]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.ended.append((run_id, status))


def end(monkeypatch: pytest.MonkeyPatch, zenml: FakeZenml, mlflow: FakeMlflow, settings: TrainSettings) -> None:
    monkeypatch.setattr(abandoned_runs, "Client", lambda: zenml)
    monkeypatch.setattr(abandoned_runs, "MlflowClient", lambda: mlflow)
    end_abandoned_runs(settings, "training")


def test_only_runs_of_this_model_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = zenml_run("mine", "wine", split=step(1, finished=True), train=step(2, finished=False))
    other, old = zenml_run("other", "iris", train=step(3, finished=False)), zenml_run("old", None)
    second = zenml_run("second", "wine")
    zenml, mlflow = FakeZenml([[other, mine], [old, second]]), FakeMlflow(["mine", "other", "a person's"])
    end(monkeypatch, zenml, mlflow, SETTINGS)
    assert zenml.updated == [("step 2", "failed"), ("id of mine", "failed"), ("id of second", "failed")]
    assert mlflow.ended == [("id of mine", "KILLED")]
    assert zenml.asked[0] == {"pipeline": "training", "user": "me", "status": "running", "hydrate": True}


def test_without_an_abandoned_run_mlflow_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = FakeMlflow(["other"])
    end(monkeypatch, FakeZenml([[zenml_run("other", "iris")]]), mlflow, SETTINGS)
    assert mlflow.ended == []


def test_missing_experiment_has_no_runs_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = FakeMlflow(["mine"])
    settings = SETTINGS.model_copy(update={"mlflow_experiment": "none"})
    end(monkeypatch, FakeZenml([[zenml_run("mine", "wine")]]), mlflow, settings)
    assert mlflow.ended == []


def test_runs_of_a_model_are_those_on_every_page() -> None:
    zenml: Any = FakeZenml([[zenml_run("a", "wine"), zenml_run("b", "iris")], [zenml_run("c", "wine")]])
    assert [run.name for run in runs_of_model(zenml, "training", "wine")] == ["a", "c"]
    assert zenml.asked[0] == {"pipeline": "training", "user": "me", "hydrate": True}
