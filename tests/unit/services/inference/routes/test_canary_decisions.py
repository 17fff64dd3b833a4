"""A canary from its start to its end: by a person, by what its record says, and after an interruption."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.audit_log import AuditLog, Event
from src.core.canary_config import CanaryConfig
from src.core.errors import LoopError
from src.core.file_lock import locked_file
from src.core.rollout_record import Decision, PairCount, Rollout, RolloutState
from src.serving.models.alias_moves import ChangeRefusedError
from tests.support.fake_mlflow import FakeMlflow
from tests.support.waiting_versions import let_version_2_pass, record_of, records

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = CanaryConfig(share=0.05, hours=24, minimum_rows=10)
WAITING_SINCE = "inference_approval_waiting_since_timestamp_seconds"
PROVED: dict[str, Any] = {"is_not_worse": True, "e_not_worse": 21.0, "rows": 400}


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 1 is champion; version 2 has passed the gate."""
    let_version_2_pass(mlflow)
    return mlflow


def begin(served: Any, **given: Any) -> Rollout:
    """The record of version 2, a canary that has answered its ten rows and has hours left."""
    now = datetime.now(UTC)
    some: dict[str, Any] = {
        "model": "iris", "version": "2", "previous": "1", "state": RolloutState.CANARY, "started": START,
        "until": START + timedelta(hours=2), "canary": CANARY, "canary_started": now, "answered": 10,
    }  # fmt: skip
    rollout = Rollout(**some | given)
    records(served).begin(rollout)
    return rollout


async def decide(served: Any, rollout: Rollout, decision: str = "approve", **given: str) -> httpx.Response:
    answer: httpx.Response = await served.client.post(f"/rollouts/{rollout.id}/{decision}", params=given)
    return answer


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


async def test_approval_starts_the_canary_and_a_repeated_one_changes_nothing(served: Any) -> None:
    rollout = begin(served, state=RolloutState.AWAITING_APPROVAL, canary_started=None, answered=0)
    assert await served.metric(WAITING_SINCE) == 0
    await served.service.approvals.look()
    assert await served.metric(WAITING_SINCE) == START.timestamp()
    answer = await decide(served, rollout, reason="looks good")
    assert (answer.status_code, answer.json()["served"]) == (200, "1")
    assert answer.json()["rollout"]["state"] == "canary"
    stored = record_of(served, rollout)
    assert (stored.decision, stored.decision_reason) == (None, "looks good")
    assert (await decide(served, rollout)).json()["rollout"]["state"] == "canary"
    assert record_of(served, rollout) == stored
    assert served.mlflow.aliases["champion"] == "1"
    (entry,) = AuditLog(served.service.settings.audit_file).recent(5).entries
    assert (entry.event, entry.reason) == (Event.CANARY_STARTED, "looks good")
    await served.service.approvals.look()
    assert record_of(served, rollout).is_canary
    assert await served.metric(WAITING_SINCE) == 0


async def test_version_that_was_compared_with_another_champion_is_no_canary(served: Any) -> None:
    rollout = begin(served, state=RolloutState.AWAITING_APPROVAL, previous="0")
    answer = await decide(served, rollout)
    assert (answer.status_code, record_of(served, rollout).state) == (409, RolloutState.ABORTED)


@pytest.mark.parametrize("state", [RolloutState.AWAITING_APPROVAL, RolloutState.CANARY])
async def test_person_may_promote_before_the_canary_or_its_end(served: Any, state: RolloutState) -> None:
    rollout = begin(served, state=state)
    for _ in range(2):
        answer = await decide(served, rollout, promote="true", reason="urgent")
        assert (answer.status_code, answer.json()["served"]) == (200, "2")
    stored = record_of(served, rollout)
    assert (stored.state, stored.decision_reason, stored.answered) == (RolloutState.WATCHING, "urgent", 10)
    assert served.mlflow.aliases["champion"] == "2"


async def test_person_may_abort_it(served: Any) -> None:
    rollout = begin(served)
    for _ in range(2):
        assert (await decide(served, rollout, "reject", reason="no")).status_code == 200
    assert (record_of(served, rollout).state, record_of(served, rollout).reason) == (RolloutState.ABORTED, "no")
    assert served.mlflow.versions["2"].tags["gate.verdict"] == "rejected"


@pytest.mark.parametrize("given", [{}, {"is_not_worse": True, "answered": 9}, {"is_worse": True}])
async def test_what_its_record_does_not_show_is_no_automatic_approval(served: Any, given: dict[str, Any]) -> None:
    rollout = begin(served, **given)
    assert (await decide(served, rollout, automatic="true")).status_code == 409
    assert record_of(served, rollout) == rollout


async def test_what_is_not_proved_worse_is_not_aborted_automatically(served: Any) -> None:
    rollout = begin(served, **PROVED)
    assert (await decide(served, rollout, "reject", automatic="true")).status_code == 409
    assert record_of(served, rollout) == rollout


async def test_canary_goes_on_while_nothing_is_proved(served: Any) -> None:
    rollout = begin(served)
    await served.service.approvals.look()
    assert record_of(served, rollout) == rollout
    assert await served.metric(WAITING_SINCE) == 0


