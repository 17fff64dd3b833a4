"""A body over the limit, and one that stalls, on every route that takes POST, on a real server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from src.services.inference.openapi.document import INVALID_INPUT
from tests.support.inference_process import Inference, without_mlflow
from tests.support.raw_client import RawAnswer, RawClient

pytestmark = pytest.mark.integration

LIMIT = 10_000
TOKEN = "a token of thirty-two characters"  # noqa: S105 - of this test alone
LIMITS = {"MAX_BODY_BYTES": LIMIT, "MAX_BATCH_BYTES": LIMIT, "HEAD_SECONDS": 0.5, "BODY_SECONDS": 0.5}
START = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nAuthorization: Bearer {token}\r\n"
ANNOUNCED = b"Content-Length: 20000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + b" " * 0x4000 + b"\r\n0\r\n\r\n"
NOTIFICATION = {"version": "4", "groupKey": "{}", "alerts": [{"status": "resolved", "labels": {}}]}


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("limits"))
    alerts = {"ALERT_RETRAIN": "true", "ALERT_TOKEN": TOKEN}
    with service.serving(**alerts, **{name: str(value) for name, value in LIMITS.items()}):
        yield service
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def heads(inference: Inference) -> dict[str, bytes]:
    """The start of a request, by path: each that the OpenAPI document lists, and the page's form."""
    paths: dict[str, Any] = httpx.get(f"{inference.url}/openapi.json", timeout=10).json()["paths"]
    found = {"/page/predict": "application/x-www-form-urlencoded"}
    for path, operations in paths.items():
        kinds = operations.get("post", {}).get("requestBody", {}).get("content", {"application/json": {}})
        if "post" in operations:
            found[path.format(model_name="iris", model_version="1", rollout_id="a")] = next(iter(kinds))
    assert {"/alerts", "/predict", "/predict/batch", "/retrain", "/rollback", "/invocations"} <= set(found)
    return {path: START.format(path=path, kind=kind, token=TOKEN).encode() for path, kind in found.items()}


def answers(inference: Inference, heads: dict[str, bytes], rest: bytes) -> dict[str, RawAnswer]:
    found = {}
    for path, head in heads.items():
        with RawClient(inference.port) as client:
            client.send(head + rest)
            found[path] = client.answer()
    return found


@pytest.mark.parametrize("rest", [ANNOUNCED, CHUNKED], ids=["announced", "sent"])
def test_body_over_the_limit_is_refused_with_413(inference: Inference, heads: dict[str, bytes], rest: bytes) -> None:
    found = answers(inference, heads, rest)
    assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(heads, 413)
    detail = found["/alerts"].json()["detail"]
    assert str(LIMIT) in json.dumps(detail)


def test_body_that_stalls_is_refused_with_408(inference: Inference, heads: dict[str, bytes]) -> None:
    found = answers(inference, heads, b"Content-Length: 100\r\n\r\n{")
    assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(heads, 408)
    assert found["/alerts"].json()["request_id"] == found["/alerts"].headers["x-request-id"]


def test_notification_is_still_read_and_documented(inference: Inference) -> None:
    url, headers = f"{inference.url}/alerts", {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(url, json=NOTIFICATION, headers=headers, timeout=10).json()["outcome"] == "not_asked"
    assert httpx.post(url, content="{", headers=headers, timeout=10).status_code == int(INVALID_INPUT)
    document = httpx.get(f"{inference.url}/openapi.json", timeout=10).json()
    body = document["paths"]["/alerts"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Notification"}
    assert "408" in document["paths"]["/alerts"]["post"]["responses"]
