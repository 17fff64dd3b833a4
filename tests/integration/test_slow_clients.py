"""Clients that send or read slowly, too much, or nothing, on a real server."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.support.inference_process import Inference, without_mlflow
from tests.support.load import request
from tests.support.models import SETOSA
from tests.support.raw_client import RawClient
from tests.support.running import wait_until

pytestmark = pytest.mark.integration

HEAD_SECONDS = 0.5
BODY_SECONDS = 0.5
BODY_RATE = 100_000
KEEP_ALIVE_SECONDS = 2
MAX_BODY_BYTES = 200_000
MAX_BATCH_BYTES = 4_000_000
SLOTS = 4
BODY = json.dumps(SETOSA).encode()
START = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE_BATCH = START.replace(b"/predict", b"/predict/batch").replace(b"/json", b"/x-ndjson")
LARGE_BATCH += b"Content-Length: 2000000\r\n\r\n"
LONG_BODY = START + b"Content-Length: 100000\r\n\r\n"


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("slow"))
    limits = {
        "HEAD_SECONDS": HEAD_SECONDS,
        "BODY_SECONDS": BODY_SECONDS,
        "KEEP_ALIVE_SECONDS": KEEP_ALIVE_SECONDS,
        "BODY_RATE": BODY_RATE,
        "MAX_BODY_BYTES": MAX_BODY_BYTES,
        "MAX_BATCH_BYTES": MAX_BATCH_BYTES,
        "MAX_LARGE_BATCHES": 1,
        "MAX_CONCURRENCY": SLOTS,
        "MAX_QUEUE": 0,
        "DRAIN_SECONDS": 0,
    }
    with service.serving(**{name: str(value) for name, value in limits.items()}):
        yield service
    assert "Traceback" not in service.log()


@pytest.fixture
def client(inference: Inference) -> Iterator[RawClient]:
    with RawClient(inference.port) as connection:
        yield connection


def cut(inference: Inference, reason: str) -> float:
    text = httpx.get(f"{inference.url}/metrics").text
    found = re.search(rf'^inference_http_clients_cut_total{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    assert found
    return float(found[1])


def test_client_that_says_nothing_is_let_go(inference: Inference, client: RawClient) -> None:
    before = cut(inference, "slow_head")
    assert client.is_closed()
    assert cut(inference, "slow_head") == before + 1


@pytest.mark.parametrize("asked", [request(), request("GET", "/health")], ids=["fast route", "ordinary route"])
def test_idle_connection_is_kept_for_a_while(client: RawClient, asked: bytes) -> None:
    client.send(asked)
    assert client.answer().status == 200
    with pytest.raises(TimeoutError):  # longer than HEAD_SECONDS
        client.wait(1)
    assert client.is_closed()


@pytest.mark.parametrize("requests_before", [0, 1])
def test_head_that_drips_is_ended_in_time(client: RawClient, requests_before: int) -> None:
    for _ in range(requests_before):
        client.send(request())
        assert client.answer().status == 200
    assert client.drip(START + b"X: " + b"x" * 1000, 0.05) < 10 * HEAD_SECONDS
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.is_closed()


def test_head_without_end_is_ended_by_its_size(inference: Inference, client: RawClient) -> None:
    before = cut(inference, "large_head")
    client.send(START)
    for _ in range(100):
        try:
            client.send(b"X: " + b"x" * 1000 + b"\r\n")
        except ConnectionError:
            break
    wait_until("the count of the cut head", lambda: cut(inference, "large_head") == before + 1)


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1000\r\n"])
def test_body_that_drips_is_ended_in_time_and_holds_no_slot(inference: Inference, framing: bytes) -> None:
    before = cut(inference, "slow_body")
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(inference.port)) for _ in range(3 * SLOTS)]
        for client in clients:
            client.send(START + framing + BODY[:10])
        assert inference.predict()["prediction"] == "setosa"
        assert clients[0].drip(b" " * 900, 0.05) < 10 * BODY_SECONDS
        answer = clients[0].answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert clients[0].is_closed()
        # All are told at once, each for a moment with a slot of its own.
        assert {client.answer().status for client in clients[1:]} <= {408, 503}
    assert cut(inference, "slow_body") == before + len(clients)


def test_large_bodies_that_drip_hold_no_slot_and_no_turn(inference: Inference) -> None:
    kind = {"Content-Type": "application/x-ndjson"}
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(inference.port)) for _ in range(3 * SLOTS)]
        for client in clients:
            client.send(LARGE_BATCH + (BODY + b"\n") * 2000)
        assert inference.predict()["prediction"] == "setosa"
        batch = (BODY + b"\n") * 15_000
        found = httpx.post(f"{inference.url}/predict/batch", content=batch, headers=kind, timeout=20)
        assert (found.status_code, found.text.count("\n")) == (200, 15_000)


def test_bodies_for_which_there_is_no_room_are_turned_away(inference: Inference) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(inference.port)) for _ in range(2 * SLOTS)]
        for client in clients:
            client.send(LARGE_BATCH + b" " * 1_900_000)
        # There is room for two batches; who has waited long makes room for others.
        statuses = {client.answer().status for client in clients}
        assert 503 in statuses
        assert statuses <= {408, 503}
    assert inference.predict()["prediction"] == "setosa"


def test_large_body_that_stops_half_way_is_ended_in_time(client: RawClient) -> None:
    client.send(LONG_BODY + b"[" + b" " * 80_000)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")


def test_large_body_that_comes_steadily_has_the_time_it_needs(client: RawClient) -> None:
    body = BODY + b" " * (100_000 - len(BODY))
    client.send(LONG_BODY + body[:70_000])
    with pytest.raises(TimeoutError):  # longer than BODY_SECONDS alone
        client.wait(0.7)
    client.send(body[70_000:])
    assert client.answer().status == 200


def test_small_body_in_pieces_is_answered(client: RawClient) -> None:
    whole = request()
    for part in (whole[:10], whole[10:-40], whole[-40:-1]):
        client.send(part)
        with pytest.raises(TimeoutError):
            client.wait(0.05)
    client.send(whole[-1:])
    assert client.answer().status == 200


def test_rest_of_a_refused_body_is_not_waited_for(client: RawClient) -> None:
    client.send(START + b"Content-Length: 10000000\r\n\r\n" + b"[" * 1000)
    assert client.answer().status == 413
    assert client.is_closed()


@pytest.mark.parametrize(("length", "first"), [(len(BODY), 100), (10_000_000, 413)])
def test_expectation_of_a_client_is_met(client: RawClient, length: int, first: int) -> None:
    client.send(START + f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert client.answer().status == first
    if first == 100:
        client.send(BODY)
        assert client.answer().status == 200


def test_requests_sent_ahead_are_answered_in_order(client: RawClient) -> None:
    client.send(request(headers={"X-Request-ID": "first"}) + request(headers={"X-Request-ID": "second"})[:-10])
    assert client.answer().headers["x-request-id"] == "first"
    client.send(request()[-10:] + request("GET", "/health", headers={"X-Request-ID": "third"}))
    assert [client.answer().headers["x-request-id"] for _ in range(2)] == ["second", "third"]


def test_many_requests_sent_ahead_are_answered_or_turned_away(inference: Inference, client: RawClient) -> None:
    client.send(request() * 500)
    statuses = {client.answer().status for _ in range(500)}
    assert statuses == {200}
    assert inference.predict()["prediction"] == "setosa"


def test_upgrade_that_is_not_offered_is_ignored(client: RawClient) -> None:
    client.send(request("GET", "/health", headers={"Connection": "Upgrade", "Upgrade": "h2c"}))
    assert client.answer().status == 200


def test_client_that_does_not_read_is_cut(inference: Inference, client: RawClient) -> None:
    before = cut(inference, "slow_reader")
    client.send(request("GET", "/metrics") * 1000)
    wait_until("the client is cut", lambda: cut(inference, "slow_reader") == before + 1)