async def test_canary_that_is_proved_not_worse_is_promoted(served: Any) -> None:
    rollout = begin(served, **PROVED)
    await served.service.approvals.look()
    stored = record_of(served, rollout)
    assert (stored.state, stored.decided_by) == (RolloutState.WATCHING, "canary, after 10 rows")
    assert served.mlflow.aliases["champion"] == "2"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"is_worse": True, "drop": 0.05, "rows": 300}, "version 2 is worse than version 1 by 5.0%"),
        ({"errors": PairCount(worse=40)}, "version 2 fails on rows that version 1 answers: 40 of 40"),
        ({"canary_started": START}, "undecided after 24 hours: 0 labelled rows do not prove"),
    ],
)
async def test_canary_is_aborted_by_a_proof_and_at_its_time(served: Any, given: dict[str, Any], reason: str) -> None:
    rollout = begin(served, **given)
    await served.service.approvals.look()
    stored = record_of(served, rollout)
    assert (stored.state, stored.by) == (RolloutState.ABORTED, "canary, after 10 rows")
    assert str(stored.reason).startswith(reason)
    assert served.mlflow.aliases["champion"] == "1"


async def test_time_starts_once_the_promotion_before_is_no_longer_watched(served: Any) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    watch = Rollout(model="iris", version="1", previous="0", started=ago(hours=1), until=until)
    records(served).begin(watch)
    rollout = begin(served, canary_started=None)
    await served.service.approvals.look()
    assert record_of(served, rollout).canary_started is None
    records(served).end(watch.id, RolloutState.KEPT, now=until, by="quality service", reason="over")
    before = datetime.now(UTC)
    await served.service.approvals.look()
    started = record_of(served, rollout).canary_started
    assert started is not None
    assert before <= started <= datetime.now(UTC)
    await served.service.approvals.look()
    assert record_of(served, rollout).canary_started == started


async def test_watch_that_nobody_ends_does_not_delay_it_beyond_its_time(served: Any) -> None:
    records(served).begin(Rollout(model="iris", version="1", previous="0", started=START, until=ago(seconds=1)))
    rollout = begin(served, canary_started=None)
    await served.service.approvals.look()
    assert record_of(served, rollout).is_canary


async def test_canary_that_cannot_decide_waits_for_a_person_beyond_its_time(served: Any) -> None:
    rollout = begin(served, canary_started=START, shadow_problem="it fails", errors=PairCount(worse=40))
    await served.service.approvals.look()
    assert record_of(served, rollout).state is RolloutState.CANARY
    assert await served.metric(WAITING_SINCE) == START.timestamp()


@pytest.mark.parametrize("started", [None, START])
async def test_canary_does_not_answer_without_a_prediction_log(
    serving: Any, mlflow: FakeMlflow, tmp_path: Path, started: datetime | None
) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        rollout = begin(served, canary_started=started)
        await served.service.approvals.look()
        stored = record_of(served, rollout)
        assert (stored.state, stored.canary_started, stored.is_canary) == (RolloutState.CANARY, started, False)
        assert str(stored.shadow_problem).startswith("the prediction log is off (PREDICTION_LOG=false)")
        waiting = begin(served, state=RolloutState.AWAITING_APPROVAL, canary_started=None)
        answer = await decide(served, waiting)
        assert answer.status_code == 409
        assert "cannot be a canary: the prediction log is off" in answer.json()["detail"]
        assert record_of(served, waiting) == waiting
        assert (await decide(served, waiting, promote="true")).status_code == 200


async def test_canary_is_aborted_once_another_champion_is_served(served: Any) -> None:
    rollout = begin(served)
    served.mlflow.aliases["champion"] = "0"
    await served.look()
    with pytest.raises(ChangeRefusedError, match="version 0 is champion now"):
        await served.service.approvals.look()
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_rollback_of_its_champion_aborts_it(served: Any) -> None:
    rollout = begin(served)
    assert (await served.client.post("/rollback")).status_code == 200
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_promotion_that_was_interrupted_is_completed(served: Any) -> None:
    rollout = begin(served)
    records(served).decide(rollout.id, Decision.APPROVED, by="ann", reason="good")
    assert not record_of(served, rollout).is_canary
    await served.service.approvals.look()
    assert (record_of(served, rollout).state, record_of(served, rollout).decided_by) == (RolloutState.WATCHING, "ann")


async def test_abort_stops_the_canary_while_mlflow_is_down_and_is_completed_later(served: Any) -> None:
    rollout = begin(served)
    served.mlflow.down = True
    assert (await decide(served, rollout, "reject", reason="no")).status_code == 503
    stored = record_of(served, rollout)
    assert (stored.state, stored.decision, stored.is_canary) == (RolloutState.CANARY, "rejected", False)
    with pytest.raises(LoopError):
        await served.service.approvals.look()
    served.mlflow.down = False
    await served.service.approvals.look()
    assert (record_of(served, rollout).state, record_of(served, rollout).reason) == (RolloutState.ABORTED, "no")


async def test_replica_that_is_second_changes_nothing(served: Any) -> None:
    rollout = begin(served, **PROVED)
    with locked_file(served.service.settings.alias_lock), pytest.raises(ChangeRefusedError):
        await served.service.approvals.look()
    assert record_of(served, rollout) == rollout


async def test_version_that_has_become_champion_in_mlflow_needs_no_canary(served: Any) -> None:
    rollout = begin(served, state=RolloutState.AWAITING_APPROVAL, canary_started=None)
    served.mlflow.aliases |= {"champion": "2", "previous": "1"}
    assert (await decide(served, rollout)).status_code == 200
    assert record_of(served, rollout).state is RolloutState.WATCHING


async def test_repeated_approval_of_a_canary_needs_no_mlflow(served: Any) -> None:
    rollout = begin(served)
    served.mlflow.down = True
    assert (await decide(served, rollout)).json()["rollout"]["state"] == "canary"
