"""Whatever is sent to whatever takes a body: no failure, no echo, and no turn of the event loop that others feel."""

import gzip
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from src.serving.tables.problems import MAX_NAME
from tests.support.inference_process import Inference, without_mlflow
from tests.support.predict_bodies import BODIES, MARKER
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.integration

LONGEST_TURN = 100  # milliseconds
# Pieces of the bodies that an answer has no reason to hold.
PIECES = (MARKER, "9999999999", "18446744073709551616", "1e999", "4444444444", "[[[[", "\\ud800", "__proto__")
GOOD = BODIES["good"][0]
MARKED = BODIES["string"][0]
POST = "POST {path} HTTP/1.1\r\nHost: localhost\r\n"
# name -> (head beside Host, body), each sent as it is.
FRAMES: dict[str, tuple[str, bytes]] = {
    "no length": ("", GOOD),
    "no content type": (f"Content-Length: {len(GOOD)}", GOOD),
    "length too large": (f"Content-Length: {len(GOOD) + 1}", GOOD),
    "length too small": (f"Content-Length: {len(GOOD) - 1}", GOOD),
    "length twice": (f"Content-Length: {len(GOOD)}\r\nContent-Length: {len(GOOD)}", GOOD),
    "two lengths": (f"Content-Length: {len(GOOD)}\r\nContent-Length: 1", GOOD),
    "negative length": ("Content-Length: -1", GOOD),
    "length that is none": (f"Content-Length: {MARKER}", GOOD),
    "length of 30 digits": ("Content-Length: " + "9" * 30, GOOD),
    "length and chunks": ("Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "chunked": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)),
    "chunks of a byte": ("Transfer-Encoding: chunked", b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"),
    "chunk extension": ("Transfer-Encoding: chunked", b"%x;a=%b\r\n%b\r\n0\r\n\r\n" % (len(GOOD), b"x" * 1000, GOOD)),
    "trailer": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(GOOD), GOOD)),
    "chunk size that is none": ("Transfer-Encoding: chunked", MARKER.encode() + b"\r\n"),
    "chunk size of 30 digits": ("Transfer-Encoding: chunked", b"f" * 30 + b"\r\n"),
    "chunks without end": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(GOOD), GOOD)),
    "chunks, empty": ("Transfer-Encoding: chunked", b"0\r\n\r\n"),
    "unknown coding": (f"Transfer-Encoding: {MARKER}", GOOD),
    "compressed": (f"Content-Encoding: gzip\r\nContent-Length: {len(gzip.compress(MARKED))}", gzip.compress(MARKED)),
    "claims to be compressed": (f"Content-Encoding: gzip\r\nContent-Length: {len(MARKED)}", MARKED),
    "bare line feeds": (f"Content-Length: {len(GOOD)}\nX: y", GOOD),
    "null in a header": (f"X: \0\r\nContent-Length: {len(GOOD)}", GOOD),
    "header without a name": (f": {MARKER}\r\nContent-Length: {len(GOOD)}", GOOD),
    "folded header": (f"X: a\r\n {MARKER}\r\nContent-Length: {len(GOOD)}", GOOD),
    "header of 60 kB": (f"X: {'x' * 60_000}\r\nContent-Length: {len(GOOD)}", GOOD),
    "5,000 headers": ("".join(f"X{n}: y\r\n" for n in range(5000)) + f"Content-Length: {len(GOOD)}", GOOD),
}
CONTENT_TYPES = (
    *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"),
    *(
        "application/json; charset=utf-16",
        "application/octet-stream",
        "*/*",
        "json",
        "",
        f"x/{MARKER}",
        "\xff",
        "a" * 5000,
    ),
    *("text/csv; charset=latin-1", "text/csv; header=absent", "application/json; format=pandas-split"),
)


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    service = without_mlflow(tmp_path_factory.mktemp("raw"))
    service.module = "tests.support.turn_watch"
    with service.serving(HEAD_SECONDS="0.3", BODY_SECONDS="0.3"):
        yield service
        assert service.predict()["prediction"] == "setosa"
        failures = re.findall(
            r'(?m)^inference_http_requests_total{.*status="5..".*} (?!0\.0$).*',
            httpx.get(f"{service.url}/metrics").text,
        )
    assert not failures
    assert "Traceback" not in service.log()
    assert MARKER not in service.log()
    turn = re.search(r"longest turn: (\d+) ms", service.log())
    assert turn
    assert int(turn[1]) <= LONGEST_TURN


@pytest.fixture(scope="module")
def client(inference: Inference) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=inference.url, timeout=30) as session:
        yield session


@pytest.fixture(scope="module")
def taking(client: httpx.Client) -> list[tuple[str, str]]:
    """Path and content type of everything that the OpenAPI document lists with a body."""
    paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    found = [
        (path, content_type)
        for path, operations in paths.items()
        for operation in operations.values()
        for content_type in operation.get("requestBody", {}).get("content", {})
    ]
    assert ("/predict", "application/json") in found
    return found


def check(status: int, text: str) -> None:
    """Nothing of the body is repeated but the names of unknown columns, as far as they can be printed."""
    assert status < 500, text
    named = "unknown (?:columns|fields|inputs): ([^;]*); (?:the model takes|a label has) "
    rest = re.sub(named, "", text)
    assert not [piece for piece in PIECES if piece in rest]
    assert all(
        len(re.sub(r" \(did you mean .*\)", "", name)) <= MAX_NAME
        for names in re.findall(named, text)
        for name in names.split(", ")
    )


@pytest.mark.parametrize("body", [body for body, _, _ in BODIES.values()], ids=BODIES)
def test_every_body_is_answered_everywhere(client: httpx.Client, taking: list[tuple[str, str]], body: bytes) -> None:
    for path, content_type in taking:
        answer = client.post(path, content=body, headers={"Content-Type": content_type})
        check(answer.status_code, answer.text)


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_every_content_type_is_answered_everywhere(
    client: httpx.Client, taking: list[tuple[str, str]], content_type: str
) -> None:
    for path in {path for path, _ in taking}:
        for body in (GOOD, MARKED, b""):
            answer = client.post(path, content=body, headers={"Content-Type": content_type.encode("latin-1")})
            check(answer.status_code, answer.text)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_frame_is_answered_everywhere(
    inference: Inference, taking: list[tuple[str, str]], frame: tuple[str, bytes]
) -> None:
    head, body = frame
    for path, content_type in taking:
        with RawClient(inference.port) as raw:
            raw.send(
                POST.format(path=path).encode() + f"Content-Type: {content_type}\r\n{head}\r\n\r\n".encode() + body
            )
            answer = raw.answer()  # of what does not come whole, too
            check(answer.status, answer.body.decode())
