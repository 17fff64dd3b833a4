"""``POST /rollouts/{id}/approve`` and ``…/reject``, and what an interruption leaves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.errors import LoopError
from src.core.file_lock import lock_at_once, locked_file
from src.core.rollout_record import Decision, Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA
from tests.support.waiting_versions import record_of, records

pytestmark = pytest.mark.anyio

KEY = "k" * 16
PASSED = datetime(2026, 11, 30, 12, tzinfo=UTC)
ALIASES = {"champion": "1", "previous": "0", "challenger": "2", "best": "1"}
APPROVED = {"champion": "2", "previous": "1", "challenger": "2", "best": "2"}
ROLLBACK = {"rollback.at": "2026-11-28T12:00:00+00:00", "rollback.to": "0", "rollback.by": "ann"}


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 1 is champion; version 2 has passed the gate."""
    mlflow.add("0", mlflow.versions["1"].directory, "0" * 64)
    mlflow.aliases |= ALIASES
    mlflow.versions["2"].tags |= {"gate.verdict": "passed"}
    return mlflow


def wait_for_approval(served: Any, version: str = "2", previous: str = "1", **given: Any) -> Rollout:
    """The record of a version that awaits approval, and will be watched for two hours."""
    until = PASSED + timedelta(hours=2)
    rollout = Rollout(
        model=given.pop("model", "iris"),
        version=version,
        previous=previous,
        state=RolloutState.AWAITING_APPROVAL,
        started=PASSED,
        until=given.pop("until", until),
        best=given.pop("best", "2"),
        **given,
    )
    records(served).begin(rollout)
    return rollout


async def decide(served: Any, rollout: Rollout, decision: str = "approve", **options: Any) -> httpx.Response:
    answer: httpx.Response = await served.client.post(f"/rollouts/{rollout.id}/{decision}", **options)
    return answer


async def test_approved_version_is_served_at_once_and_watched(served: Any) -> None:
    rollout, before = wait_for_approval(served, verdict="better"), datetime.now(UTC)
    answer = await decide(served, rollout, params={"reason": "looks good"}, headers={"X-Request-ID": "mine"})
    assert answer.status_code == 200
    assert (answer.json()["served"], answer.json()["last_error"]) == ("2", None)
    assert served.mlflow.aliases == APPROVED
    tags = served.mlflow.versions["2"].tags
    assert (tags["gate.verdict"], tags["gate.reason"]) == ("promoted", "better; approved")
    assert "pending.previous" not in served.mlflow.versions["2"].tags
    assert (await served.client.post("/predict", json=SETOSA)).json()["model"]["version"] == "2"
    watched = records(served).watched("iris")
    assert watched is not None
    assert before <= watched.started <= datetime.now(UTC)
    assert watched.until - watched.started == timedelta(hours=2)
    assert (watched.decision, watched.decided_by) == ("approved", "api, 127.0.0.1, request mine")
    assert watched.decision_reason == "looks good"
    shown = answer.json()["rollout"]
    assert (shown["id"], shown["state"], shown["decided_by"]) == (rollout.id, "watching", watched.decided_by)


