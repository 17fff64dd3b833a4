"""The guide against small HTTP servers that answer as MLflow and inference would."""

import contextlib
import json
import shlex
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.core.local_settings import LocalSettings
from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.services.local.guide import Guide
from src.services.local.processes import base_url
from tests.support.http_server import serving
from tests.support.running import free_port, wait_until

IPV6_HOSTS = ["::1", "::"] if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else []


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own client, which other tests use, leaves its URI in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@contextlib.contextmanager
def answering(
    status: int, hits: list[str] | None = None, *, host: str = "127.0.0.1", document: object = None
) -> Iterator[int]:
    """A server that answers every GET with this status and notes its path in ``hits``; yields its port.

    ``document`` is its OpenAPI document.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hits is not None:
                hits.append(self.path)
            self.send_response(status)
            self.end_headers()
            if self.path == "/openapi.json":
                self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), Handler)
    with serving(server):
        yield server.server_port


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


@contextlib.contextmanager
def guided(spool: RetrainSpool, *, inference_port: int, mlflow_port: int, **changes: object) -> Iterator[list[str]]:
    """A guide at work in a thread; yields the lines it has said."""
    said: list[str] = []
    stop = threading.Event()
    settings = LocalSettings(_env_file=None, inference_port=inference_port, mlflow_port=mlflow_port, **changes)
    guide = threading.Thread(target=Guide(settings, spool, said.append).run, args=(stop,))
    guide.start()
    try:
        yield said
    finally:
        stop.set()
        guide.join()


def banner(said: list[str]) -> list[str]:
    """What to try, once it is there."""
    wait_until("the banner", lambda: "" in said[2:])
    return [line.strip() for line in said[said.index("try:") + 1 : -1]]


def test_guide_prints_what_to_try_once_a_model_is_served(spool: RetrainSpool) -> None:
    example = {"it's": 1.5, "b": -2.0}
    document = {"components": {"schemas": {"PredictRequest": {"example": example}}}}
    with (
        answering(200, document=document) as inference,
        guided(spool, inference_port=inference, mlflow_port=5000) as said,
    ):
        predict, *others = banner(said)
    words = shlex.split(predict)
    assert json.loads(words[words.index("-d") + 1]) == example
    assert words[-1] == f"http://localhost:{inference}/predict"
    assert others == [f"curl http://localhost:{inference}/health", f"curl -X POST http://localhost:{inference}/retrain"]
    assert spool.recent(10) == []


@pytest.mark.parametrize(
    "document", [None, [], {}, {"components": {"schemas": {"PredictRequest": {"type": "object"}}}}]
)
def test_guide_prints_no_example_where_the_model_has_none(spool: RetrainSpool, document: object) -> None:
    with (
        answering(200, document=document) as inference,
        guided(spool, inference_port=inference, mlflow_port=5000) as said,
    ):
        commands = banner(said)
    assert [command.rpartition("/")[2] for command in commands] == ["health", "retrain"]


def test_guide_names_the_port_that_a_training_by_hand_would_miss(spool: RetrainSpool) -> None:
    with answering(200) as inference, guided(spool, inference_port=inference, mlflow_port=5123) as said:
        commands = banner(said)
    assert commands[-1] == "MLFLOW_TRACKING_URI=http://127.0.0.1:5123 .venv/bin/python run_pipeline.py"


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("127.0.0.2", "http://127.0.0.2:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - what is tested
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("box.lan", "http://box.lan:8000"),
    ],
)
def test_base_url_reaches_what_listens_on_a_host(host: str, reached: str) -> None:
    assert base_url(host, 8000) == reached


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0", *IPV6_HOSTS])  # noqa: S104 - what is tested
def test_guide_finds_inference_on_its_host(spool: RetrainSpool, host: str) -> None:
    with (
        answering(200, host=host) as inference,
        guided(spool, inference_port=inference, mlflow_port=5000, inference_host=host) as said,
    ):
        banner(said)


def test_guide_asks_no_proxy(spool: RetrainSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(200) as inference, guided(spool, inference_port=inference, mlflow_port=5000) as said:
        banner(said)


@pytest.mark.parametrize("no_champion", [404, 400])
def test_guide_requests_the_first_training_once_when_there_is_no_champion(
    spool: RetrainSpool, no_champion: int
) -> None:
    with (
        answering(503) as inference,
        answering(no_champion) as mlflow,
        guided(spool, inference_port=inference, mlflow_port=mlflow) as said,
    ):
        wait_until("the request", lambda: any("first training run was requested" in line for line in said))
        with spool.lock():
            [record] = spool.claim()
            spool.update(record.model_copy(update={"attempts": 1}))
            wait_until("its start", lambda: any("has started" in line for line in said))
            failed = RetrainResult(outcome=Outcome.FAILED, reason="no disk", finished_at=datetime.now(UTC))
            spool.finish(record, failed)
        wait_until("its end", lambda: any("failed (no disk)" in line for line in said))
    assert record.source == "bootstrap"
    assert len(spool.recent(10)) == 1


def test_guide_follows_a_training_that_was_under_way(spool: RetrainSpool) -> None:
    waiting = spool.submit("api")
    with (
        answering(503) as inference,
        answering(404) as mlflow,
        guided(spool, inference_port=inference, mlflow_port=mlflow) as said,
    ):
        wait_until("the report", lambda: any("requested" in line for line in said))
    assert [record.id for record in spool.recent(10)] == [waiting.id]


def test_guide_asks_for_nothing_while_a_champion_exists(spool: RetrainSpool) -> None:
    looks: list[str] = []
    with (
        answering(503) as inference,
        answering(200, looks) as mlflow,
        guided(spool, inference_port=inference, mlflow_port=mlflow),
    ):
        wait_until("two looks at the registry", lambda: len(looks) >= 2)
    assert spool.recent(10) == []
    assert looks[0] == "/api/2.0/mlflow/registered-models/alias?name=iris&alias=champion"


def test_guide_says_when_it_cannot_ask(spool: RetrainSpool) -> None:
    (spool.root / "new").rmdir()
    with (
        answering(503) as inference,
        answering(404) as mlflow,
        guided(spool, inference_port=inference, mlflow_port=mlflow) as said,
    ):
        wait_until("the complaint", lambda: any("cannot request the first training run" in line for line in said))
