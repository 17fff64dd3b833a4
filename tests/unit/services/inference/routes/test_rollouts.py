from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.rollout_record import PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.fake_mlflow import FakeMlflow

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 30, tzinfo=UTC)
END = START + timedelta(hours=1)


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 2 is champion, and 1 was it before."""
    mlflow.aliases |= {"champion": "2", "previous": "1"}
    return mlflow


def promote(served: Any, version: str, previous: str, *, model: str = "iris", until: datetime = END) -> Rollout:
    rollout = Rollout(model=model, version=version, previous=previous, started=START, until=until)
    records(served).begin(rollout)
    return rollout


def records(served: Any) -> Rollouts:
    return Rollouts(served.service.settings.rollouts_dir)


async def listed(served: Any, **parameters: Any) -> list[dict[str, Any]]:
    answer = await served.client.get("/rollouts", params=parameters)
    assert answer.status_code == 200
    (found,) = answer.json().values()
    return list(found)


async def test_before_the_first_promotion_the_list_is_empty(served: Any) -> None:
    assert await listed(served) == []


async def test_a_promotion_is_listed_with_its_evidence_and_its_end(served: Any) -> None:
    rollout = promote(served, "2", "1")
    records(served).note(rollout, rows=412, drop=0.05, e_value=120.5, is_worse=True)
    records(served).request(rollout.id)
    records(served).count(rollout, PairCount(worse=3, better=1), PairCount(better=9))
    records(served).find(rollout, "version 2 fails")
    watched = {
        "id": rollout.id, "version": "2", "previous": "1", "state": "watching", "started": "2026-11-30T00:00:00Z",
        "until": "2026-11-30T01:00:00Z", "automatic": True, "ended": None, "by": None, "reason": None,
        "verdict": None, "challenger": {}, "champion": {}, "decision": None, "decided_by": None,
        "decision_reason": None, "requested": True, "rows": 412, "drop": 0.05, "e_value": 120.5, "is_worse": True,
        "shadow": False,
        "max_slowdown": None, "errors": {"worse": 3, "better": 1}, "latency": {"worse": 0, "better": 9},
        "finding": "version 2 fails", "minimum_rows": 0, "approval": "manual", "shadowed": 0, "shadow_problem": None,
        "comparison": None, "canary": None, "canary_started": None, "canary_until": None, "answered": 0,
        "e_not_worse": 1.0, "is_not_worse": False,
    }  # fmt: skip
    assert await listed(served) == [watched]
    records(served).end(rollout.id, RolloutState.ROLLED_BACK, now=END, by="quality service", reason="it is worse")
    ended = {"state": "rolled_back", "ended": "2026-11-30T01:00:00Z", "by": "quality service", "reason": "it is worse"}
    assert await listed(served) == [watched | ended]


async def test_the_newest_promotions_of_the_model_are_first_and_limited(served: Any) -> None:
    for number in range(2, 24):
        promote(served, str(number), str(number - 1))
    promote(served, "7", "6", model="houses")
    assert [found["version"] for found in await listed(served)] == [str(number) for number in range(23, 3, -1)]
    assert [found["version"] for found in await listed(served, limit=2)] == ["23", "22"]
    assert len(await listed(served, limit=100)) == 22


async def test_the_shadow_is_that_of_the_watched_promotion(served: Any) -> None:
    promote(served, "1", "0")
    rollout = promote(served, "2", "1", until=datetime.now(UTC) + timedelta(hours=1))
    assert [found["shadow"] for found in await listed(served)] == [False, False]
    await served.service.shadowing.look()
    assert [found["shadow"] for found in await listed(served)] == [True, False]
    records(served).end(rollout.id, RolloutState.KEPT, now=END, by="someone", reason="over")
    assert [found["shadow"] for found in await listed(served)] == [False, False]


async def test_another_version_than_the_previous_one_is_no_shadow(served: Any) -> None:
    promote(served, "2", "1", until=datetime.now(UTC) + timedelta(hours=1))
    await served.service.shadowing.look()
    promote(served, "3", "2")
    assert [found["shadow"] for found in await listed(served)] == [False, False]


async def test_without_a_prediction_log_there_is_no_shadow(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        promote(served, "2", "1")
        assert [found["shadow"] for found in await listed(served)] == [False]


async def test_promotions_need_no_model(unready: Any) -> None:
    promote(unready, "2", "1")
    assert [found["version"] for found in await listed(unready)] == ["2"]


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 101}, {"limit": "many"}, {"limt": 5}])
async def test_wrong_parameters_are_refused(served: Any, parameters: dict[str, Any]) -> None:
    assert (await served.client.get("/rollouts", params=parameters)).status_code == 422


async def test_records_that_cannot_be_read_are_unavailable(served: Any) -> None:
    folder = served.service.settings.rollouts_dir
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the folder's place")
    answer = await served.client.get("/rollouts")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "the records of promotions cannot be read (Not a directory)" in answer.json()["detail"]


async def test_the_route_is_documented_and_counted(served: Any) -> None:
    await listed(served)
    document = (await served.client.get("/openapi.json")).json()
    assert {"200", "422", "503"} <= document["paths"]["/rollouts"]["get"]["responses"].keys()
    labels = {"route": "/rollouts", "method": "GET", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 1
