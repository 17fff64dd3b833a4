"""SIGTERM and Ctrl-C on a real server with clients on it."""

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from tests.support.inference_process import Inference, without_mlflow
from tests.support.load import keep_asking, request
from tests.support.raw_client import RawClient
from tests.support.running import wait_until

pytestmark = pytest.mark.integration

STOP_SECONDS = 10
CONNECTIONS = 32
BEGUN = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture
def inference(tmp_path: Path) -> Inference:
    return without_mlflow(tmp_path)


def readiness(port: int) -> int | None:
    """The status of a fresh look at /health; None when nothing is there any more."""
    with contextlib.suppress(ConnectionError, AssertionError), RawClient(port) as probe:
        probe.send(request("GET", "/health"))
        return probe.answer().status
    return None


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_stop_under_load_drops_no_request(inference: Inference, signal_name: str) -> None:
    async def stop_under_load() -> None:
        async with keep_asking(inference.port, CONNECTIONS) as load:
            await asyncio.to_thread(wait_until, "the load is on", lambda: len(load.answers) > 20 * CONNECTIONS)
            child.send_signal(getattr(signal, signal_name))
            await asyncio.to_thread(wait_until, "readiness falls", lambda: readiness(inference.port) == 503)
            answered = len(load.answers)
            await asyncio.to_thread(wait_until, "the load goes on", lambda: len(load.answers) > answered + CONNECTIONS)
            assert await asyncio.to_thread(child.wait, STOP_SECONDS) == 0
        assert set(load.statuses()) == {200}
        assert not load.dropped
        assert load.closed >= CONNECTIONS

    with inference.serving() as child:
        asyncio.run(stop_under_load())
    assert "Traceback" not in inference.log()
    assert readiness(inference.port) is None


def test_idle_connections_and_a_request_that_comes_late_are_let_go_in_time(inference: Inference) -> None:
    with inference.serving() as child, RawClient(inference.port) as idle, RawClient(inference.port) as late:
        idle.send(request())
        assert idle.answer().status == 200
        child.send_signal(signal.SIGTERM)
        wait_until("readiness falls", lambda: readiness(inference.port) == 503)
        late.send(request())
        answer = late.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert child.wait(STOP_SECONDS) == 0
        assert idle.is_closed()


def test_body_that_does_not_come_is_told_that_the_service_stops(inference: Inference) -> None:
    with inference.serving(DRAIN_SECONDS="0") as child, RawClient(inference.port) as slow:
        slow.send(BEGUN)
        wait_until("the head is in", lambda: inference.served() == "1")
        child.send_signal(signal.SIGTERM)
        answer = slow.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "stopping" in answer.json()["detail"]
        assert child.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_second_signal_ends_at_once(inference: Inference, signal_name: str) -> None:
    number = getattr(signal, signal_name)
    with inference.serving(DRAIN_SECONDS="10") as child, RawClient(inference.port) as slow:
        slow.send(BEGUN)
        child.send_signal(number)
        wait_until("readiness falls", lambda: readiness(inference.port) == 503)
        child.send_signal(number)
        assert child.wait(5) == -number
