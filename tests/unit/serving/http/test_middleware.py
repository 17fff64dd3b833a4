import asyncio
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.services.inference.routes.catalogue import Catalogue
from src.serving.http.middleware import RequestContextMiddleware
from src.serving.http.stopping import Stopping
from src.serving.watch.metrics import ServingMetrics
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def context_around(inner: ASGIApp) -> RequestContextMiddleware:
    metrics = ServingMetrics(CollectorRegistry(), [], window_rows=300)
    return RequestContextMiddleware(inner, metrics=metrics, template_of=str, guards=(), stopping=Stopping())


async def no_body() -> Message:
    raise AssertionError("the body is not to be read")


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
async def test_request_id_that_fits_is_kept(served: Any, given: str) -> None:
    answer = await served.client.post("/predict", json=SETOSA, headers={"X-Request-ID": given})
    assert answer.headers.get_list("X-Request-ID") == [answer.json()["request_id"]] == [given]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", '"quoted"', "<script>", b"\xe9", "a\\b"])
async def test_request_id_that_does_not_fit_is_replaced(served: Any, given: Any) -> None:
    answer = await served.client.post("/predict", json=SETOSA, headers={"X-Request-ID": given})
    assert UUID7.fullmatch(answer.headers["X-Request-ID"])


async def test_request_id_is_on_every_answer_and_new_each_time(served: Any) -> None:
    for path in ("/", "/nope", "/predict", "/docs", "/metrics", "/health", "/retrain/x"):
        ids = [(await served.client.get(path)).headers["X-Request-ID"] for _ in range(2)]
        assert all(map(UUID7.fullmatch, ids))
        assert ids[0] != ids[1]


async def counted(served: Any, route: str, method: str, status: int | str) -> float:
    labels = {"route": route, "method": method, "status": str(status)}
    found: float = await served.metric("inference_http_requests_total", **labels)
    return found


async def test_unmatched_paths_share_one_series(served: Any) -> None:
    for path in ("/nope", "/zq7marker", "/predict/", "/retrain/a/b"):
        answer = await served.client.get(path)
        assert answer.status_code == 404
        assert "zq7marker" not in answer.text
    text = (await served.client.get("/metrics")).text
    assert "zq7marker" not in text
    assert await counted(served, "unmatched", "GET", 404) >= 3


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/models/iris/infer", "/v2/models/{model_name}/infer"),
        ("/retrain/x", "/retrain/{request_id}"),
        ("/predict", "/predict"),
        ("/nope", "unmatched"),
    ],
)
async def test_requests_refused_before_the_router_are_counted_by_template(served: Any, path: str, route: str) -> None:
    if route != "/retrain/{request_id}":  # which has no POST
        assert await counted(served, route, "POST", 400) == 0
    assert (await served.client.post(path, headers={"Host": "evil.example"})).status_code == 400
    assert await counted(served, route, "POST", 400) == 1


@pytest.mark.parametrize(
    ("path", "route"),
    [("/predict", "/predict"), ("/v2/models/iris/infer", "/v2/models/{model_name}/infer"), ("/x", "unmatched")],
)
async def test_request_turned_away_is_counted_without_a_duration(
    serving: Any, tmp_path: Path, mlflow: FakeMlflow, path: str, route: str
) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1, max_queue=0) as served:
        assert await counted(served, route, "POST", 503) == 0
        await served.service.admission.enter()
        assert (await served.client.post(path)).status_code == 503
        assert await counted(served, route, "POST", 503) == 1
        assert await served.metric("inference_http_request_duration_seconds_count", route=route) == 0


async def test_refused_writes_exist_at_zero(serving: Any, tmp_path: Path, mlflow: FakeMlflow) -> None:
    async with serving(tmp_path, mlflow, alert_retrain=True, alert_token="x" * 20) as served:
        for route in ("/retrain", "/rollback", "/page/retrain", "/alerts"):
            for status in ("401", "403"):
                assert await counted(served, route, "POST", status) == 0
    async with serving(tmp_path, mlflow) as served:
        assert "/alerts" not in (await served.client.get("/metrics")).text


async def test_unknown_method_is_counted_as_other(served: Any) -> None:
    assert (await served.client.request("ZQ7", "/predict")).status_code == 405
    assert await counted(served, "/predict", "other", 405) == 1


async def test_routes_are_counted_by_template_and_exist_at_zero(served: Any) -> None:
    assert await counted(served, "/retrain/{request_id}", "GET", 404) == 0
    await served.client.get("/retrain/x")
    assert await counted(served, "/retrain/{request_id}", "GET", 404) == 1
    assert await served.metric("inference_http_request_duration_seconds_count", route="/retrain/{request_id}") == 1
    for status in ("200", "413", "415", "422", "500", "503"):
        assert await counted(served, "/predict", "POST", status) == 0
    assert await counted(served, "/docs", "GET", 200) == 0
    await served.client.get("/docs")
    assert await counted(served, "/docs", "GET", 200) == 1


async def test_duration_has_the_agreed_edges(served: Any) -> None:
    await served.client.post("/predict", json=SETOSA)
    text = (await served.client.get("/metrics")).text
    found = re.findall(r'inference_http_request_duration_seconds_bucket{le="(.*)",route="/predict"} (.*)', text)
    edges = "0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1.0 2.5 5.0 +Inf"
    assert (" ".join(edge for edge, _ in found), found[-1][1]) == (edges, "1.0")


