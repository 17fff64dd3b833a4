import json
from typing import Any

import pytest
from fastapi.routing import APIRoute

from src.services.inference.routes import page
from src.services.inference.routes.catalogue import WRITING, Catalogue
from src.serving.http.guards import (
    CompressedBodyError,
    CrossSiteError,
    EncodingGuard,
    HostGuard,
    UnauthorizedError,
    UntrustedHostError,
    WriteGuard,
)
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

KEY = "a key of some length"


def scope(*headers: tuple[str, str], method: str = "POST", path: str = "/retrain", version: str = "1.1") -> Any:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "http_version": version, "method": method, "path": path, "headers": raw}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "localhost.",
        "inference:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "10.0.0.7:8000",
        "[fe80::1]",
        "a.example.com",
        "a.b.example.com:1",
    ],
)
def test_host_by_which_the_service_goes_is_answered(host: str) -> None:
    guard = HostGuard(["localhost", "Inference:8000", " *.example.com "])
    for _ in range(2):  # the second time from memory
        assert guard.refusal(scope(("host", host))) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.localhost",
        "example.com",
        "badexample.com",
        "",
        " ",
        ":80",
        "::1",
        "localhost:80:80",
        "localhost/",
        "user@localhost",
        "[::1",
        "[x]",
        "127.0.0.1.evil.example",
        "1",
        "é",
        "*",
    ],
)
def test_host_of_another_name_is_refused(host: str) -> None:
    guard = HostGuard(["localhost", "inference", "*.example.com"])
    for _ in range(2):
        assert isinstance(guard.refusal(scope(("host", host))), UntrustedHostError)


def test_request_with_two_hosts_or_none_is_refused() -> None:
    guard = HostGuard(["localhost"])
    assert guard.refusal(scope(("host", "localhost"), ("host", "localhost"))) is not None
    assert guard.refusal(scope()) is not None
    assert guard.refusal(scope(version="1.0")) is None


def test_star_is_any_host() -> None:
    assert HostGuard(["*"]).refusal(scope(("host", "evil.example"))) is None


def test_addresses_without_end_take_no_memory_without_end() -> None:
    guard = HostGuard([])
    for port in range(3000):
        assert guard.allows(scope(("host", f"127.0.0.1:{port}")))
    assert len(guard._known) == 1000  # noqa: SLF001 - its size shows nowhere else


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8000")],
        [("sec-fetch-site", "none")],
        [("origin", "http://localhost:8000")],
        [("origin", "https://LOCALHOST:8000")],
    ],
)
def test_writing_from_own_pages_and_other_programs_passes(headers: list[tuple[str, str]]) -> None:
    assert WriteGuard(["/retrain"], None).refusal(scope(("host", "localhost:8000"), *headers)) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "")],
        [("origin", "http://localhost:3000")],
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "")],
    ],
)
def test_writing_from_pages_of_other_sites_is_refused(headers: list[tuple[str, str]]) -> None:
    guard = WriteGuard(["/retrain"], None)
    assert isinstance(guard.refusal(scope(("host", "localhost:8000"), *headers)), CrossSiteError)
    assert guard.refusal(scope(*headers, method="GET")) is None
    assert guard.refusal(scope(*headers, path="/predict")) is None


@pytest.mark.parametrize("sent", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer   {KEY} "])
def test_writing_with_the_key_passes(sent: str) -> None:
    assert WriteGuard(["/retrain"], KEY).refusal(scope(("authorization", sent))) is None


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é", "Bearer a"]
)
def test_writing_without_the_key_is_refused(sent: str) -> None:
    assert isinstance(WriteGuard(["/retrain"], KEY).refusal(scope(("authorization", sent))), UnauthorizedError)
    assert isinstance(WriteGuard(["/retrain"], KEY).refusal(scope()), UnauthorizedError)


def test_writing_with_two_keys_is_refused() -> None:
    sent = ("authorization", f"Bearer {KEY}")
    assert isinstance(WriteGuard(["/retrain"], KEY).refusal(scope(sent, sent)), UnauthorizedError)


async def test_every_route_that_is_no_reading_and_no_prediction_is_guarded(served: Any) -> None:
    documented = {
        path
        for path, operations in served.app.openapi()["paths"].items()
        for method, operation in operations.items()
        if method != "get" and "prediction" not in operation["tags"]
    }
    of_the_page = {
        route.path
        for route in page.router.routes
        if isinstance(route, APIRoute) and route.methods != {"GET"} and "prediction" not in route.tags
    }
    assert documented | of_the_page == WRITING


