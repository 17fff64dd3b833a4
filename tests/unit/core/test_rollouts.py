from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.audit_log import AuditLog, Event
from src.core.canary_config import CanaryConfig
from src.core.rollout_record import PROMOTED, Decision, PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.core.version_comparison import VersionComparison

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FORMER = {"id", "model", "version", "previous", "state", "started", "until", "automatic", "requested", "rows", "drop"}


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
    assert rollouts.note(rollout, **found)
    assert rollouts.watched("iris") == rollout.model_copy(update=found)
    assert rollouts.end(
        rollout.id, RolloutState.ROLLED_BACK, now=NOW + HOUR, by="quality service", reason="it is worse"
    )
    assert not rollouts.end(rollout.id, RolloutState.KEPT, now=NOW + 2 * HOUR, by="someone", reason="too late")
    assert not rollouts.note(rollout, rows=301, drop=0.0, e_value=1.0, is_worse=False)
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
    rollouts.note(rollout, rows=300, drop=0.05, e_value=120.0, is_worse=True)
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


def passed(version: str = "3", previous: str = "2") -> Rollout:
    """A version that awaits approval, and will be watched for an hour."""
    return promotion(version, previous).model_copy(update={"state": RolloutState.AWAITING_APPROVAL})


def test_a_version_that_passed_waits_beside_the_watch_that_goes_on(rollouts: Rollouts) -> None:
    watch, waiting = promotion(), passed()
    rollouts.begin(watch)
    rollouts.begin(waiting)
    assert rollouts.watched("iris") == watch
    assert rollouts.waiting("iris") == waiting
    assert rollouts.waiting("churn") is None
    assert rollouts.recent("iris", 5) == [waiting, watch]
    assert rollouts.recent("iris", 5, PROMOTED) == [watch]


def test_an_approved_version_is_watched_from_then_on_and_ends_the_watch_before_it(rollouts: Rollouts) -> None:
    watch, waiting, later = promotion(), passed(), NOW + 5 * HOUR
    rollouts.begin(watch)
    rollouts.begin(waiting)
    assert rollouts.approve(waiting.id, later)
    found = rollouts.watched("iris")
    assert found is not None
    assert (found.id, found.started, found.until) == (waiting.id, later, later + HOUR)
    assert rollouts.waiting("iris") is None
    before = rollouts.get(watch.id)
    assert before is not None
    assert (before.state, before.ended, before.by) == (RolloutState.KEPT, later, "promotion of version 3")
    assert not rollouts.approve(waiting.id, later + HOUR)
    assert rollouts.watched("iris") == found


def test_an_approved_version_that_is_not_watched_is_kept(rollouts: Rollouts) -> None:
    waiting = passed().model_copy(update={"until": NOW})
    rollouts.begin(waiting)
    assert rollouts.waiting("iris") == waiting
    assert rollouts.approve(waiting.id, NOW + HOUR)
    (found,) = rollouts.recent("iris", 5)
    assert (found.state, found.ended, found.by) == (RolloutState.KEPT, NOW + HOUR, "rollout.watch_hours: 0")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RolloutState.AWAITING_APPROVAL, "a later version passed the gate"),
        (RolloutState.WATCHING, "a later version was promoted"),
    ],
)
def test_a_later_version_replaces_the_waiting_one(rollouts: Rollouts, state: RolloutState, reason: str) -> None:
    first = passed()
    rollouts.begin(first)
    rollouts.begin(promotion("4", "2").model_copy(update={"state": state}))
    aborted = rollouts.get(first.id)
    assert aborted is not None
    assert (aborted.state, aborted.by, aborted.reason) == (RolloutState.ABORTED, "training of version 4", reason)
    assert not rollouts.approve(first.id, NOW)
    waits = rollouts.waiting("iris")
    assert (waits and waits.version) == ("4" if state is RolloutState.AWAITING_APPROVAL else None)


def test_a_waiting_version_that_has_become_champion_was_promoted_once_a_later_one_comes(rollouts: Rollouts) -> None:
    first = passed()
    rollouts.begin(first)
    rollouts.begin(passed("4", "3"))
    found = rollouts.get(first.id)
    assert found is not None
    assert found.state is RolloutState.WATCHING
    rollouts.begin(promotion("5", "3"))
    assert [one.state for one in rollouts.recent("iris", 5)] == ["watching", "aborted", "kept"]


