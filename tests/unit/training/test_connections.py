import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from src.core.errors import ConnectionFailedError
from src.training.connections import delete_artifacts, find_versions, has_alias, probe_mlflow, probe_zenml, shown
from tests.support.http_server import serving
from tests.support.running import free_port

KEY = "ZENKEY_secret"


class FakeServer:
    """Returns the same response to every request and records the last one."""

    def __init__(self) -> None:
        self.status, self.body = 200, json.dumps({"access_token": "t"})
        self.method, self.path, self.form, self.authorization = "", "", {}, ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                outer.method, outer.path = self.command, self.path
                outer.form = parse_qs(self.rfile.read(length).decode())
                outer.authorization = self.headers.get("Authorization") or ""
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body.encode())

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:  # type: ignore[override]
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    with serving(fake.server):
        yield fake


def test_probe_mlflow_asks_the_api_and_sends_the_url_s_credentials(server: FakeServer) -> None:
    probe_mlflow(f"http://me:p%40ss@{server.address}/")
    assert server.path.startswith("/api/2.0/mlflow/")
    assert base64.b64decode(server.authorization.removeprefix("Basic ")) == b"me:p@ss"


def test_probe_mlflow_leaves_authentication_to_mlflow_s_client(server: FakeServer) -> None:
    server.status = 401
    probe_mlflow(server.url)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, "Invalid Host header", "refuses the request \\(403\\); check that its --allowed-hosts"),
        (404, "{}", "answers 404, not as MLflow does; check MLFLOW_TRACKING_URI"),
        (200, "<html>", "answers 200, not as MLflow does"),
        (503, "", "answers 503"),
    ],
)
def test_probe_mlflow_says_what_is_wrong(server: FakeServer, status: int, body: str, message: str) -> None:
    server.status, server.body = status, body
    with pytest.raises(ConnectionFailedError, match=message):
        probe_mlflow(server.url)


MISSING_MODEL = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Registered Model with name=x not found"}'
MISSING_ALIAS = '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias champion not found."}'


@pytest.mark.parametrize(
    ("status", "body", "has"), [(200, "{}", True), (404, MISSING_MODEL, False), (400, MISSING_ALIAS, False)]
)
def test_has_alias_asks_the_registry(server: FakeServer, status: int, body: str, *, has: bool) -> None:
    server.status, server.body = status, body
    assert has_alias(server.url, "my model", "champion") is has
    assert server.path == "/api/2.0/mlflow/registered-models/alias?name=my+model&alias=champion"


def test_find_versions_asks_for_a_tag_and_maps_the_tags(server: FakeServer) -> None:
    server.body = json.dumps({"model_versions": [{"version": "3", "tags": [{"key": "a.b", "value": "1"}]}]})
    assert find_versions(server.url, "iris", "a.b", "1") == [{"version": "3", "tags": {"a.b": "1"}}]
    path, query = server.path.split("?")
    assert path == "/api/2.0/mlflow/model-versions/search"
    assert parse_qs(query) == {"filter": ["name = \"iris\" and tags.`a.b` = '1'"]}


def test_find_versions_finds_none_in_an_empty_answer(server: FakeServer) -> None:
    server.body = "{}"
    assert find_versions(server.url, "iris", "a.b", "1") == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, "{}", "answers 500 to a request for the versions of iris"),
        (200, "<html>", "answers 200 to a request for the versions of iris"),
        (200, '{"model_versions": [{"version": "3"}]}', "does not list versions of iris as MLflow does"),
        (200, '{"model_versions": 3}', "does not list versions of iris as MLflow does"),
    ],
)
def test_find_versions_says_what_is_wrong(server: FakeServer, status: int, body: str, message: str) -> None:
    server.status, server.body = status, body
    with pytest.raises(ConnectionFailedError, match=message):
        find_versions(server.url, "iris", "a.b", "1")


@pytest.mark.parametrize("status", [200, 404])
def test_delete_artifacts_asks_the_server_that_stores_them(server: FakeServer, status: int) -> None:
    server.status = status
    assert delete_artifacts(server.url, "mlflow-artifacts:/1/models/m-1 a/artifacts")
    assert (server.method, server.path) == ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/models/m-1%20a/artifacts")


@pytest.mark.parametrize("location", ["s3://bucket/1/models/m-1", "file:///mlflow/1", "/mlflow/1"])
def test_delete_artifacts_leaves_files_that_the_server_does_not_store(server: FakeServer, location: str) -> None:
    assert not delete_artifacts(server.url, location)
    assert server.path == ""


@pytest.mark.parametrize("status", [401, 403, 500])
def test_delete_artifacts_says_when_they_are_not_deleted(server: FakeServer, status: int) -> None:
    server.status = status
    with pytest.raises(ConnectionFailedError, match=f"answers {status} to a request to delete mlflow-artifacts:/1/x"):
        delete_artifacts(server.url, "mlflow-artifacts:/1/x")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_has_alias_is_left_open_by_any_other_answer(server: FakeServer, status: int) -> None:
    server.status = status
    with pytest.raises(ConnectionFailedError, match=f"answers {status} to a request for the champion of iris"):
        has_alias(server.url, "iris", "champion")


def test_probe_zenml_logs_in_with_the_key(server: FakeServer) -> None:
    probe_zenml(f"{server.url}/", KEY)
    assert server.path == "/api/v1/login"
    assert server.form == {"grant_type": ["zenml-api-key"], "password": [KEY]}


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, "{}", "refuses the key \\(401\\); set ZENML_STORE_API_KEY to a valid one"),
        (200, "{}", "answers 200, not as ZenML does; check ZENML_STORE_URL"),
        (500, "", "answers 500"),
    ],
)
def test_probe_zenml_says_what_is_wrong_and_never_the_key(
    server: FakeServer, status: int, body: str, message: str
) -> None:
    server.status, server.body = status, body
    with pytest.raises(ConnectionFailedError, match=message) as caught:
        probe_zenml(server.url, KEY)
    assert KEY not in str(caught.value)


def test_probe_says_when_nothing_listens() -> None:
    with pytest.raises(ConnectionFailedError, match=r"cannot be reached.*refused.*MLFLOW_TRACKING_URI is right"):
        probe_mlflow(f"http://me:secret@127.0.0.1:{free_port()}")


def test_shown_hides_credentials_only() -> None:
    assert shown("https://me:secret@host:8080/zenml/") == "https://host:8080/zenml"
    assert shown("http://host/") == "http://host"


def test_probe_says_when_something_else_than_http_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ConnectionFailedError, match=r"cannot be reached \(SSH-2.0"):
            probe_mlflow(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
