"""One retrain request: its id, its state, and that it stays readable."""

import math
import time
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from src.core.retrain_record import (
    ID_PATTERN,
    MAX_PROGRESS,
    MAX_REASON,
    MAX_TEXT,
    Outcome,
    RetrainRecord,
    RetrainResult,
    State,
    Step,
    created_at,
    new_id,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_new_ids_sort_by_time_and_contain_their_creation_time() -> None:
    before = time.time()
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(set(ids))
    assert all(ID_PATTERN.fullmatch(request_id) for request_id in ids)
    assert before - 0.002 <= created_at(ids[0]) <= time.time()


def test_state_follows_attempts_and_outcome() -> None:
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW)
    assert record.state is State.QUEUED
    record = record.model_copy(update={"attempts": 1})
    assert record.state is State.RUNNING
    for outcome in Outcome:
        result = RetrainResult(outcome=outcome, reason="", finished_at=NOW)
        assert record.model_copy(update={"result": result}).state.value == outcome.value


def test_reason_is_folded_to_one_printable_line_and_clipped() -> None:
    text = "a\n\n b\x1b[31m\x00" + "c" * 2000
    reason = RetrainResult(outcome=Outcome.FAILED, reason=text, finished_at=NOW).reason
    assert reason.startswith("a b[31mccc")
    assert len(reason) == MAX_REASON == 1000
    assert reason.endswith("…")
    assert RetrainResult(outcome=Outcome.FAILED, reason="c" * 1000, finished_at=NOW).reason == "c" * 1000


def test_error_and_progress_are_clipped_to_what_a_record_has_room_for() -> None:
    record = RetrainRecord(id=new_id(), source="schedule", submitted_at=NOW, attempts=1)
    assert record.with_error("e" * 2000).last_error == "e" * (MAX_TEXT - 1) + "…"
    assert record.with_progress("p" * 2000).progress == "p" * (MAX_PROGRESS - 1) + "…"


def test_step_begins_without_the_progress_of_the_one_before_and_ends_with_the_attempt() -> None:
    record = RetrainRecord(id=new_id(), source="schedule", submitted_at=NOW, attempts=1)
    record = record.at_step(Step.TRAIN).with_progress("search: 12 of 20 candidates scored")
    assert (record.step, record.progress) == (Step.TRAIN, "search: 12 of 20 candidates scored")
    assert RetrainRecord.model_validate_json(record.model_dump_json()) == record
    later, failed = record.at_step(Step.EVALUATE), record.with_error("it died")
    assert (later.step, later.progress) == (Step.EVALUATE, None)
    assert (failed.step, failed.progress) == (None, None)


def test_scores_of_either_kind_are_read_back_as_what_they_were() -> None:
    for scores in (
        {"accuracy": 1, "f1_macro": 0.5, "neg_log_loss": -0.1},
        {"r2": -0.5, "neg_root_mean_squared_error": -2, "neg_mean_absolute_error": -1},
    ):
        result = RetrainResult(outcome=Outcome.REJECTED, reason="r", challenger=scores, finished_at=NOW)
        assert RetrainResult.model_validate_json(result.model_dump_json()).challenger == scores


def test_step_durations_are_kept_in_milliseconds_and_a_record_without_them_is_read_as_before() -> None:
    result = RetrainResult(outcome=Outcome.REJECTED, reason="r", step_seconds={Step.TRAIN: 1.23456}, finished_at=NOW)
    assert RetrainResult.model_validate_json(result.model_dump_json()).step_seconds == {Step.TRAIN: 1.235}
    old = '{"outcome": "rejected", "reason": "r", "finished_at": "2030-01-01T00:00:00Z"}'
    assert RetrainResult.model_validate_json(old).step_seconds is None


@pytest.mark.parametrize("seconds", ['{"train": -1}', '{"deploy": 1}', '{"train": "NaN"}'])
def test_step_durations_of_no_step_or_no_length_are_refused(seconds: str) -> None:
    raw = f'{{"outcome": "rejected", "reason": "r", "finished_at": "2030-01-01T00:00:00Z", "step_seconds": {seconds}}}'
    with pytest.raises(ValidationError):
        RetrainResult.model_validate_json(raw)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_must_be_finite_or_the_record_could_not_be_read_again(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        RetrainResult(outcome=Outcome.REJECTED, reason="r", challenger={"accuracy": value}, finished_at=NOW)


@pytest.mark.parametrize(
    "change",
    [{"id": "1"}, {"source": "mail"}, {"submitted_at": "2030-01-01T00:00:00"}, {"attempts": -1}, {"image": "x"}],
)
def test_record_refuses_what_is_not_its_schema(change: dict[str, object]) -> None:
    good = {"id": new_id(), "source": "api", "submitted_at": "2030-01-01T00:00:00Z"}
    assert RetrainRecord.model_validate(good)
    with pytest.raises(ValidationError, match=next(iter(change))):
        RetrainRecord.model_validate({**good, **change})
