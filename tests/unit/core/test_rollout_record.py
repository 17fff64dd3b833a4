from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.core.audit_log import AuditLog, Event
from src.core.rollout_record import Rollout, Rollouts, RolloutState

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(tmp_path / "rollouts")


def promotion(version: str = "2", previous: str = "1", model: str = "iris") -> Rollout:
    return Rollout(model=model, version=version, previous=previous, started=NOW, until=NOW + HOUR)


def test_nothing_is_watched_before_a_promotion(rollouts: Rollouts) -> None:
    assert rollouts.watched("iris") is None
    assert rollouts.recent("iris", 5) == []


def test_a_promotion_is_watched(rollouts: Rollouts) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    assert rollouts.watched("iris") == rollout
    assert rollouts.watched("churn") is None


def test_a_watch_ends_once_and_keeps_its_evidence(rollouts: Rollouts) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    found = {"rows": 300, "drop": 0.05, "e_value": 120.0, "is_worse": True}
    assert rollouts.note(rollout.id, **found)
    assert rollouts.watched("iris") == rollout.model_copy(update=found)
    assert rollouts.end(
        rollout.id, RolloutState.ROLLED_BACK, now=NOW + HOUR, by="quality service", reason="it is worse"
    )
    assert not rollouts.end(rollout.id, RolloutState.KEPT, now=NOW + 2 * HOUR, by="someone", reason="too late")
    assert not rollouts.note(rollout.id, rows=301, drop=0.0, e_value=1.0, is_worse=False)
    (stored,) = rollouts.recent("iris", 5)
    assert stored.state is RolloutState.ROLLED_BACK
    assert (stored.ended, stored.by, stored.reason) == (NOW + HOUR, "quality service", "it is worse")
    assert stored.model_dump(include=set(found)) == found
    assert rollouts.watched("iris") is None


def test_a_watch_that_was_never_begun_cannot_end(rollouts: Rollouts) -> None:
    rollouts.begin(promotion())
    assert not rollouts.end(promotion().id, RolloutState.KEPT, now=NOW, by="someone", reason="unknown")


def test_a_later_promotion_ends_the_watch_of_the_same_model_only(rollouts: Rollouts) -> None:
    first, other, second = promotion(), promotion(model="churn"), promotion("3", "2")
    for rollout in (first, other, second):
        rollouts.begin(rollout)
    assert rollouts.watched("iris") == second
    assert rollouts.watched("churn") == other
    kept = rollouts.recent("iris", 5)[1]
    assert (kept.id, kept.state, kept.by, kept.ended) == (
        first.id,
        RolloutState.KEPT,
        "promotion of version 3",
        second.started,
    )


def test_recent_promotions_are_the_newest_first_and_limited(rollouts: Rollouts) -> None:
    ids = []
    for version in ("2", "3", "4"):
        rollout = promotion(version)
        ids.append(rollout.id)
        rollouts.begin(rollout)
    assert [rollout.id for rollout in rollouts.recent("iris", 2)] == ids[:0:-1]
    assert [rollout.id for rollout in rollouts.recent("iris", 9)] == ids[::-1]


def test_damaged_and_foreign_files_are_ignored(rollouts: Rollouts, tmp_path: Path) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    folder = tmp_path / "rollouts"
    (folder / f"{promotion().id}.json").write_text("{")
    (folder / "notes.json").write_text(rollout.model_dump_json())
    assert rollouts.watched("iris") == rollout
    assert rollouts.recent("iris", 5) == [rollout]


def test_what_a_killed_process_left_is_overwritten(rollouts: Rollouts, tmp_path: Path) -> None:
    rollout = promotion()
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / f"{rollout.id}.tmp").write_text("{")
    rollouts.begin(rollout)
    assert rollouts.watched("iris") == rollout


def test_long_texts_are_cut(rollouts: Rollouts) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    assert rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="b" * 600, reason="r" * 600)
    (stored,) = rollouts.recent("iris", 1)
    assert (len(stored.by or ""), len(stored.reason or "")) == (500, 500)


def test_records_that_cannot_be_read_are_not_taken_for_none(rollouts: Rollouts, tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("in the folder's place")
    with pytest.raises(NotADirectoryError):
        rollouts.recent("iris", 5)


def test_the_end_of_a_watch_is_one_entry_of_the_audit_log(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    rollouts, rollout = Rollouts(tmp_path / "rollouts", audit), promotion()
    rollouts.begin(rollout)
    rollouts.note(rollout.id, rows=300, drop=0.05, e_value=120.0, is_worse=True)
    rollouts.request(rollout.id)
    assert audit.recent(5).entries == []
    for reason in ("it is worse", "too late"):
        rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW + HOUR, by="quality service", reason=reason)
    (entry,) = audit.recent(5).entries
    assert entry.model_dump(exclude={"id"}, exclude_none=True) == {
        "at": NOW + HOUR,
        "event": Event.WATCH_ENDED,
        "model": "iris",
        "version": "2",
        "previous": "1",
        "outcome": "rolled_back",
        "by": "quality service",
        "reason": "it is worse",
        "rollout_id": rollout.id,
    }


def test_a_watch_ends_although_the_audit_log_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "audit").touch()
    rollouts, rollout = Rollouts(tmp_path / "rollouts", AuditLog(tmp_path / "audit" / "audit.ndjson")), promotion()
    rollouts.begin(rollout)
    assert rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="quality service", reason="over")
    assert rollouts.watched("iris") is None
