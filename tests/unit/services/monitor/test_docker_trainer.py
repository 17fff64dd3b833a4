"""The launcher of the training container, against an HTTP server in the Docker proxy's place."""

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from src.core.errors import ConnectionFailedError
from src.services.monitor.trainer import DockerTrainer, StartOutcome
from tests.support.http_server import serving
from tests.support.running import free_port

NAME = "loop-train-model"


class FakeEngine:
    """A container that can be started once, and its neighbours."""

    def __init__(self) -> None:
        self.running = False
        self.status = "Created"
        self.refusal: tuple[int, str] | None = None
        self.neighbours: list[str] = []
        self.requests: list[tuple[str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path, body))
                status, text = outer.refusal or outer.answer(self.command, self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = answer  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:  # type: ignore[override]
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"tcp://127.0.0.1:{self.server.server_port}"

    def answer(self, method: str, url: str) -> tuple[int, str]:
        path = urlsplit(url).path
        if (method, path) == ("GET", "/v1.44/containers/json"):
            wanted = json.loads(parse_qs(urlsplit(url).query)["filters"][0])["name"]
            everything = parse_qs(urlsplit(url).query)["all"] == ["1"]
            listed = [{"Names": [f"/{name}"], "Status": "Exited (1) 2 days ago"} for name in self.neighbours]
            if self.running or everything:
                listed.append({"Names": [f"/{NAME}"], "Status": "Up 3 seconds" if self.running else self.status})
            return 200, json.dumps([item for item in listed if wanted[0] in item["Names"][0]])
        if (method, path) == ("POST", f"/v1.44/containers/{NAME}/start"):
            before, self.running = self.running, True
            return (304, "") if before else (204, "")
        return 404, '{"message":"No such container"}'


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    with serving(fake.server):
        yield fake


@contextlib.contextmanager
def trainer_at(host: str, name: str = NAME) -> Iterator[DockerTrainer]:
    with contextlib.closing(DockerTrainer(host, name)) as trainer:
        yield trainer


def test_start_sends_the_one_request_that_the_proxy_allows(engine: FakeEngine) -> None:
    with trainer_at(engine.host) as trainer:
        assert trainer.start() is StartOutcome.STARTED
    assert engine.requests == [("POST", f"/v1.44/containers/{NAME}/start", b"")]


def test_proxies_of_the_environment_are_not_used(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with trainer_at(engine.host) as trainer:
        assert not trainer.is_running()


def test_start_of_a_running_container_says_so(engine: FakeEngine) -> None:
    engine.running = True
    with trainer_at(engine.host) as trainer:
        assert trainer.start() is StartOutcome.ALREADY_RUNNING


def test_is_running_is_about_the_one_container(engine: FakeEngine) -> None:
    engine.neighbours = [f"{NAME}-2", f"other-{NAME}"]
    with trainer_at(engine.host) as trainer:
        assert not trainer.is_running()
        trainer.start()
        assert trainer.is_running()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("Exited (0) 3 seconds ago", 0),
        ("Exited (137) Less than a second ago", 137),
        ("Exited (76) 2 hours ago", 76),
        ("Created", None),
        ("Dead", None),
    ],
)
def test_exit_code_is_read_from_the_containers_status(engine: FakeEngine, status: str, code: int | None) -> None:
    engine.status, engine.neighbours = status, [f"{NAME}-2"]
    with trainer_at(engine.host) as trainer:
        assert trainer.exit_code() == code


def test_running_container_has_no_exit_code(engine: FakeEngine) -> None:
    engine.running, engine.status = True, "Exited (1) 3 seconds ago"
    with trainer_at(engine.host) as trainer:
        assert trainer.exit_code() is None


def test_exit_code_is_unknown_where_docker_does_not_say(engine: FakeEngine) -> None:
    with trainer_at(engine.host, "loop-gone") as trainer:
        assert trainer.exit_code() is None
    engine.refusal = (403, "denied")
    with trainer_at(engine.host) as trainer:
        assert trainer.exit_code() is None


def test_start_of_a_removed_container_is_missing(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    with trainer_at(engine.host, "loop-gone") as trainer:
        assert trainer.start() is StartOutcome.MISSING
    assert caplog.messages == [
        "cannot start the training container loop-gone: there is no such container; docker compose up -d creates it"
    ]


@pytest.mark.parametrize("status", [403, 409, 500, 503])
def test_start_that_is_refused_fails_with_the_answer_in_the_log(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    engine.refusal = (status, "not\nallowed")
    with trainer_at(engine.host) as trainer:
        assert trainer.start() is StartOutcome.FAILED
    assert caplog.messages == [f"cannot start the training container {NAME}: Docker answers {status}: not allowed"]


def test_absent_proxy_fails_a_start_and_leaves_is_running_open(caplog: pytest.LogCaptureFixture) -> None:
    with trainer_at(f"tcp://127.0.0.1:{free_port()}") as trainer:
        assert trainer.start() is StartOutcome.FAILED
        with pytest.raises(ConnectionFailedError, match="see docker compose ps docker-proxy"):
            trainer.is_running()
    assert "does not answer (ConnectionError)" in caplog.text


def test_refused_listing_leaves_is_running_open(engine: FakeEngine) -> None:
    engine.refusal = (403, "denied")
    with trainer_at(engine.host) as trainer, pytest.raises(ConnectionFailedError, match="APIError"):
        trainer.is_running()


def test_close_leaves_a_running_training_alone(engine: FakeEngine) -> None:
    with trainer_at(engine.host) as trainer:
        trainer.start()
    assert engine.running
    assert len(engine.requests) == 1


@pytest.mark.parametrize("host", ["docker-proxy:x", "nonsense://a:1"])
def test_unusable_docker_host_is_named(host: str) -> None:
    with pytest.raises(ConnectionFailedError, match="DOCKER_HOST"):
        DockerTrainer(host, NAME)
