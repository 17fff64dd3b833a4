"""The steps' own doing around the plain functions; the steps run whole in the integration tests."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from src.core.retrain_record import Outcome
from src.pipeline import pipeline as steps
from src.training import step_context
from src.training.fingerprint import fingerprint_of
from src.training.gate import Candidate, Comparison
from src.training.served_requests import ServedRequests
from tests.support.training import PERFECT, config, iris_rule, iris_split

CANDIDATE = Candidate(model_version="5", mlflow_run_id="run", manifest_sha256="m", data_sha256="d")


class FakeRegistry:
    """A registry without a champion; writes down what is done."""

    name = "iris"

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}

    def version_of(self, alias: str) -> None:
        assert alias not in self.aliases

    def tag(self, version: str, tags: dict[str, str]) -> None:
        assert version == CANDIDATE.model_version
        assert tags

    def set_alias(self, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def fetch(self, version: str) -> None:
        assert (version, self.aliases) == ("5", {"best": "5", "champion": "5"})
        raise RuntimeError("the registry is away")


@pytest.mark.parametrize("twin", ["3", None])
def test_evaluation_says_whether_the_version_repeats_one_that_was_rolled_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, twin: str | None
) -> None:
    asked: list[tuple[object, str]] = []
    logged: list[Comparison] = []
    registry = FakeRegistry()

    def rolled_back_twin(given: object, fingerprint: str) -> str | None:
        asked.append((given, fingerprint))
        return twin

    monkeypatch.setattr(step_context, "log_metadata", lambda _: None)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    monkeypatch.setattr(steps, "compare", lambda *_: (None, Comparison(challenger=PERFECT)))
    monkeypatch.setattr(steps, "rolled_back_twin", rolled_back_twin)
    monkeypatch.setattr(steps, "log_evaluation", lambda _, comparison, __: logged.append(comparison))
    served = ServedRequests(retrain_dir=str(tmp_path))
    step = steps.evaluate_on_holdout.entrypoint
    comparison = step(CANDIDATE, iris_split().frame, iris_rule(), config(), "iris", served)
    assert comparison == Comparison(challenger=PERFECT, repeats=twin)
    assert logged == [comparison]
    assert asked == [(registry, fingerprint_of("d", config(), steps.CODE))]


def test_run_whose_model_is_champion_does_not_fail_because_zenml_cannot_note_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise RuntimeError("the server is away")

    registry = FakeRegistry()
    monkeypatch.setattr(step_context, "log_metadata", refuse)
    monkeypatch.setattr(steps, "MlflowClient", lambda: None)
    monkeypatch.setattr(steps, "ModelRegistry", lambda *_: registry)
    monkeypatch.setattr(mlflow, "set_tags", lambda _: None)
    comparison = Comparison(challenger=PERFECT, champion=None, champion_version=None)
    lock = str(tmp_path / "aliases.lock")
    verdict = steps.promote.entrypoint(CANDIDATE, comparison, pd.DataFrame(), config(), "iris", lock)
    assert verdict.outcome is Outcome.PROMOTED
    assert registry.aliases == {"best": "5", "champion": "5"}
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "could not record mlflow_run_id, model_version in ZenML: the server is away",
        "the importance of the columns was not recorded: the registry is away",
        "could not record step_seconds in ZenML: the server is away",
    ]
