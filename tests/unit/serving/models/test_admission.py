import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from src.serving.models.admission import QUEUE_FULL, QUEUE_TIMEOUT, Admission, OverloadedError
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio


@pytest.fixture
def shed() -> Counter[str]:
    return Counter()


def admission(shed: Counter[str], *, limit: int = 1, queue: int = 2, seconds: float = 600) -> Admission:
    return Admission(limit, queue=queue, seconds=seconds, on_shed=lambda reason: shed.update([reason]))


async def waiting(gate: Admission, order: list[str], name: str) -> asyncio.Task[None]:
    async def enter() -> None:
        await gate.enter()
        order.append(name)

    task = asyncio.create_task(enter())
    await asyncio.sleep(0)
    return task


async def test_slots_are_taken_up_to_the_limit_and_given_back(shed: Counter[str]) -> None:
    gate = admission(shed, limit=2)
    for _ in range(2):
        assert gate.has_room
        await gate.enter()
    assert not gate.has_room
    gate.leave()
    assert gate.has_room
    await gate.enter()
    assert not gate.has_room
    assert not shed


async def test_queue_is_served_in_order_and_nobody_overtakes_it(shed: Counter[str]) -> None:
    gate, order = admission(shed), []
    await gate.enter()
    tasks = [await waiting(gate, order, name) for name in ("first", "second")]
    gate.leave()
    assert not gate.has_room  # the slot is the first one's, though it has not run yet
    await tasks[0]
    assert order == ["first"]
    gate.leave()
    await tasks[1]
    gate.leave()
    await gate.enter()


async def test_full_queue_turns_away_at_once(shed: Counter[str]) -> None:
    gate, order = admission(shed), []
    await gate.enter()
    tasks = [await waiting(gate, order, name) for name in ("first", "second")]
    with pytest.raises(OverloadedError):
        await gate.enter()
    assert shed == {QUEUE_FULL: 1}
    for task in tasks:
        gate.leave()
        await task
    assert order == ["first", "second"]


async def test_waiting_has_an_end_and_frees_its_place_in_the_queue(shed: Counter[str]) -> None:
    gate = admission(shed, queue=1, seconds=0.001)
    await gate.enter()
    for _ in range(2):
        with pytest.raises(OverloadedError):
            await gate.enter()
    assert shed == {QUEUE_TIMEOUT: 2}
    gate.leave()
    assert gate.has_room


@pytest.mark.parametrize("slot_came", [False, True])
async def test_cancelled_waiting_loses_no_slot(shed: Counter[str], *, slot_came: bool) -> None:
    gate, order = admission(shed), []
    await gate.enter()
    first, second = [await waiting(gate, order, name) for name in ("first", "second")]
    if slot_came:
        gate.leave()
    first.cancel()
    if not slot_came:
        gate.leave()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert order == ["second"]
    gate.leave()
    assert gate.has_room
    await gate.enter()
    assert not gate.has_room


@pytest.fixture
async def full(serving: Any, tmp_path: Any, mlflow: Any) -> Any:
    """A service with one slot, which is taken, and no queue."""
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=0) as served:
        await served.service.admission.enter()
        yield served
        served.service.admission.leave()
        assert (await served.client.post("/predict", json=SETOSA)).status_code == 200


async def test_request_beyond_the_limit_is_turned_away_unread(full: Any) -> None:
    async def body() -> Any:
        raise AssertionError("nobody reads it")
        yield b""

    answer = await full.client.post("/predict", content=body())
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {
        "detail": "the service has more requests than it can answer in time; send this one again in a second",
        "request_id": answer.headers["X-Request-ID"],
    }
    assert await full.metric("inference_http_requests_shed_total", reason="queue_full") == 1
    assert await full.metric("inference_http_requests_shed_total", reason="queue_timeout") == 0
    assert await full.metric("inference_http_requests_total", route="/predict", method="POST", status="503") == 1


async def test_short_cut_keeps_no_slot(serving: Any, tmp_path: Any, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=0) as served:
        for body in (json.dumps(SETOSA), "{}", json.dumps(SETOSA)):
            assert (await served.post_plainly(body.encode())).status_code == (422 if body == "{}" else 200)


async def test_short_cut_without_a_slot_turns_away(full: Any) -> None:
    answer = await full.post_plainly(json.dumps(SETOSA).encode())
    assert answer.status_code == 503
    assert await full.metric("inference_http_requests_shed_total", reason="queue_full") == 1


@pytest.mark.parametrize("path", ["/health", "/v2/health/live", "/v2/health/ready", "/metrics"])
async def test_health_and_metrics_are_answered_beyond_the_limit(full: Any, path: str) -> None:
    assert (await full.client.get(path)).status_code == 200


async def test_reasons_exist_at_zero(served: Any) -> None:
    for reason in (QUEUE_FULL, QUEUE_TIMEOUT):
        assert await served.metric("inference_http_requests_shed_total", reason=reason) == 0
