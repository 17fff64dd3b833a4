import math
import re
from datetime import timedelta, timezone
from typing import Any

import pytest

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Step, new_id
from src.services.inference.page.rendering import ago, score, utc
from src.serving.models.model_version import Aliases, RegisteredVersion
from src.serving.models.predictor import Predictor
from tests.support.page_text import NOW, text_of, watched


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((-5, "just now"), (59.9, "just now"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago")),
        *((86399, "23 h ago"), (86400, "1 d ago"), (400 * 86400, "400 d ago")),
    ],
)
def test_time_is_shown_in_its_largest_unit(seconds: float, shown: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == shown


def test_time_is_shown_in_utc() -> None:
    assert utc(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-11-24 12:00:00 UTC"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.91234, "0.9123"), (99.99, "99.9900"), (-100, "-100"), (1234.5678, "1234.6"), (None, "—"), (math.nan, "—")],
)
def test_score_has_the_gates_decimals(value: float | None, shown: str) -> None:
    assert score(value) == shown


def record(**fields: Any) -> RetrainRecord:
    submitted = NOW - timedelta(minutes=5)
    return RetrainRecord(**{"id": new_id(), "source": "api", "submitted_at": submitted} | fields)


def result(outcome: Outcome, **fields: Any) -> RetrainResult:
    return RetrainResult(**{"outcome": outcome, "reason": "because", "finished_at": NOW} | fields)


def markup_of(record: RetrainRecord, served: Predictor | None = None, rolled_back: str | None = None) -> str:
    """The request on the page of a service whose champion replaced a version by a rollback."""
    tags: dict[str, Any] = {"run_id": None, "zenml_run_id": None, "registered_at": None, "scores": {}}
    former = RegisteredVersion(version=rolled_back, rolled_back_to="1", **tags) if rolled_back else None
    versions = Aliases(RegisteredVersion(version="1", **tags), None, former)
    return watched(requests=[record], model=served, versions=versions).partition('<ol class="runs">')[2]


def text(record: RetrainRecord, served: Predictor | None = None, rolled_back: str | None = None) -> str:
    return text_of(markup_of(record, served, rolled_back))


def test_waiting_request_has_come_one_step() -> None:
    assert text(record()) == "queued 5 min ago , on request"


@pytest.mark.parametrize(("seconds", "took"), [(4.9, "0 s"), (13, "10 s"), (60, "1 min"), (7205, "2 h"), (-3, "0 s")])
def test_running_request_reports_for_how_long_and_its_last_error(seconds: float, took: str) -> None:
    running = record(attempts=2, started_at=NOW - timedelta(seconds=seconds), last_error="it died")
    assert text(running) == f"queued running 5 min ago , on request, for {took}, attempt 2 starting it died"


@pytest.mark.parametrize(
    ("fields", "doing"),
    [
        ({}, "starting"),
        ({"progress": "loading"}, "loading"),
        ({"step": Step.PREPROCESS}, "step 1 of 5: preprocess"),
        ({"step": Step.TRAIN, "progress": "search: 1 of 9"}, "step 3 of 5: train; search: 1 of 9"),
        ({"step": Step.EVALUATE}, "step 4 of 5: evaluate on holdout"),
    ],
)
def test_running_request_shows_its_step(fields: dict[str, Any], doing: str) -> None:
    assert text(record(attempts=1, started_at=NOW, **fields)).endswith(f", for 0 s {doing}")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_ended_request_reports_the_verdict_and_no_step(outcome: Outcome) -> None:
    ended = record(attempts=1, started_at=NOW - timedelta(seconds=90), result=result(outcome), last_error="before")
    assert text(ended) == f"queued running {outcome} 5 min ago , on request, took 1 min because"
    assert re.findall('class="tag (.*?)"', markup_of(ended)) == ["past", "past", outcome]


def test_version_is_linked_and_marked_while_it_serves_or_when_it_was_rolled_back(predictor: Predictor) -> None:
    made = record(attempts=1, result=result(Outcome.PROMOTED, model_version="2", mlflow_run_id="r/1"))
    assert "promoted version 2 run 5 min" in text(made)
    assert "promoted version 2 serves run 5 min" in text(made, predictor)
    assert "promoted version 2 rolled back run 5 min" in text(made, rolled_back="2")
    assert "promoted version 2 run 5 min" in text(made, rolled_back="3")
    markup = markup_of(made)
    assert 'href="http://mlflow/#/models/iris/versions/2"' in markup
    assert 'href="http://mlflow/#/runs/r%2F1"' in markup
    assert "serves" not in text(record(attempts=1, result=result(Outcome.FAILED)), predictor)


def test_version_of_another_model_is_reported_as_such_and_neither_serves_nor_was_rolled_back(
    predictor: Predictor,
) -> None:
    made = record(attempts=1, result=result(Outcome.PROMOTED, model_name="wine", model_version="2"))
    assert "promoted version 2 of wine 5 min" in text(made, predictor, "2")
    assert 'href="http://mlflow/#/models/wine/versions/2"' in markup_of(made)
    own = record(attempts=1, result=result(Outcome.PROMOTED, model_name="iris", model_version="2"))
    assert "promoted version 2 serves 5 min" in text(own, predictor)


@pytest.mark.parametrize(
    ("source", "asked"),
    [("alert", "by an alert"), ("schedule", "by a schedule"), ("bootstrap", "as the first one")],
)
def test_source_is_reported_in_words(source: str, asked: str) -> None:
    assert text(record(source=source)).endswith(asked)


def test_cause_of_a_scheduled_request_is_shown_as_text() -> None:
    assert text(record(source="schedule", cause="0 3 * * 1 <UTC>")).endswith("by a schedule (0 3 * * 1 <UTC>)")
    assert text(record(source="alert", cause="{}:{alertname=1}")).endswith("by an alert")


def test_requests_that_cannot_be_read_are_told_apart_from_none() -> None:
    assert "No training has been requested yet." in watched()
    assert "No training" not in watched(requests_problem="the volume is gone")
    assert "the volume is gone" in watched(requests_problem="the volume is gone")