async def test_repeated_approval_answers_the_same_and_changes_nothing(served: Any) -> None:
    rollout = wait_for_approval(served)
    first = await decide(served, rollout)
    stored = record_of(served, rollout)
    served.mlflow.paths.clear()
    again = await decide(served, rollout, params={"reason": "another"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert record_of(served, rollout) == stored
    assert not [path for path in served.mlflow.paths if path.endswith("-tag")]


async def test_approval_that_is_not_watched_is_kept_and_may_be_repeated(served: Any) -> None:
    rollout = wait_for_approval(served, until=PASSED)
    assert (await decide(served, rollout)).json()["rollout"]["state"] == "kept"
    assert (await decide(served, rollout)).status_code == 200


@pytest.mark.parametrize("best", [None, "9"], ids=["unmoved", "deleted"])
async def test_approval_leaves_the_best_where_it_does_not_move(served: Any, best: str | None) -> None:
    rollout = wait_for_approval(served, best=best)
    assert (await decide(served, rollout)).status_code == 200
    assert served.mlflow.aliases == APPROVED | {"best": "1"}


async def test_approval_deletes_the_rollback_tags_of_the_champion_that_has_returned(served: Any) -> None:
    served.mlflow.versions["1"].tags |= ROLLBACK
    served.mlflow.versions["0"].tags |= ROLLBACK
    assert (await decide(served, wait_for_approval(served))).status_code == 200
    assert not ROLLBACK.keys() & served.mlflow.versions["1"].tags.keys()
    assert ROLLBACK.keys() <= served.mlflow.versions["0"].tags.keys()


@pytest.mark.parametrize(
    ("new", "old", "has_previous", "previous"),
    [("same", "same", True, "0"), ("same", "same", False, "1"), ("new", "old", True, "1"), ("new", None, True, "1")],
)
async def test_previous_stays_where_both_versions_were_made_of_the_same(
    served: Any, new: str, old: str | None, previous: str, *, has_previous: bool
) -> None:
    served.mlflow.versions["2"].tags["training.fingerprint"] = new
    if old is not None:
        served.mlflow.versions["1"].tags["training.fingerprint"] = old
    if not has_previous:
        del served.mlflow.aliases["previous"]
    assert (await decide(served, wait_for_approval(served))).status_code == 200
    assert (served.mlflow.aliases["champion"], served.mlflow.aliases["previous"]) == ("2", previous)
    assert "pending.previous" not in served.mlflow.versions["2"].tags


@pytest.mark.parametrize("decision", ["approve", "reject"])
@pytest.mark.parametrize("model", ["iris", "houses"])
async def test_unknown_id_is_404(served: Any, decision: str, model: str) -> None:
    rollout = wait_for_approval(served, model=model)
    unknown = rollout if model == "houses" else Rollout(**rollout.model_dump(exclude={"id"}))
    assert (await decide(served, unknown, decision)).status_code == 404
    assert (await served.client.post(f"/rollouts/..%2Fsecret/{decision}")).status_code == 404
    assert served.mlflow.aliases == ALIASES


@pytest.mark.parametrize("champion", ["0", None])
async def test_version_that_was_compared_with_another_champion_is_aborted(served: Any, champion: str | None) -> None:
    rollout = wait_for_approval(served)
    del served.mlflow.aliases["champion"]
    if champion:
        served.mlflow.aliases["champion"] = champion
    aliases = dict(served.mlflow.aliases)
    answer = await decide(served, rollout)
    assert answer.status_code == 409
    now = f"version {champion}" if champion else "no version"
    problem = f"it was compared with version 1, and {now} is champion now"
    assert answer.json()["detail"] == f"version 2 cannot be approved: {problem}; train again"
    stored = record_of(served, rollout)
    assert (stored.state, stored.reason) == (RolloutState.ABORTED, f"{problem}; train again")
    assert served.mlflow.aliases == aliases
    # Without a verdict, the next request on the same data trains.
    assert "gate.verdict" not in served.mlflow.versions["2"].tags
    assert (await decide(served, rollout)).status_code == 409


async def test_version_that_is_gone_is_aborted(served: Any) -> None:
    rollout = wait_for_approval(served, version="9")
    answer = await decide(served, rollout)
    assert answer.status_code == 409
    assert "version 9 cannot be approved: it was deleted from MLflow; train again" in answer.json()["detail"]
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_version_that_is_gone_with_its_champion_is_aborted(served: Any) -> None:
    rollout = wait_for_approval(served, version="9")
    served.mlflow.aliases["champion"] = "0"
    assert (await decide(served, rollout)).status_code == 409
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_version_that_is_gone_can_be_rejected(served: Any) -> None:
    rollout = wait_for_approval(served, version="9")
    assert (await decide(served, rollout, "reject")).status_code == 200
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_rejected_version_is_aborted_with_name_and_reason(served: Any) -> None:
    rollout = wait_for_approval(served)
    options: dict[str, Any] = {"params": {"reason": "too few rows"}, "headers": {"X-Request-ID": "mine"}}
    first = await decide(served, rollout, "reject", **options)
    assert (first.status_code, first.json()["served"]) == (200, "1")
    stored = record_of(served, rollout)
    by = "api, 127.0.0.1, request mine"
    assert (stored.state, stored.decision) == (RolloutState.ABORTED, "rejected")
    assert (stored.by, stored.reason, stored.decided_by) == (by, "too few rows", by)
    tags = served.mlflow.versions["2"].tags
    assert (tags["gate.verdict"], tags["gate.reason"]) == ("rejected", f"rejected by {by}: too few rows")
    assert served.mlflow.aliases == ALIASES
    again = await decide(served, rollout, "reject")
    assert (again.status_code, again.json()) == (200, first.json())
    refused = await decide(served, rollout)
    assert refused.status_code == 409
    assert "does not await approval: its state is aborted (too few rows, by api" in refused.json()["detail"]


async def test_approved_version_cannot_be_rejected_but_rolled_back_and_then_not_approved_again(served: Any) -> None:
    rollout = wait_for_approval(served)
    await decide(served, rollout)
    assert (await decide(served, rollout, "reject")).status_code == 409
    assert (await served.client.post("/rollback")).status_code == 200
    assert record_of(served, rollout).state is RolloutState.ROLLED_BACK
    assert (await decide(served, rollout)).status_code == 409
    assert served.mlflow.aliases["champion"] == "1"


async def test_promotion_without_an_approval_cannot_be_approved(served: Any) -> None:
    now = datetime.now(UTC)
    promoted = Rollout(model="iris", version="1", previous="0", started=now, until=now + timedelta(hours=1))
    records(served).begin(promoted)
    assert (await decide(served, promoted)).status_code == 409


async def test_rollback_aborts_the_version_that_waits(served: Any) -> None:
    rollout = wait_for_approval(served)
    assert (await served.client.post("/rollback", headers={"X-Request-ID": "mine"})).status_code == 200
    stored = record_of(served, rollout)
    assert (stored.state, stored.by) == (RolloutState.ABORTED, "api, 127.0.0.1, request mine")
    assert stored.reason == "version 1, with which it was compared, was rolled back; train again"
    assert "gate.verdict" not in served.mlflow.versions["2"].tags


async def test_rollback_of_another_champion_leaves_the_version_that_waits(served: Any) -> None:
    served.mlflow.aliases |= {"champion": "0", "previous": "1"}  # moved in MLflow
    rollout = wait_for_approval(served)
    assert (await served.client.post("/rollback")).status_code == 200
    assert record_of(served, rollout) == rollout
    assert served.mlflow.versions["2"].tags["gate.verdict"] == "passed"
    assert (await decide(served, rollout)).status_code == 200


async def test_interrupted_approval_does_not_undo_a_rollback_that_was_interrupted_too(served: Any) -> None:
    rollout = wait_for_approval(served)
    records(served).decide(rollout.id, Decision.APPROVED, by="ann", reason="good")
    served.mlflow.versions["2"].tags |= ROLLBACK | {"rollback.to": "1"}
    with pytest.raises(LoopError, match="version 2 cannot be approved: it was rolled back"):
        await served.service.approvals.look()
    assert record_of(served, rollout).state is RolloutState.ABORTED
    assert served.mlflow.aliases == ALIASES


async def test_rollback_holds_the_lock_until_the_waiting_version_is_aborted(served: Any) -> None:
    rollout, refused = wait_for_approval(served), []

    def at_the_last_change(path: str) -> None:
        if path.endswith("delete-tag"):
            refused.append(lock_at_once(served.service.settings.alias_lock) is None)

    served.mlflow.before_answer = at_the_last_change
    assert (await served.client.post("/rollback")).status_code == 200
    assert refused == [True, True]
    assert record_of(served, rollout).state is RolloutState.ABORTED


async def test_rollback_of_a_version_whose_approval_was_not_recorded_ends_its_watch(served: Any) -> None:
    served.mlflow.aliases |= {"champion": "2", "previous": "1"}
    rollout = wait_for_approval(served)
    assert (await served.client.post("/rollback")).status_code == 200
    assert record_of(served, rollout).state is RolloutState.ROLLED_BACK


async def test_decision_during_another_move_is_refused(served: Any) -> None:
    rollout = wait_for_approval(served)
    with locked_file(served.service.settings.alias_lock):
        assert (await decide(served, rollout)).status_code == 409
        assert (await decide(served, rollout, "reject")).status_code == 409
    assert record_of(served, rollout) == rollout


async def test_decision_without_mlflow_changes_nothing(served: Any) -> None:
    rollout = wait_for_approval(served)
    served.mlflow.down = True
    for decision in ("approve", "reject"):
        assert (await decide(served, rollout, decision)).status_code == 503
    assert record_of(served, rollout) == rollout


async def test_records_that_cannot_be_read_are_unavailable(served: Any) -> None:
    folder = served.service.settings.rollouts_dir
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the folder's place")
    answer = await served.client.post("/rollouts/0199f3b2-7d6e-7c3a-8f4e-2b1c9d8e7f60/approve")
    assert answer.status_code == 503
    assert "records of promotions cannot be used" in answer.json()["detail"]


CHANGES = ("set-tag", "delete-tag", "registered-models/alias")


def failing_at(mlflow: FakeMlflow, number: int, *, answered: bool) -> Callable[[], int]:
    """MLflow goes down at a change, before or after it was carried out; returns a count of the changes so far."""
    seen, usual = [0], mlflow.handle

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" or not request.url.path.endswith(CHANGES):
            return usual(request)
        seen[0] += 1
        if seen[0] == number:
            if answered:
                usual(request)
            mlflow.down = True
            raise httpx.ReadError("the connection was lost", request=request)
        return usual(request)

    mlflow.handle = handle  # type: ignore[method-assign]
    return lambda: seen[0]


# verdict, reason, best, 3 rollback tags, pending, champion, previous, untag
STEPS = 10


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, STEPS + 1))
@pytest.mark.parametrize("way", ["follower", "request"])
async def test_approval_that_is_interrupted_at_any_change_is_completed(  # noqa: PLR0913 - what the test compares
    serving: Any, mlflow: FakeMlflow, tmp_path: Path, number: int, way: str, *, answered: bool
) -> None:
    mlflow.versions["1"].tags |= ROLLBACK
    usual = mlflow.handle
    failing_at(mlflow, number, answered=answered)
    async with serving(tmp_path, mlflow) as served:
        rollout = wait_for_approval(served)
        answer = await decide(served, rollout, headers={"X-Request-ID": "mine"})
        assert answer.status_code == 503
        assert "the approval of version 2 is recorded, and not carried out yet" in answer.json()["detail"]
        assert record_of(served, rollout).state is RolloutState.AWAITING_APPROVAL
        mlflow.down, mlflow.handle = False, usual  # type: ignore[method-assign]
        refused = await decide(served, rollout, "reject")
        assert refused.status_code == 409
        assert "version 2 was approved by api, 127.0.0.1, request mine" in refused.json()["detail"]
        if way == "follower":
            await served.service.approvals.look()
        else:
            assert (await decide(served, rollout, headers={"X-Request-ID": "another"})).status_code == 200
        stored = record_of(served, rollout)
        assert (stored.state, stored.decided_by) == (RolloutState.WATCHING, "api, 127.0.0.1, request mine")
        assert mlflow.aliases == APPROVED
        assert mlflow.versions["2"].tags["gate.verdict"] == "promoted"
        assert not {"pending.previous", *ROLLBACK} & {*mlflow.versions["1"].tags, *mlflow.versions["2"].tags}
        await served.look()
        assert served.service.store.current.version.version == "2"


