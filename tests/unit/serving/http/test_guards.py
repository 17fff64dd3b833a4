import json
import pickle
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr

from src.services.inference.routes import page
from src.services.inference.routes.catalogue import WRITING, Catalogue
from src.serving.http.guards import Guard, HostGuard, WriteGuard, encoding_guard
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

KEY = "a key of some length"


def scope(*headers: tuple[str, str], method: str = "POST", path: str = "/retrain", version: str = "1.1") -> Any:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "http_version": version, "method": method, "path": path, "headers": raw}


def status_of(guard: Guard, scope: Any) -> int | None:
    """The status of the guard's refusal, or None."""
    refusal = guard(scope)
    return None if refusal is None else refusal.status


ALLOWED = (
    *("localhost", "localhost:8000", "LOCALHOST", "localhost.", "inference:8000", "a.example.com", "a.b.example.com:1"),
    *("127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "10.0.0.7:8000", "[fe80::1]"),
)
REFUSED = (
    "localhost:080000",
    f"{'a' * 256}.example.com",
    *("evil.example", "localhost.evil.example", "evil.localhost", "example.com", "badexample.com", "é", "*", "1"),
    *("", " ", ":80", "::1", "localhost:80:80", "localhost/", "user@localhost", "[::1", "[x]", "127.0.0.1.evil"),
)


@pytest.mark.parametrize("host", [*ALLOWED, *REFUSED])
def test_only_allowed_hosts_and_addresses_are_answered(host: str) -> None:
    guard = HostGuard(["localhost", "Inference:8000", " *.example.com ", ""])
    for _ in range(2):  # the second time from the cache
        assert status_of(guard, scope(("host", host))) == (None if host in ALLOWED else 400)


def test_names_of_a_kubernetes_service_are_allowed_as_the_manifest_lists_them() -> None:
    names = ["inference.loop", "inference.loop.svc", "inference.loop.svc.cluster.local"]
    guard = HostGuard(["localhost", "inference", *names])
    for name in names:
        assert status_of(guard, scope(("host", name))) is None
        assert status_of(guard, scope(("host", f"{name}.:8000"))) is None
    assert status_of(guard, scope(("host", "inference.other.svc"))) == 400
    assert status_of(guard, scope(("host", "other.loop.svc.cluster.local"))) == 400


def test_request_with_two_hosts_or_none_is_refused() -> None:
    guard = HostGuard(["localhost"])
    assert status_of(guard, scope(("host", "localhost"), ("host", "localhost"))) == 400
    assert status_of(guard, scope()) == 400
    assert status_of(guard, scope(version="1.0")) is None
    assert status_of(HostGuard(["*"]), scope(("host", "evil.example"))) is None


def test_cache_of_hosts_is_limited() -> None:
    guard, sizes = HostGuard([]), []
    for start in (0, 1000, 2000):
        for port in range(start, start + 1000):
            assert guard(scope(("host", f"127.0.0.1:{port:04}"))) is None
        sizes.append(len(pickle.dumps(guard)))
    assert sizes[0] == sizes[1] == sizes[2]


OWN = [
    [],
    [("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8000")],
    [("sec-fetch-site", "none")],
    [("origin", "http://localhost:8000")],
    [("origin", "https://LOCALHOST:8000")],
]
FOREIGN = [
    [("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
    [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "")],
    *([("origin", origin)] for origin in ("http://localhost:3000", "http://evil.example", "null", "")),
]


@pytest.mark.parametrize("headers", [*OWN, *FOREIGN])
def test_pages_of_other_sites_change_nothing(headers: list[tuple[str, str]]) -> None:
    guard = WriteGuard({"/retrain": None})
    writing = scope(("host", "localhost:8000"), *headers)
    assert status_of(guard, writing) == (None if headers in OWN else 403)
    assert status_of(guard, scope(*headers, method="GET")) is None
    assert status_of(guard, scope(*headers, path="/predict")) is None


BEARERS = (f"Bearer {KEY}", f"bearer {KEY}", f"Bearer   {KEY} ")
NO_BEARERS = ("", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é", "Bearer a")


@pytest.mark.parametrize("sent", [*BEARERS, *NO_BEARERS])
def test_writing_needs_the_key(sent: str) -> None:
    guard = WriteGuard({"/retrain": SecretStr(KEY)})
    assert status_of(guard, scope(("authorization", sent))) == (None if sent in BEARERS else 401)
    assert status_of(guard, scope(("authorization", sent), ("authorization", sent))) == 401
    assert status_of(guard, scope()) == 401


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/rollouts/1/approve", "POST", 401),
        ("/rollouts/1/anything", "POST", 401),
        ("/rollouts//approve", "POST", 401),
        ("/rollouts", "GET", None),
        ("/rollouts/1/approve", "GET", None),
        ("/predict", "POST", None),
    ],
)
def test_key_of_a_template_is_that_of_all_paths_below(path: str, method: str, status: int | None) -> None:
    guard = WriteGuard({"/retrain": None, "/rollouts/{rollout_id}/approve": SecretStr(KEY)})
    assert status_of(guard, scope(path=path, method=method)) == status
    authorized = scope(("authorization", f"Bearer {KEY}"), path=path, method=method)
    assert status_of(guard, authorized) is None
    other_site = scope(("authorization", f"Bearer {KEY}"), ("sec-fetch-site", "cross-site"), path=path, method=method)
    assert status_of(guard, other_site) == (403 if status else None)


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
    assert (await served.client.get("/retrain")).json() == {"requests": [], "amounts": []}
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
    assert (
        set(map(str, (200, 400, 408, 413, 415, 422, 503))) <= document["paths"]["/predict"]["post"]["responses"].keys()
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        *((sent, f" {sent.lower()}") for sent in ("gzip", "GZIP", "br", "identity, gzip", "zstd")),
        *((sent, "") for sent in ("<b>", "x" * 61, "\xff")),
    ],
)
def test_compressed_body_is_refused_with_the_encoding_if_it_is_a_name(sent: str, shown: str) -> None:
    refusal = encoding_guard(scope(("content-encoding", sent)))
    assert str(refusal).startswith(f"Content-Encoding{shown} is not supported")
    two = scope(("content-encoding", "identity"), ("content-encoding", sent))
    assert status_of(encoding_guard, two) == 415


