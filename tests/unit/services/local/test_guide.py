"""The guide against small HTTP servers that answer as MLflow and inference would."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.core.settings import LocalSettings
from src.services.local.guide import Guide
from tests.support.running import free_port, wait_until


@contextlib.contextmanager
def answering(status: int, hits: list[str] | None = None) -> Iterator[int]:
    """A server that answers every GET with this status and notes its path in ``hits``; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hits is not None:
                hits.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


@contextlib.contextmanager
def guided(spool: RetrainSpool, *, inference_port: int, mlflow_port: int) -> Iterator[list[str]]:
    """A guide at work in a thread; yields the lines it has said."""
    said: list[str] = []
    stop = threading.Event()
    settings = LocalSettings(_env_file=None, inference_port=inference_port, mlflow_port=mlflow_port)
    guide = threading.Thread(target=Guide(settings, spool, said.append).run, args=(stop,))
    guide.start()
    try:
        yield said
    finally:
        stop.set()
        guide.join()


def test_guide_prints_what_to_try_once_a_model_is_served(spool: RetrainSpool) -> None:
    with answering(200) as inference, guided(spool, inference_port=inference, mlflow_port=free_port()) as said:
        wait_until("the banner", lambda: any(line.startswith("ready:") for line in said))
    assert sum(line.startswith("  curl ") for line in said) == 3
    assert spool.recent(10) == []


@pytest.mark.parametrize("no_champion", [404, 400])
def test_guide_requests_the_first_training_once_when_there_is_no_champion(
    spool: RetrainSpool, no_champion: int
) -> None:
    with (
        answering(503) as inference,
        answering(no_champion) as mlflow,
        guided(spool, inference_port=inference, mlflow_port=mlflow) as said,
    ):
        wait_until("the request", lambda: any("first training run is requested" in line for line in said))
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
        wait_until("the complaint", lambda: any("cannot ask for the first training run" in line for line in said))