async def test_an_approval_makes_as_many_changes_as_are_interrupted_above(
    serving: Any, mlflow: FakeMlflow, tmp_path: Path
) -> None:
    mlflow.versions["1"].tags |= ROLLBACK
    changes = failing_at(mlflow, 0, answered=False)
    async with serving(tmp_path, mlflow) as served:
        assert (await decide(served, wait_for_approval(served))).status_code == 200
    assert changes() == STEPS


async def test_approval_that_cannot_be_recorded_at_the_end_is_completed(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = wait_for_approval(served)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Rollouts, "approve", full)
        assert (await decide(served, rollout)).status_code == 503
    assert served.mlflow.aliases == APPROVED
    await served.service.approvals.look()
    assert record_of(served, rollout).state is RolloutState.WATCHING


async def test_recorded_approval_is_given_up_where_the_champion_has_changed(served: Any) -> None:
    rollout = wait_for_approval(served)
    records(served).decide(rollout.id, Decision.APPROVED, by="ann", reason="good")
    served.mlflow.aliases["champion"] = "0"
    with pytest.raises(LoopError, match="version 0 is champion now"):
        await served.service.approvals.look()
    assert record_of(served, rollout).state is RolloutState.ABORTED


@pytest.mark.parametrize("number", [1, 2])
async def test_rejection_that_is_interrupted_changes_nothing_and_can_be_repeated(
    serving: Any, mlflow: FakeMlflow, tmp_path: Path, number: int
) -> None:
    usual = mlflow.handle
    failing_at(mlflow, number, answered=True)
    async with serving(tmp_path, mlflow) as served:
        rollout = wait_for_approval(served)
        assert (await decide(served, rollout, "reject")).status_code == 503
        assert record_of(served, rollout) == rollout
        mlflow.down, mlflow.handle = False, usual  # type: ignore[method-assign]
        assert (await decide(served, rollout, "reject")).status_code == 200


