"""The load generator as a process against a small real server."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from benchmarks.load.figures import Figures, Job
from src.services.local.processes import REPOSITORY

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
BODY_END = b"}"


class Server(asyncio.Protocol):
    """Answers each request with what ``answer`` gives for its number on this connection; None closes it."""

    requests: list[bytes]
    connections = 0

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self._answer = answer
        self._number = 0
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while BODY_END in self._seen:
            request, _, self._seen = self._seen.partition(BODY_END)
            self.requests.append(request + BODY_END)
            answer = self._answer(self._number)
            self._number += 1
            if answer is None:
                self._transport.close()
                return
            self._transport.write(answer)
            if answer is CLOSING:
                self._transport.close()


@contextlib.contextmanager
def serving(answer: Callable[[int], bytes | None]) -> Iterator[tuple[int, list[bytes]]]:
    """The server's port, and the requests that it has had."""
    event_loop = asyncio.new_event_loop()
    requests: list[bytes] = []

    def connect() -> Server:
        server = Server(answer)
        server.requests = requests
        return server

    listening = event_loop.run_until_complete(event_loop.create_server(connect, "127.0.0.1", 0))
    thread = threading.Thread(target=event_loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1], requests
    finally:
        event_loop.call_soon_threadsafe(event_loop.stop)
        thread.join()
        listening.close()
        for task in asyncio.all_tasks(event_loop):
            task.cancel()
        event_loop.run_until_complete(event_loop.shutdown_asyncgens())
        event_loop.close()


def load(port: int, *, rate: float | None = None, connections: int = 2, **more: Any) -> Figures:
    job = Job(port, "/predict", "application/json", [b'{"a":1}', b'{"a":2}'], connections, 0.5, 0.1, rate, **more)
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.load.run_load"],
        cwd=REPOSITORY,
        input=msgspec.json.encode(job),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return msgspec.json.decode(client.stdout, type=Figures)


def test_closed_loop_sends_whole_requests_and_counts_the_answers() -> None:
    with serving(lambda _: OK) as (port, requests):
        figures = load(port)
    head = (
        f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        "content-length: 7\r\n\r\n"
    )
    assert set(requests) == {head.encode() + b'{"a":1}', head.encode() + b'{"a":2}'}
    assert 0 < figures.answers <= len(requests)
    assert figures.errors == {}


def test_method_and_headers_are_those_of_the_job() -> None:
    with serving(lambda _: OK) as (port, requests):
        load(port, method="PUT", headers={"x-first": "1"})
    assert requests[0].startswith(b"PUT /predict HTTP/1.1\r\n")
    assert b"\r\nx-first: 1\r\n" in requests[0]


def test_chunked_answers_are_told_apart() -> None:
    with serving(lambda _: CHUNKED) as (port, requests):
        figures = load(port)
    assert 0 < figures.answers <= len(requests)
    assert figures.errors == {}


def test_a_connection_that_the_server_ends_after_its_answer_is_no_error() -> None:
    with serving(lambda _: CLOSING) as (port, requests):
        figures = load(port)
    assert 0 < figures.answers <= len(requests)
    assert figures.errors == {}


def test_errors_are_counted_by_cause_and_the_load_goes_on() -> None:
    with serving({0: OK, 1: REFUSED, 2: None}.__getitem__) as (port, _):
        figures = load(port)
    assert figures.answers > 1
    assert set(figures.errors) == {"status 503", "connection lost"}


def test_open_loop_sends_at_its_rate() -> None:
    with serving(lambda _: OK) as (port, requests):
        figures = load(port, rate=97)
    # No request falls due at the very begin or end of what is counted.
    assert figures.answers == 49
    assert len(requests) == 59
    assert figures.errors == {}
    assert figures.sent_late_p99 is not None


def test_a_server_that_is_not_there_is_an_error_without_figures() -> None:
    with serving(lambda _: OK) as (port, _):
        pass
    figures = load(port)
    assert figures.answers == 0
    assert set(figures.errors) == {"connection refused"}