def test_the_first_decision_about_a_waiting_version_counts(rollouts: Rollouts) -> None:
    watch, waiting = promotion(), passed()
    rollouts.begin(watch)
    rollouts.begin(waiting)
    assert rollouts.decide(waiting.id, Decision.APPROVED, by="ann", reason="it is better")
    assert rollouts.decide(waiting.id, Decision.REJECTED, by="ben", reason="it is not")
    found = rollouts.waiting("iris")
    assert found is not None
    assert (found.decision, found.decided_by, found.decision_reason) == ("approved", "ann", "it is better")
    assert not rollouts.decide(watch.id, Decision.APPROVED, by="ann", reason="watched")


def test_a_version_is_aborted_only_while_it_waits_and_a_watch_never_is(rollouts: Rollouts) -> None:
    watch, waiting = promotion(), passed()
    rollouts.begin(watch)
    rollouts.begin(waiting)
    assert not rollouts.end(watch.id, RolloutState.ABORTED, now=NOW, by="ann", reason="no")
    assert not rollouts.end(waiting.id, RolloutState.KEPT, now=NOW, by="ann", reason="no")
    assert rollouts.end(waiting.id, RolloutState.ABORTED, now=NOW, by="ann", reason="no")
    assert not rollouts.note(waiting, rows=1, drop=0.0, e_value=1.0, is_worse=False)
    assert rollouts.waiting("iris") is None
    assert rollouts.watched("iris") == watch


@pytest.mark.parametrize("rollout_id", ["", "../rollouts", "0" * 36])
def test_any_text_is_a_safe_id(rollouts: Rollouts, rollout_id: str) -> None:
    rollouts.begin(promotion())
    assert rollouts.get(rollout_id) is None


def test_records_of_a_former_release_are_read(rollouts: Rollouts, tmp_path: Path) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    former = rollout.model_dump_json(include=FORMER)
    (tmp_path / "rollouts" / f"{rollout.id}.json").write_text(former)
    assert rollouts.watched("iris") == rollout


def test_an_approval_and_other_ends_of_waiting_are_in_the_audit_log(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    rollouts, approved, replaced, refused = Rollouts(tmp_path / "rollouts", audit), passed(), passed("4"), passed("5")
    rollouts.begin(approved)
    rollouts.decide(approved.id, Decision.APPROVED, by="ann", reason="it is better")
    assert audit.recent(5).entries == []
    rollouts.approve(approved.id, NOW + HOUR)
    rollouts.note(approved, rows=1, drop=0.0, e_value=1.0, is_worse=False)
    (entry,) = audit.recent(5).entries
    assert entry.model_dump(exclude={"id"}, exclude_none=True) == {
        "at": NOW + HOUR,
        "event": Event.APPROVED,
        "model": "iris",
        "version": "3",
        "previous": "2",
        "by": "ann",
        "reason": "it is better",
        "rollout_id": approved.id,
    }
    rollouts.begin(replaced)
    rollouts.begin(refused)
    rollouts.decide(refused.id, Decision.REJECTED, by="ben", reason="too old")
    rollouts.end(refused.id, RolloutState.ABORTED, now=NOW + 2 * HOUR, by="ben", reason="too old")
    found = [(entry.event, entry.version, entry.outcome, entry.by) for entry in audit.recent(5).entries]
    assert found[:2] == [
        (Event.APPROVAL_REFUSED, "5", "aborted", "ben"),
        (Event.ABORTED, "4", "aborted", "training of version 5"),
    ]
    assert len(found) == 3


def test_counts_of_all_replicas_are_added_until_the_watch_ends(rollouts: Rollouts) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    rollouts.count(rollout, PairCount(worse=1, better=2), PairCount(better=3))
    counted = rollouts.count(rollout, PairCount(worse=10), PairCount(worse=20, better=30))
    assert counted is not None
    assert counted.errors == PairCount(worse=11, better=2)
    assert counted.latency == PairCount(worse=20, better=33)
    assert rollouts.watched("iris") == counted
    rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="someone", reason="over")
    assert rollouts.count(rollout, PairCount(worse=1), PairCount()) is None
    assert rollouts.recent("iris", 1)[0].errors == counted.errors


