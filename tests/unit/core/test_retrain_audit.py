"""What the spool adds to the audit log."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from src.core.audit_log import AuditLog, Entry, Event
from src.core.errors import SpoolBusyError
from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_signal import RetrainSpool
from tests.support.faults import Fault, Killed

END = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROMOTED = RetrainResult(
    outcome=Outcome.PROMOTED, reason="better", model_name="iris", model_version="3", finished_at=END
)


class Case:
    """A spool with an audit log."""

    def __init__(self, folder: Path) -> None:
        self.audit = AuditLog(folder / "audit" / "audit.ndjson")
        self.spool = RetrainSpool(folder / "retrain", max_pending=1, audit=self.audit).create()

    @property
    def entries(self) -> list[Entry]:
        """Oldest first."""
        return self.audit.recent(100).entries[::-1]

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in self.entries]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def known(entry: Entry) -> dict[str, object]:
    return entry.model_dump(exclude={"id"}, exclude_none=True)


def test_an_accepted_request_and_its_end_are_entries(case: Case) -> None:
    record = case.spool.submit("alert", cause="drift", by="10.0.0.7")
    request = {
        "at": record.submitted_at,
        "event": Event.RETRAIN_REQUESTED,
        "source": "alert",
        "by": "10.0.0.7",
        "reason": "drift",
        "request_id": record.id,
    }
    assert [known(entry) for entry in case.entries] == [request]
    (claimed,) = case.spool.claim()
    case.spool.finish(claimed, PROMOTED)
    end = {
        "at": END,
        "event": Event.RETRAIN_ENDED,
        "model": "iris",
        "version": "3",
        "outcome": "promoted",
        "source": "alert",
        "reason": "better",
        "request_id": record.id,
    }
    assert [known(entry) for entry in case.entries] == [request, end]


def test_a_refused_request_is_no_entry(case: Case) -> None:
    case.spool.submit("api")
    with pytest.raises(SpoolBusyError):
        case.spool.submit("api")
    assert case.events == [Event.RETRAIN_REQUESTED]


def test_requests_are_accepted_and_end_although_the_audit_log_cannot_be_written(case: Case, tmp_path: Path) -> None:
    (tmp_path / "audit").touch()
    case.spool.submit("api")
    (record,) = case.spool.claim()
    assert case.spool.finish(record, PROMOTED).result == PROMOTED
    assert case.spool.unfinished() == set()


def test_a_request_whose_entry_was_not_written_gets_it_at_its_end(case: Case) -> None:
    record = RetrainSpool(case.spool.root).submit("schedule", cause="new rows")  # as if killed before the entry
    (claimed,) = case.spool.claim()
    assert case.events == []
    case.spool.finish(claimed, PROMOTED)
    assert case.events == [Event.RETRAIN_REQUESTED, Event.RETRAIN_ENDED]
    request = case.entries[0]
    assert (request.at, request.source, request.reason) == (record.submitted_at, "schedule", "new rows")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_instruction_of_finish_neither_loses_nor_repeats_the_end(tmp_path: Path, when: str) -> None:
    for step in range(100):
        case = Case(tmp_path / str(step))
        case.spool.submit("api", by="me")
        (record,) = case.spool.claim()
        fault = Fault(step, when=when)
        with fault.injected(), contextlib.suppress(Killed):
            case.spool.finish(record, PROMOTED)
        left = case.spool.claimed()  # by the next process
        ended = [Event.RETRAIN_REQUESTED] if left else [Event.RETRAIN_REQUESTED, Event.RETRAIN_ENDED]
        assert case.events == ended, f"at step {step}"
        assert case.entries[0].by == "me"
        if not fault.struck:
            assert step > 12, "the steps of finish are not all seen"
            return
    raise AssertionError("finish never ends")
