"""Decisions of the quality service about a version that answers rows as a shadow, and a champion that changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from src.core.audit_log import AuditLog, Event
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models.alias_moves import ChangeRefusedError
from tests.support.fake_mlflow import FakeMlflow
from tests.support.waiting_versions import let_version_2_pass

pytestmark = pytest.mark.anyio

PASSED = datetime(2026, 11, 30, 12, tzinfo=UTC)
REASON = "no proof that it is worse"


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 1 is champion; version 2 has passed the gate."""
    let_version_2_pass(mlflow)
    return mlflow


def wait_for_rows(served: Any, **given: Any) -> Rollout:
    """The record of version 2, which has answered its ten rows."""
    some: dict[str, Any] = {
        "model": "iris", "version": "2", "previous": "1", "state": RolloutState.AWAITING_APPROVAL, "started": PASSED,
        "until": PASSED + timedelta(hours=2), "minimum_rows": 10, "approval": "automatic", "shadowed": 12,
    }  # fmt: skip
    rollout = Rollout(**some | given)
    Rollouts(served.service.settings.rollouts_dir).begin(rollout)
    return rollout


async def decide(served: Any, rollout: Rollout, decision: str, **given: str) -> httpx.Response:
    parameters = {"automatic": "true", "reason": REASON} | given
    answer: httpx.Response = await served.client.post(f"/rollouts/{rollout.id}/{decision}", params=parameters)
    return answer


def record(served: Any, rollout: Rollout) -> Rollout:
    found = Rollouts(served.service.settings.rollouts_dir).get(rollout.id)
    assert found is not None
    return found


def events(served: Any) -> list[tuple[Event, str | None, str | None]]:
    entries = AuditLog(served.service.settings.audit_file).recent(5).entries
    return [(entry.event, entry.by, entry.reason) for entry in entries]


async def test_quality_service_approves_after_the_rows(served: Any) -> None:
    rollout = wait_for_rows(served)
    answer = await decide(served, rollout, "approve")
    assert (answer.status_code, answer.json()["served"]) == (200, "2")
    stored = record(served, rollout)
    assert (stored.state, stored.decided_by) == (RolloutState.WATCHING, "quality service, after 12 rows")
    assert stored.decision_reason == REASON
    assert events(served) == [(Event.APPROVED, "quality service, after 12 rows", REASON)]
    assert served.mlflow.aliases["champion"] == "2"


@pytest.mark.parametrize(
    "given",
    [
        {"shadowed": 9},
        {"approval": "manual"},
        {"is_worse": True},
        {"shadow_problem": "it fails"},
        {"minimum_rows": 0, "shadowed": 0},
    ],
)
async def test_rows_that_do_not_allow_it_are_no_approval_and_a_person_may_approve(
    served: Any, given: dict[str, Any]
) -> None:
    rollout = wait_for_rows(served, **given)
    answer = await decide(served, rollout, "approve")
    assert answer.status_code == 409
    assert "waits for a person, or for more rows" in answer.json()["detail"]
    assert record(served, rollout) == rollout
    assert (await decide(served, rollout, "approve", automatic="false")).status_code == 200


@pytest.mark.parametrize("approval", ["automatic", "manual"])
async def test_quality_service_rejects_what_is_proved_worse(served: Any, approval: str) -> None:
    rollout = wait_for_rows(served, approval=approval, shadowed=3, is_worse=True)
    assert (await decide(served, rollout, "reject", reason="it is worse")).status_code == 200
    stored = record(served, rollout)
    by = "quality service, after 3 rows"
    assert (stored.state, stored.by, stored.reason) == (RolloutState.ABORTED, by, "it is worse")
    assert served.mlflow.versions["2"].tags["gate.verdict"] == "rejected"
    assert served.mlflow.aliases["champion"] == "1"
    assert events(served) == [(Event.APPROVAL_REFUSED, by, "it is worse")]


@pytest.mark.parametrize("given", [{}, {"is_worse": True, "shadow_problem": "it fails"}])
async def test_what_is_not_proved_worse_is_rejected_by_a_person_only(served: Any, given: dict[str, Any]) -> None:
    rollout = wait_for_rows(served, **given)
    assert (await decide(served, rollout, "reject")).status_code == 409
    assert record(served, rollout) == rollout
    assert (await decide(served, rollout, "reject", automatic="false")).status_code == 200


async def test_version_is_loaded_by_its_number_and_becomes_the_shadow(served: Any) -> None:
    served.mlflow.aliases["challenger"] = "0"
    rollout = wait_for_rows(served)
    await served.service.shadowing.look()
    assert served.service.log.shadow.version == "2"
    (shown,) = (await served.client.get("/rollouts")).json()["rollouts"]
    assert (shown["shadow"], shown["shadowed"], shown["minimum_rows"]) == (True, 12, 10)
    assert record(served, rollout).shadow_problem is None


async def test_version_that_was_deleted_is_left_to_a_person(served: Any) -> None:
    rollout = wait_for_rows(served, version="77")
    await served.service.shadowing.look()
    assert "version 77 was deleted from MLflow" in (record(served, rollout).shadow_problem or "")


@pytest.mark.parametrize("minimum", [0, 10])
async def test_version_is_aborted_once_another_champion_is_served(served: Any, minimum: int) -> None:
    rollout = wait_for_rows(served, minimum_rows=minimum)
    await served.service.approvals.look()
    assert record(served, rollout).state is RolloutState.AWAITING_APPROVAL
    served.mlflow.aliases["champion"] = "0"
    await served.look()
    with pytest.raises(ChangeRefusedError, match="version 0 is champion now"):
        await served.service.approvals.look()
    stored = record(served, rollout)
    assert (stored.state, stored.by) == (RolloutState.ABORTED, "inference")
    assert "gate.verdict" not in served.mlflow.versions["2"].tags
    await served.service.approvals.look()


async def test_version_is_not_aborted_for_a_champion_that_was_served_before_it_passed(served: Any) -> None:
    served.mlflow.aliases["champion"] = "0"
    rollout = wait_for_rows(served, previous="0")
    await served.service.approvals.look()
    assert record(served, rollout).state is RolloutState.AWAITING_APPROVAL