def test_what_is_found_is_recorded_until_the_watch_ends(rollouts: Rollouts) -> None:
    rollout = promotion()
    rollouts.begin(rollout)
    assert rollouts.find(rollout, "f" * 600)
    rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="someone", reason="over")
    assert not rollouts.find(rollout, "too late")
    assert rollouts.recent("iris", 1)[0].finding == "f" * 500


def test_a_promotion_after_an_automatic_rollback_is_left_to_a_person(rollouts: Rollouts) -> None:
    first, second, third = promotion("2", "1"), promotion("3", "1"), promotion("4", "1")
    rollouts.begin(first)
    assert rollouts.obstacle(first) is None
    rollouts.request(first.id)
    rollouts.end(first.id, RolloutState.ROLLED_BACK, now=NOW, by="someone", reason="worse")
    rollouts.begin(second)
    assert "never happens twice in a row" in str(rollouts.obstacle(second))
    rollouts.begin(third)  # the second one was kept
    assert rollouts.obstacle(third) is None


def test_a_rollback_that_never_succeeded_does_not_leave_the_next_promotion_to_a_person(rollouts: Rollouts) -> None:
    first, second = promotion("2", "1"), promotion("3", "2")
    rollouts.begin(first)
    rollouts.request(first.id)
    rollouts.end(first.id, RolloutState.KEPT, now=NOW, by="someone", reason="it cannot be rolled back")
    rollouts.begin(second)
    assert rollouts.obstacle(second) is None


def test_a_promotion_may_be_left_to_a_person(rollouts: Rollouts) -> None:
    rollout = promotion().model_copy(update={"automatic": False})
    rollouts.begin(rollout)
    assert rollouts.obstacle(rollout) == "rollout.automatic_rollback is off"


def shadowed(**given: Any) -> Rollout:
    """A version that has to answer ten rows before it is promoted."""
    return passed().model_copy(update={"minimum_rows": 10, "approval": "automatic"} | given)


def test_a_waiting_version_answers_rows_until_it_is_decided_about_or_cannot() -> None:
    assert shadowed().is_shadowed
    assert not passed().is_shadowed
    assert not promotion().model_copy(update={"minimum_rows": 10}).is_shadowed
    assert not shadowed(decision=Decision.APPROVED).is_shadowed
    assert not shadowed(shadow_problem="it fails").is_shadowed


@pytest.mark.parametrize(("minimum", "answered", "has"), [(10, 9, False), (10, 10, True), (0, 5, False)])
def test_a_version_has_its_rows_from_the_minimum_on(minimum: int, answered: int, *, has: bool) -> None:
    assert shadowed(minimum_rows=minimum, shadowed=answered).has_its_rows is has


def test_rows_and_evidence_of_a_waiting_version_are_noted_and_collected_anew_after_its_approval(
    rollouts: Rollouts,
) -> None:
    waiting = shadowed()
    rollouts.begin(waiting)
    seen = waiting.model_copy(update={"shadowed": 7})
    assert rollouts.note(seen, shadowed=7, rows=5, drop=0.2, e_value=3.0, is_worse=True)
    assert rollouts.compare(waiting, VersionComparison(rows=7))
    found = rollouts.waiting("iris")
    assert found is not None
    assert (found.shadowed, found.rows, found.drop, found.e_value, found.is_worse) == (7, 5, 0.2, 3.0, True)
    assert found.comparison == VersionComparison(rows=7)
    rollouts.approve(waiting.id, NOW)
    approved = rollouts.watched("iris")
    assert approved is not None
    assert (approved.shadowed, approved.rows, approved.drop, approved.e_value) == (7, 0, 0.0, 1.0)
    assert (approved.is_worse, approved.comparison) == (False, None)


