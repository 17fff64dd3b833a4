from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Step, new_id
from src.services.inference.page.history import History, Run, history
from src.services.inference.page.links import Links
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LINKS = Links("http://mlflow:5000", None, None)


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="2", manifest_sha256=digest), "cache")


def record(**fields: Any) -> RetrainRecord:
    submitted = NOW - timedelta(minutes=5)
    return RetrainRecord(**{"id": new_id(), "source": "api", "submitted_at": submitted} | fields)


def result(outcome: Outcome, **fields: Any) -> RetrainResult:
    return RetrainResult(**{"outcome": outcome, "reason": "because", "finished_at": NOW} | fields)


def only(record: RetrainRecord, current: Predictor | None = None) -> Run:
    (run,) = history([record], current, "iris", LINKS, NOW).runs
    return run


def test_waiting_request_has_come_one_step() -> None:
    run = only(record())
    assert (run.state, run.steps, run.is_open, run.took, run.reason) == ("queued", ["queued"], True, None, None)
    assert (run.asked, run.requested and run.requested.shown) == ("on request", "5 min ago")


def test_running_request_reports_for_how_long_and_its_last_error() -> None:
    run = only(record(attempts=2, started_at=NOW - timedelta(seconds=13), last_error="it died"))
    assert (run.steps, run.is_open, run.took) == (["queued", "running"], True, "10 s")
    assert (run.attempts, run.reason) == (2, "it died")


@pytest.mark.parametrize(
    ("fields", "doing"),
    [
        ({}, "starting"),
        ({"progress": "loading"}, "loading"),
        ({"step": Step.PREPROCESS}, "step 1 of 5: preprocess"),
        ({"step": Step.TRAIN, "progress": "search: 1 of 9 candidates scored"}, "step 3 of 5: train; search: 1 of 9 "),
        ({"step": Step.EVALUATE}, "step 4 of 5: evaluate on holdout"),
    ],
)
def test_running_request_shows_its_step(fields: dict[str, Any], doing: str) -> None:
    run = only(record(attempts=1, started_at=NOW, **fields))
    assert run.doing is not None
    assert run.doing.startswith(doing)


def test_request_that_waits_or_has_ended_shows_no_step() -> None:
    assert only(record()).doing is None
    assert only(record(attempts=1, result=result(Outcome.PROMOTED))).doing is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_ended_request_reports_the_verdict(outcome: Outcome) -> None:
    ended = record(attempts=1, started_at=NOW - timedelta(seconds=90), result=result(outcome))
    run = only(ended)
    assert (run.steps, run.is_open) == (["queued", "running", outcome.value], False)
    assert (run.took, run.reason) == ("1 min", "because")


def test_version_is_linked_and_reported_when_it_serves(predictor: Predictor) -> None:
    made = record(attempts=1, result=result(Outcome.PROMOTED, model_version="2", mlflow_run_id="r/1"))
    run = only(made, predictor)
    assert (run.version, run.served) == ("2", True)
    assert run.version_link == "http://mlflow:5000/#/models/iris/versions/2"
    assert run.run_link == "http://mlflow:5000/#/runs/r%2F1"
    assert not only(made).served
    assert not only(record(attempts=1, result=result(Outcome.FAILED))).served
    assert not only(record(attempts=1, result=result(Outcome.FAILED)), predictor).served


def test_version_of_another_model_is_reported_as_such_and_neither_serves_nor_was_rolled_back(
    predictor: Predictor,
) -> None:
    made = record(attempts=1, result=result(Outcome.PROMOTED, model_name="wine", model_version="2"))
    (run,) = history([made], predictor, "iris", LINKS, NOW).marking({"2"}).runs
    assert (run.other_model, run.served, run.taken_back) == ("wine", False, False)
    assert run.version_link == "http://mlflow:5000/#/models/wine/versions/2"
    own = only(record(attempts=1, result=result(Outcome.PROMOTED, model_name="iris", model_version="2")), predictor)
    assert (own.other_model, own.served) == (None, True)


@pytest.mark.parametrize(
    ("source", "asked"),
    [("alert", "by an alert"), ("schedule", "by a schedule"), ("bootstrap", "as the first one")],
)
def test_source_is_reported_in_words(source: str, asked: str) -> None:
    assert only(record(source=source)).asked == asked


def test_history_moves_while_anything_is_open() -> None:
    ended = record(attempts=1, result=result(Outcome.FAILED))
    assert not history([ended], None, "iris", LINKS, NOW).is_moving
    assert history([ended, record()], None, "iris", LINKS, NOW).is_moving
    assert not History([], "no volume").is_moving


def test_version_that_was_rolled_back_is_marked() -> None:
    made = [record(attempts=1, result=result(Outcome.PROMOTED, model_version=number)) for number in ("3", "2")]
    told = history([*made, record()], None, "iris", LINKS, NOW).marking({"3"})
    assert [(run.version, run.taken_back) for run in told.runs] == [("3", True), ("2", False), (None, False)]