@pytest.mark.parametrize("path", ["/predict", "/retrain", "/health", "/metrics", "/nope"])
async def test_other_host_is_refused_everywhere_without_being_repeated(served: Any, path: str) -> None:
    answer = await served.client.request(
        "POST" if path in {"/predict", "/retrain"} else "GET", path, headers={"Host": "zq7marker.example"}
    )
    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert "zq7marker" not in answer.text


async def test_other_host_is_refused_on_the_short_cut_too(served: Any) -> None:
    body = json.dumps(SETOSA).encode()
    assert (await served.post_plainly(body)).status_code == 200
    assert (await served.post_plainly(body, host="evil.example")).status_code == 400


async def test_refused_writing_leaves_no_request(served: Any) -> None:
    answer = await served.client.post("/retrain", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert (await served.client.get("/retrain")).json() == {"requests": []}
    assert await served.metric("inference_http_requests_total", route="/retrain", method="POST", status="403") == 1
    assert await served.metric("inference_http_requests_total", route="/retrain", method="POST", status="401") == 0


async def test_key_is_asked_for_writing_alone(serving: Any, tmp_path: Any, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        answer = await served.client.post("/retrain")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await served.client.post("/retrain", headers={"Authorization": f"Bearer {KEY}"})).status_code == 202
        assert (await served.client.get("/retrain")).status_code == 200
        assert (await served.client.post("/predict", json=SETOSA)).status_code == 200
        document = (await served.client.get("/openapi.json")).json()
    assert document["paths"]["/retrain"]["post"]["security"] == [{"WriteKey": []}]
    assert document["components"]["securitySchemes"]["WriteKey"]["scheme"] == "bearer"
    assert {"401", "403"} <= document["paths"]["/retrain"]["post"]["responses"].keys()
    assert "security" not in document["paths"]["/retrain"]["get"]


async def test_without_a_key_none_is_documented(served: Any) -> None:
    document = (await served.client.get("/openapi.json")).json()
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/retrain"]["post"]["responses"]
    assert "503" not in document["paths"]["/metrics"]["get"]["responses"]
    assert document["paths"]["/predict"]["post"]["responses"].keys() >= {
        "200",
        "400",
        "408",
        "413",
        "415",
        "422",
        "503",
    }


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "zstd"])
def test_compressed_body_is_refused_with_the_encoding(encoding: str) -> None:
    refusal = EncodingGuard().refusal(scope(("content-encoding", encoding)))
    assert isinstance(refusal, CompressedBodyError)
    assert f"Content-Encoding {encoding.lower()} is not supported" in str(refusal)


def test_encoding_in_two_headers_is_refused() -> None:
    two = scope(("content-encoding", "identity"), ("content-encoding", "gzip"))
    assert "identity, gzip" in str(EncodingGuard().refusal(two))


@pytest.mark.parametrize("encoding", ["<b>", "x" * 61, "\xff"])
def test_encoding_that_is_no_name_is_not_repeated(encoding: str) -> None:
    refusal = str(EncodingGuard().refusal(scope(("content-encoding", encoding))))
    assert refusal.startswith("Content-Encoding is not supported")


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
def test_body_without_compression_is_accepted(encoding: str) -> None:
    assert EncodingGuard().refusal(scope(("content-encoding", encoding))) is None
    assert EncodingGuard().refusal(scope()) is None


def test_encoding_of_a_request_without_a_body_does_not_matter() -> None:
    assert EncodingGuard().refusal(scope(("content-encoding", "gzip"), method="GET")) is None


async def test_compressed_body_is_refused_on_every_route(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, alert_retrain=True, alert_token=KEY) as served:
        catalogue = Catalogue(alert_retrain=True)
        paths = [path for path, methods in catalogue.methods.items() if "POST" in methods]
        assert {"/predict", "/predict/batch", "/invocations", "/alerts", "/retrain", "/page/predict"} < set(paths)
        for path in paths:
            labels = {"route": path, "method": "POST", "status": "415"}
            assert await served.metric("inference_http_requests_total", **labels) == 0
            target = path.format(model_name="iris", model_version="1")
            answer = await served.client.post(target, json=SETOSA, headers={"Content-Encoding": "gzip"})
            assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity"), path
            assert "Content-Encoding gzip is not supported" in answer.text
            assert await served.metric("inference_http_requests_total", **labels) == 1


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("identity", 200)])
async def test_fast_route_has_the_same_rule_for_encodings(served: Any, encoding: str, status: int) -> None:
    answer = await served.post_plainly(json.dumps(SETOSA).encode(), content_encoding=encoding)
    assert answer.status_code == status