def test_the_first_problem_of_a_shadow_stays(rollouts: Rollouts) -> None:
    waiting = shadowed()
    rollouts.begin(waiting)
    assert rollouts.hinder(waiting, "f" * 600)
    assert rollouts.hinder(waiting, "second")
    found = rollouts.waiting("iris")
    assert found is not None
    assert found.shadow_problem == "f" * 500


def test_what_begins_later_is_newest_although_the_clock_was_ahead(rollouts: Rollouts) -> None:
    ahead = promotion("2", "1").model_copy(update={"id": "ffffffff-0000-7000-8000-000000000000"})
    assert rollouts.begin(ahead) == ahead
    assert rollouts.begin(promotion("9", "8", "churn")).id > ahead.id
    waiting = rollouts.begin(passed())
    assert rollouts.waiting("iris") == waiting
    assert rollouts.get(waiting.id) == waiting
    later = rollouts.begin(promotion("4", "2"))
    assert [one.version for one in rollouts.recent("iris", 5)] == ["4", "3", "2"]
    assert [one.state for one in rollouts.recent("iris", 5)] == ["watching", "aborted", "kept"]
    assert rollouts.watched("iris") == later


def test_a_record_never_replaces_one_with_its_id(rollouts: Rollouts) -> None:
    first = promotion()
    rollouts.begin(first)
    assert rollouts.begin(first.model_copy(update={"version": "3"})).id > first.id
    assert [one.version for one in rollouts.recent("iris", 5)] == ["3", "2"]


def test_ended_records_are_forgotten_except_those_that_a_rollback_reads(rollouts: Rollouts) -> None:
    first, refused, second, third = promotion("2"), passed("3"), promotion("4"), promotion("5")
    other, waiting = promotion("1", model="churn"), passed("6")
    for rollout in (first, refused, second, third, other, waiting):
        rollouts.begin(rollout)
    rollouts.end(third.id, RolloutState.ROLLED_BACK, now=NOW, by="ann", reason="worse")
    assert rollouts.ended_before(NOW) == []
    assert rollouts.ended_before(NOW + HOUR) == [first.id, refused.id]
    rollouts.forget([first.id, refused.id, first.id])
    assert rollouts.recent("iris", 9) == [rollouts.get(one.id) for one in (waiting, third, second)]
    assert rollouts.watched("churn") == other
    assert rollouts.ended_before(NOW + HOUR) == []


CANARY = CanaryConfig(share=0.05, hours=3)


def with_canary(state: RolloutState = RolloutState.CANARY, **given: Any) -> Rollout:
    return passed().model_copy(update={"state": state, "canary": CANARY} | given)


def test_a_canary_answers_requests_from_its_start_until_a_decision_or_a_problem() -> None:
    assert not with_canary().is_canary
    running = with_canary(canary_started=NOW + HOUR)
    assert running.is_canary
    assert (running.judged_since, running.canary_until) == (NOW + HOUR, NOW + 4 * HOUR)
    for given in ({"decision": Decision.REJECTED}, {"shadow_problem": "it fails"}):
        assert not running.model_copy(update=given).is_canary
    assert not running.model_copy(update={"state": RolloutState.WATCHING}).is_canary
    assert running.model_copy(update={"state": RolloutState.WATCHING}).judged_since == NOW
    assert with_canary().judged_since == NOW


def test_a_person_is_needed_for_what_awaits_approval_and_for_a_canary_that_cannot_decide() -> None:
    assert passed().needs_person
    assert not promotion().needs_person
    assert not with_canary(canary_started=NOW).needs_person
    assert with_canary(shadow_problem="it fails").needs_person
    assert with_canary(decision=Decision.APPROVED).needs_person


