"""Bodies that come in share a limited memory, and the slow ones make room."""

from collections.abc import Callable
from typing import Any

import pytest

from src.serving.http.uploads import Upload, Uploads

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refused() -> list[str]:
    return []


@pytest.fixture
def begin(clock: Clock, refused: list[str]) -> Callable[[str], Upload]:
    uploads = Uploads(100, 10, clock)

    def begin(name: str) -> Upload:
        def refuse() -> None:
            refused.append(name)
            upload.drop()

        upload = uploads.begin(refuse)
        return upload

    return begin


def test_what_is_too_much_is_refused(begin: Any, refused: list[str]) -> None:
    first, second = begin("first"), begin("second")
    assert first.keep(bytearray(60))
    assert second.keep(bytearray(40))
    assert not second.keep(bytearray(1))
    assert refused == ["second"]
    assert first.keep(bytearray(40))


def test_who_sends_longer_than_usual_makes_room(begin: Any, refused: list[str], clock: Clock) -> None:
    slow, other = begin("slow"), begin("other")
    assert slow.keep(bytearray(60))
    assert other.keep(bytearray(30))
    clock.now = 11
    new = begin("new")
    assert new.keep(bytearray(50))
    assert refused == ["slow"]
    assert new.keep(bytearray(50))
    assert refused == ["slow", "other"]
    assert not new.keep(bytearray(1))


async def test_whole_body_keeps_its_memory_until_it_is_answered(begin: Any, refused: list[str], clock: Clock) -> None:
    first = begin("first")
    for piece in (b"a" * 50, b"b" * 50):
        assert first.keep(bytearray(piece))
    heard = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        clock.now = 11
        heard.extend([await receive() for _ in range(3)])
        assert not begin("second").keep(bytearray(1))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"c", "more_body": False}

    async def send(_: Any) -> None:
        raise AssertionError("nothing is sent")

    await first.handed_to(app)({}, receive, send)
    assert [(item["body"][:1], item["more_body"]) for item in heard] == [(b"a", True), (b"b", True), (b"c", False)]
    assert refused == ["second"]
    assert begin("third").keep(bytearray(100))