async def test_rejection_that_was_recorded_but_not_carried_out_is_completed(served: Any) -> None:
    rollout = wait_for_approval(served)
    records(served).decide(rollout.id, Decision.REJECTED, by="ann", reason="no")
    assert (await decide(served, rollout)).status_code == 409
    await served.service.approvals.look()
    stored = record_of(served, rollout)
    assert (stored.state, stored.by, stored.reason) == (RolloutState.ABORTED, "ann", "no")
    assert served.mlflow.versions["2"].tags["gate.verdict"] == "rejected"


async def test_since_when_a_version_waits_is_a_metric(served: Any) -> None:
    name = "inference_approval_waiting_since_timestamp_seconds"
    assert await served.metric(name) == 0
    rollout = wait_for_approval(served)
    await served.service.approvals.look()
    assert await served.metric(name) == PASSED.timestamp()
    assert record_of(served, rollout) == rollout  # nobody has decided yet
    await decide(served, rollout, "reject")
    await served.service.approvals.look()
    assert await served.metric(name) == 0


async def test_decisions_need_the_key_and_are_documented(serving: Any, mlflow: FakeMlflow, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        rollout = wait_for_approval(served)
        for decision in ("approve", "reject"):
            assert (await decide(served, rollout, decision)).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-ID": "mine"}
        answer = await decide(served, rollout, headers=headers)
        assert answer.json()["rollout"]["decided_by"] == "key holder, api, 127.0.0.1, request mine"
        labels = {"route": "/rollouts/{rollout_id}/approve", "method": "POST"}
        assert await served.metric("inference_http_requests_total", **labels, status="401") == 1
        assert await served.metric("inference_http_requests_total", **labels, status="404") == 0
        paths = (await served.client.get("/openapi.json")).json()["paths"]
    for decision in ("approve", "reject"):
        operation = paths[f"/rollouts/{{rollout_id}}/{decision}"]["post"]
        assert operation["security"] == [{"WriteKey": []}]
        assert {"200", "401", "403", "404", "409", "503"} <= operation["responses"].keys()


@pytest.mark.parametrize(
    ("key", "headers", "by"),
    [
        ("p" * 16, {"X-Forwarded-User": "ann", "X-Forwarded-User-Key": "p" * 16}, "ann, api"),
        ("p" * 16, {"X-Forwarded-User": "ann", "X-Forwarded-User-Key": "q" * 16}, "api"),
        ("p" * 16, {"X-Forwarded-User": "ann"}, "api"),
        ("p" * 16, {"X-Forwarded-User-Key": "p" * 16}, "api"),
        ("p" * 16, {"X-Forwarded-User": "a\tb <i>", "X-Forwarded-User-Key": "p" * 16}, "api"),
        (None, {"X-Forwarded-User": "ann", "X-Forwarded-User-Key": ""}, "api"),
    ],
)
async def test_user_is_named_only_by_the_sign_in_proxy(  # noqa: PLR0913, PLR0917 - what the test compares
    serving: Any, mlflow: FakeMlflow, tmp_path: Path, key: str | None, headers: dict[str, str], by: str
) -> None:
    async with serving(tmp_path, mlflow, sign_in_proxy_key=key) as served:
        rollout = wait_for_approval(served)
        await decide(served, rollout, headers=headers | {"X-Request-ID": "mine"})
        assert record_of(served, rollout).decided_by == f"{by}, 127.0.0.1, request mine"


async def test_unknown_parameter_is_refused(served: Any) -> None:
    rollout = wait_for_approval(served)
    assert (await decide(served, rollout, params={"reasn": "x"})).status_code == 422
    assert record_of(served, rollout) == rollout
