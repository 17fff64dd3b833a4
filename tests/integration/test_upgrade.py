"""Who asks for another protocol is answered in this one, as if they had not asked, and the log advises nothing."""

import json
from collections.abc import Iterator

import pytest

from tests.support.inference_process import Inference, without_mlflow
from tests.support.models import SETOSA
from tests.support.raw_client import RawAnswer, RawClient

pytestmark = pytest.mark.integration

BODY = json.dumps(SETOSA).encode()
JAVA = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n"
SHOUTED = "CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n"
WEBSOCKET = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("service"))
    with service.serving():
        yield service
    assert "pgrade" not in service.log()
    assert "websockets" not in service.log()


def post(headers: str, body: bytes = BODY) -> bytes:
    return (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n".encode() + body
    )


def require_prediction(answer: RawAnswer) -> None:
    assert answer.status == 200, answer
    assert answer.json()["prediction"] == "setosa"


@pytest.mark.parametrize("wish", [JAVA, SHOUTED, WEBSOCKET])
def test_body_behind_a_wish_for_another_protocol_is_answered(service: Inference, wish: str) -> None:
    with RawClient(service.port) as client:
        for request in (post(wish + LENGTH), post(wish + "Transfer-Encoding: chunked\r\n", CHUNKED), post(LENGTH)):
            client.send(request)
            require_prediction(client.answer())


def test_wish_is_ignored_wherever_the_pieces_end(service: Inference) -> None:
    request = post(JAVA + LENGTH)
    with RawClient(service.port) as client:
        for end in range(1, len(request), 7):
            client.send(request[:end])
            client.send(request[end:])
            require_prediction(client.answer())
        for byte in request:
            client.send(bytes([byte]))
        require_prediction(client.answer())


def test_wishes_sent_ahead_are_answered_in_turn(service: Inference) -> None:
    with RawClient(service.port) as client:
        client.send(post(JAVA + LENGTH) * 3 + post(LENGTH) + post(JAVA + LENGTH))
        for _ in range(5):
            require_prediction(client.answer())


def test_wish_to_close_besides_is_granted(service: Inference) -> None:
    with RawClient(service.port) as client:
        client.send(post("Connection: Upgrade, close\r\nUpgrade: h2c\r\n" + LENGTH))
        require_prediction(client.answer())
        assert client.is_closed()


def test_request_without_a_body_is_answered(service: Inference) -> None:
    with RawClient(service.port) as client:
        for _ in range(2):
            client.send(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{JAVA}\r\n".encode())
            assert client.answer().json()["model"]["version"] == "1"


def test_body_that_is_waited_for_is_invited(service: Inference) -> None:
    with RawClient(service.port) as client:
        client.send(post(JAVA + LENGTH + "Expect: 100-continue\r\n", b""))
        assert client.answer().status == 100
        client.send(BODY)
        require_prediction(client.answer())
