"""The short cut answers what the route would have answered, and leaves it all that is not plain."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA, VIRGINICA
from tests.support.predict_bodies import BODIES

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(SETOSA).encode()


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("bodies"), fake) as running:
        yield running


@pytest.fixture
def routed(served: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that reached the router."""
    paths: list[str] = []
    router = served.app.router.middleware_stack

    async def told(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await router(scope, receive, send)

    monkeypatch.setattr(served.app.router, "middleware_stack", told)
    return paths


def comparable(answer: Any) -> tuple[int, Any, dict[str, str]]:
    told = answer.json()
    assert told.pop("request_id") == answer.headers["x-request-id"]
    return (
        answer.status_code,
        told,
        {k: v for k, v in answer.headers.items() if k not in {"x-request-id", "content-length"}},
    )


@pytest.mark.parametrize("name", BODIES)
async def test_every_body_is_answered_as_by_the_route(one_app: Any, name: str) -> None:
    content = BODIES[name][0]
    # httpx's transport sends no body in one message, so its requests are the route's.
    ordinary = await one_app.client.post("/predict", content=content, headers=JSON)
    assert comparable(await one_app.post_plainly(content)) == comparable(ordinary)


async def test_a_plain_record_never_reaches_the_router(served: Any, routed: list[str]) -> None:
    answer = await served.post_plainly(GOOD)
    assert (answer.status_code, answer.json()["prediction"]) == (200, "setosa")
    assert routed == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[" + GOOD + b"]", {}, 200),
        (b"{}", {}, 422),
        (GOOD, {"content_type": "text/csv"}, 415),
        (GOOD, {"content_length": "1000001"}, 413),
        (GOOD, {"content_length": "x"}, 200),
    ],
)
async def test_all_else_reaches_the_router(
    served: Any, routed: list[str], body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await served.post_plainly(body, **headers)
    assert answer.status_code == status
    assert routed == ["/predict"]


async def test_without_a_model_the_route_says_so(unready: Any) -> None:
    assert (await unready.post_plainly(GOOD)).status_code == 503


async def test_when_no_slot_is_free_the_route_s_queue_decides(serving: Any, mlflow: FakeMlflow, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=1, queue_seconds=60) as served:
        model = served.service.store.require()
        slow = asyncio.Event()

        async def wait(*_: Any) -> Any:
            await slow.wait()
            return model.answer([tuple(model.example.values())])[0]

        served.service.calls.answer_now = lambda *_: None
        served.service.calls.answer = wait
        requests = [asyncio.ensure_future(served.post_plainly(GOOD)) for _ in range(3)]
        assert (await requests[2]).status_code == 503
        slow.set()
        assert [(await request).status_code for request in requests[:2]] == [200, 200]


async def test_the_caller_s_id_is_kept_and_the_model_is_named(served: Any) -> None:
    answer = await served.post_plainly(GOOD, x_request_id="order-7")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "order-7"
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")


async def test_answers_are_measured_as_the_route_s_are(served: Any) -> None:
    await served.post_plainly(GOOD)
    await served.client.post("/predict", content=GOOD, headers=JSON)
    labels = {"route": "/predict", "method": "POST", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 2
    assert await served.metric("inference_http_request_duration_seconds_count", route="/predict") == 2
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 2


async def test_a_failing_model_is_told_and_counted_by_the_route(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(type(served.service.store.require().engine), "predict", broken)
    answer = await served.post_plainly(GOOD)
    assert answer.status_code == 500
    assert "out of order" not in answer.text
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


async def test_requests_that_come_together_each_get_their_own_answer(served: Any) -> None:
    bodies = [json.dumps(record).encode() for record in (SETOSA, VIRGINICA, SETOSA, VIRGINICA) * 8]
    # Twice: the first turn tells the second that it is crowded.
    for _ in range(2):
        answers = await asyncio.gather(*map(served.post_plainly, bodies))
        assert [answer.json()["prediction"] for answer in answers] == ["setosa", "virginica"] * 16