async def test_in_flight_counts_the_request_that_asks_and_returns_to_it(served: Any) -> None:
    await asyncio.gather(*(served.client.post("/predict", json=SETOSA) for _ in range(10)))
    assert await served.metric("inference_http_requests_in_flight") == 1


async def test_unexpected_failure_is_a_500_with_an_id_and_a_traceback_in_the_log(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("zq7marker")

    monkeypatch.setattr(served.service.store, "require", broken)
    with caplog.at_level(logging.ERROR):
        answer = await served.client.post("/predict", json=SETOSA)
    assert answer.status_code == 500
    assert "zq7marker" not in answer.text
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    (record,) = caplog.records
    assert answer.headers["X-Request-ID"] in record.getMessage()
    assert record.exc_info is not None
    assert await counted(served, "/predict", "POST", 500) == 1
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


async def test_announced_length_over_the_limit_is_refused_unread(served: Any) -> None:
    sent, taken = await served.exchange([(b"content-length", b"1000001")], [])
    assert (sent[0]["status"], taken) == (413, 0)
    assert await served.metric("inference_prediction_errors_total", reason="too_large") == 1


async def test_endless_body_is_refused_at_the_limit(served: Any) -> None:
    endless = [{"type": "http.request", "body": b"[" * 300_000, "more_body": True}] * 100
    sent, taken = await served.exchange([(b"transfer-encoding", b"chunked")], endless)
    assert (sent[0]["status"], taken) == (413, 4)


async def test_length_that_lies_does_not_help(served: Any) -> None:
    body = [{"type": "http.request", "body": b"[" * 2_000_000, "more_body": False}]
    for length in (b"5", b"-1", b"zq7", "٣".encode()):
        sent, _ = await served.exchange([(b"content-length", length)], body)
        assert sent[0]["status"] == 413


async def test_client_that_goes_away_is_no_failure(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    gone = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent, _ = await served.exchange([], gone)
    assert sent == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert await counted(served, "/predict", "POST", 499) == 1
    assert await served.metric("inference_http_requests_in_flight") == 1


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.mark.parametrize(
    ("error", "status"), [(asyncio.CancelledError(), 503), (RuntimeError("boom"), 500)], ids=["cancelled", "failed"]
)
@pytest.mark.parametrize("begun", [False, True])
async def test_answer_is_begun_once_whatever_ends_the_request(
    error: BaseException, status: int, *, begun: bool
) -> None:
    sent: list[Message] = []

    async def inner(_: Scope, __: Receive, send: Send) -> None:
        if begun:
            await send(dict(START))
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    app = context_around(inner)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    if begun:
        with pytest.raises(type(error)):
            await app(scope, no_body, send)
    else:
        await app(scope, no_body, send)
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == [
        200 if begun else status
    ]


@pytest.mark.parametrize("is_complete", [True, False])
async def test_connection_learns_once_and_at_once_that_a_response_is_complete(*, is_complete: bool) -> None:
    events: list[str] = []

    async def inner(_: Scope, __: Receive, send: Send) -> None:
        await send(dict(START))
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        if is_complete:
            await send({"type": "http.response.body", "body": b"2"})
        events.append("the application returns")

    async def send(message: Message) -> None:
        events.append(message["type"])

    app = context_around(inner)
    state = {"connection": SimpleNamespace(answered=lambda: events.append("answered"))}
    await app({"type": "http", "method": "GET", "path": "/", "headers": [], "state": state}, no_body, send)
    end = ["answered", "the application returns"] if is_complete else ["the application returns", "answered"]
    body = ["http.response.body"] * (2 if is_complete else 1)
    assert events == ["http.response.start", *body, *end]


# Routes whose answer's length differs from request to request.
CHANGING = {"/metrics", "/", "/page/live"}
PARAMETERS = {"model_name": "iris", "model_version": "1", "name": "page.css", "request_id": "x"}
ROUTES = {path: methods for path, methods in Catalogue(alert_retrain=False).methods.items() if "GET" in methods}


@pytest.mark.parametrize("route", ROUTES)
async def test_head_is_answered_as_get_without_a_body(served: Any, route: str) -> None:
    path = route.format(**PARAMETERS)
    assert await counted(served, route, "HEAD", 200) == 0
    get, head = await served.client.get(path), await served.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert list(head.headers) == list(get.headers)
    same = ["content-type", "cache-control", *([] if route in CHANGING else ["content-length"])]
    assert [head.headers.get(name) for name in same] == [get.headers.get(name) for name in same]
    assert await counted(served, route, "HEAD", head.status_code) == 1
    assert "HEAD" in (await served.client.patch(path)).headers["Allow"]


async def test_monitor_that_sends_head_learns_that_no_model_is_loaded(unready: Any) -> None:
    for path in ("/health", "/ping", "/v2/health/ready"):
        answer = await unready.client.head(path)
        assert (answer.status_code, answer.content) == (503, b"")
    assert (await unready.client.head("/v2/health/live")).status_code == 200


async def test_head_of_what_has_no_get_is_refused(served: Any) -> None:
    answer = await served.client.head("/predict")
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, "POST", b"")
    assert await counted(served, "/predict", "HEAD", 405) == 1
    assert (await served.client.head("/nope")).status_code == 404