def test_body_without_compression_is_accepted() -> None:
    for encoding in ("identity", " Identity ", ""):
        assert status_of(encoding_guard, scope(("content-encoding", encoding))) is None
    assert status_of(encoding_guard, scope()) is None
    assert status_of(encoding_guard, scope(("content-encoding", "gzip"), method="GET")) is None


async def test_compressed_body_is_refused_on_every_route(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, alert_retrain=True, alert_token=KEY) as served:
        catalogue = Catalogue(alert_retrain=True)
        paths = [path for path, methods in catalogue.methods.items() if "POST" in methods]
        assert {"/predict", "/predict/batch", "/invocations", "/alerts", "/retrain", "/page/predict"} < set(paths)
        for path in paths:
            labels = {"route": path, "method": "POST", "status": "415"}
            assert await served.metric("inference_http_requests_total", **labels) == 0
            target = path.format(model_name="iris", model_version="1", rollout_id="0")
            answer = await served.client.post(target, json=SETOSA, headers={"Content-Encoding": "gzip"})
            assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity"), path
            assert "Content-Encoding gzip is not supported" in answer.text
            assert await served.metric("inference_http_requests_total", **labels) == 1


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("identity", 200)])
async def test_fast_route_has_the_same_rule_for_encodings(served: Any, encoding: str, status: int) -> None:
    answer = await served.post_plainly(json.dumps(SETOSA).encode(), content_encoding=encoding)
    assert answer.status_code == status
