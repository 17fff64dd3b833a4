"""The demo's traffic against a small server."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from src.services.local.demo.traffic import Traffic
from src.services.local.demo.world import customers
from tests.support.http_server import serving
from tests.support.running import free_port, wait_until

pytestmark = pytest.mark.slow


class Service:
    """Answers ``yes``, as version 7; keeps what it received."""

    def __init__(self) -> None:
        self.status = 200
        self.rows: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self.received = 0

    def answer(self, path: str, request_id: str, body: Any) -> dict[str, Any]:
        if path == "/feedback":
            self.received += len(body)
            self.labels |= {label["request_id"]: label["label"] for label in body}
            return {}
        self.rows[request_id] = body
        return {"prediction": "yes", "model": {"version": "7"}}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def traffic(service: Service) -> Iterator[Traffic]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(service.answer(self.path, self.headers.get("X-Request-ID", ""), body)).encode()
            self.send_response(service.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        url = f"http://127.0.0.1:{server.server_port}"
        yield Traffic(url, clock=time.monotonic, per_second=500)


def test_each_row_gets_its_true_label_and_counts_as_right_or_wrong(traffic: Traffic, service: Service) -> None:
    with traffic.running():
        wait_until("labels are sent more than once", lambda: service.received and len(traffic.answers) >= 60)
    assert traffic.failures == []
    assert set(service.labels) == set(service.rows)
    assert service.received == len(service.rows)
    assert len(traffic.answers) == len(service.rows)
    truths = customers(500, seed=100).set_index("customer")
    for customer, label in service.labels.items():
        assert truths.loc[customer, "left"] == label
        assert set(service.rows[customer]) == {"monthly_charge", "months", "support_calls", "contract"}
    assert sum(answer.right for answer in traffic.answers) == list(service.labels.values()).count("yes")
    assert {answer.version for answer in traffic.answers} == {"7"}
    seconds = [answer.seconds for answer in traffic.answers]
    assert seconds == sorted(seconds)


def test_rows_are_of_the_changed_world_at_once(traffic: Traffic, service: Service) -> None:
    with traffic.running():
        wait_until("rows are sent", lambda: len(service.rows) >= 5)
        traffic.changed = True
        count = len(service.rows)
        wait_until("more rows are sent", lambda: len(service.rows) >= count + 40)
    new = list(service.rows)[count + 2 :]
    truths = customers(500, seed=101, changed=True).set_index("customer")["left"]
    assert set(new) <= set(truths.index)
    assert all(service.labels[customer] == truths[customer] for customer in new)


def test_no_more_rows_are_sent_than_asked_for(traffic: Traffic) -> None:
    traffic.per_second = 20.0
    start = time.monotonic()
    with traffic.running():
        wait_until("rows are sent", lambda: len(traffic.answers) >= 10, interval=0.005)
    assert time.monotonic() - start >= 9 / 20.0


def test_failed_requests_are_counted_with_what_came_back(traffic: Traffic, service: Service) -> None:
    service.status = 503
    with traffic.running():
        wait_until("requests fail", lambda: len(traffic.failures) >= 3)
    assert traffic.answers == []
    assert traffic.failures[0].startswith("/predict: 503 ")
    assert service.labels == {}


def test_a_service_that_is_gone_is_a_failure() -> None:
    traffic = Traffic(f"http://127.0.0.1:{free_port()}", clock=time.monotonic, per_second=100)
    with traffic.running():
        wait_until("requests fail", lambda: traffic.failures)
    assert traffic.failures[0] == "/predict: ConnectError"
    assert not any(thread.name == "traffic" for thread in threading.enumerate())