def test_an_approved_canary_starts_anew_without_a_decision(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    rollouts, waiting = Rollouts(tmp_path / "rollouts", audit), with_canary(RolloutState.AWAITING_APPROVAL, rows=5)
    rollouts.begin(waiting)
    rollouts.hinder(waiting, "a shadow of it fails")
    assert not rollouts.begin_answers(waiting.id, NOW)
    assert rollouts.start_canary(waiting.id, NOW + HOUR, by="ann", reason="looks good")
    found = rollouts.waiting("iris")
    assert found is not None
    assert (found.state, found.decision, found.rows, found.shadow_problem) == (RolloutState.CANARY, None, 0, None)
    assert (found.decided_by, found.decision_reason, found.canary_started) == ("ann", "looks good", None)
    assert not rollouts.start_canary(waiting.id, NOW, by="ben", reason="again")
    (entry,) = audit.recent(5).entries
    assert (entry.event, entry.at, entry.by, entry.reason) == (Event.CANARY_STARTED, NOW + HOUR, "ann", "looks good")
    for at in (NOW + 2 * HOUR, NOW + 3 * HOUR):
        assert rollouts.begin_answers(waiting.id, at)
    assert (rollouts.get(waiting.id) or waiting).canary_started == NOW + 2 * HOUR


def test_a_canary_of_the_gate_is_in_the_audit_log(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    Rollouts(tmp_path / "rollouts", audit).begin(with_canary(verdict="it is better"))
    (entry,) = audit.recent(5).entries
    assert (entry.event, entry.version, entry.by, entry.reason) == (Event.CANARY_STARTED, "3", "gate", "it is better")


def test_a_canary_is_counted_judged_and_decided_about_until_its_promotion(rollouts: Rollouts) -> None:
    rollouts.begin(promotion())
    canary = with_canary(canary_started=NOW)
    rollouts.begin(canary)
    rollouts.count(canary, PairCount(worse=1), PairCount(better=2), 3)
    counted = rollouts.count(canary, PairCount(worse=1), PairCount(), 4)
    assert counted is not None
    assert (counted.answered, counted.errors.worse, counted.latency.better) == (7, 2, 2)
    assert rollouts.note(canary, rows=9, e_not_worse=21.0, is_not_worse=True)
    assert rollouts.find(canary, "it fails")
    assert rollouts.decide(canary.id, Decision.APPROVED, by="ann", reason="now")
    assert rollouts.approve(canary.id, NOW + HOUR)
    found = rollouts.watched("iris")
    assert found is not None
    assert (found.version, found.answered, found.rows, found.is_not_worse, found.e_not_worse) == ("3", 7, 0, False, 1.0)
    assert (found.errors, found.latency, found.finding) == (PairCount(), PairCount(), None)


def test_what_is_found_in_one_state_is_not_recorded_in_the_next_one(rollouts: Rollouts) -> None:
    states = [shadowed(canary=CANARY)]
    rollouts.begin(states[0])
    rollouts.start_canary(states[0].id, NOW, by="ann", reason="looks good")
    states += rollouts.recent("iris", 1)
    rollouts.approve(states[0].id, NOW)
    states += rollouts.recent("iris", 1)
    assert [one.state for one in states] == ["awaiting_approval", "canary", "watching"]
    for given in states[:2]:
        assert not rollouts.note(given, rows=9)
        assert not rollouts.compare(given, VersionComparison(rows=7))
        assert not rollouts.find(given, "it fails")
        assert not rollouts.hinder(given, "it fails")
        assert rollouts.count(given, PairCount(worse=1), PairCount(), 1) is None
    assert rollouts.recent("iris", 1) == states[2:]


def test_the_problem_of_a_shadow_is_none_of_the_canary(rollouts: Rollouts) -> None:
    waiting = shadowed(canary=CANARY)
    rollouts.begin(waiting)
    rollouts.start_canary(waiting.id, NOW, by="ann", reason="looks good")
    assert not rollouts.hinder(waiting, "a shadow of it fails")
    canary = rollouts.waiting("iris")
    assert canary is not None
    assert canary.shadow_problem is None
    assert rollouts.hinder(canary, "it has no log")


def test_a_later_version_replaces_a_canary_and_a_person_may_abort_it(rollouts: Rollouts) -> None:
    first, second = with_canary(canary_started=NOW), with_canary(version="4")
    rollouts.begin(first)
    rollouts.begin(second)
    aborted = rollouts.get(first.id)
    assert aborted is not None
    assert (aborted.state, aborted.reason) == (RolloutState.ABORTED, "a later version passed the gate")
    assert rollouts.end(second.id, RolloutState.ABORTED, now=NOW, by="ann", reason="no")
    assert rollouts.waiting("iris") is None
