from typing import Any

import pytest

from src.services.inference.routes.catalogue import Catalogue

pytestmark = pytest.mark.anyio

# Routes whose answer's length differs from request to request.
CHANGING = {"/metrics", "/", "/page/live", "/redoc"}
PARAMETERS = {"model_name": "iris", "model_version": "1", "name": "page.css", "request_id": "x"}
ROUTES = {path: methods for path, methods in Catalogue(alert_retrain=False).methods.items() if "GET" in methods}


@pytest.mark.parametrize("route", ROUTES)
async def test_head_is_answered_as_get_without_a_body(served: Any, route: str) -> None:
    path = route.format(**PARAMETERS)
    labels = {"route": route, "method": "HEAD", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 0
    get, head = await served.client.get(path), await served.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert list(head.headers) == list(get.headers)
    same = ["content-type", "cache-control", *([] if route in CHANGING else ["content-length"])]
    assert [head.headers.get(name) for name in same] == [get.headers.get(name) for name in same]
    labels["status"] = str(head.status_code)
    assert await served.metric("inference_http_requests_total", **labels) == 1
    assert "HEAD" in (await served.client.patch(path)).headers["Allow"]


async def test_monitor_that_sends_head_learns_that_no_model_is_loaded(unready: Any) -> None:
    for path in ("/health", "/ping", "/v2/health/ready"):
        answer = await unready.client.head(path)
        assert (answer.status_code, answer.content) == (503, b"")
    assert (await unready.client.head("/v2/health/live")).status_code == 200


async def test_head_of_what_has_no_get_is_refused(served: Any) -> None:
    answer = await served.client.head("/predict")
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, "POST", b"")
    assert await served.metric("inference_http_requests_total", route="/predict", method="HEAD", status="405") == 1
    assert (await served.client.head("/nope")).status_code == 404
