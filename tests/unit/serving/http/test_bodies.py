"""Incoming bodies share a limited memory and a limited time."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from src.core.errors import LoopError
from src.serving.http.bodies import Bodies, BodyMemory, IncomingBody
from src.serving.http.errors import IncompleteRequestError, StoppingError
from src.serving.models.admission import OverloadedError

pytestmark = pytest.mark.anyio

LIMIT, MEMORY = 80, 100
LONG, SHORT = 30.0, 0.01


class Client:
    """Sends a body piece by piece; its request is answered when ``release`` is called."""

    def __init__(self, bodies: Bodies, *, path: str = "/predict", announced: int | None = None) -> None:
        headers = [] if announced is None else [(b"content-length", str(announced).encode())]
        self.messages = asyncio.Queue[dict[str, Any]]()
        self._body = asyncio.get_running_loop().create_future()
        self._answered = asyncio.Event()
        self.task = asyncio.create_task(self._request(bodies, {"path": path, "headers": headers}))

    async def _request(self, bodies: Bodies, scope: Any) -> None:
        async with bodies.received(scope, self.messages.get) as body:
            self._body.set_result(body)
            await self._answered.wait()

    async def send(self, *pieces: bytes, ends: bool = False) -> None:
        for piece in pieces:
            self.messages.put_nowait({"type": "http.request", "body": piece, "more_body": True})
        if ends:
            self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def is_complete(self) -> bool:
        return self._body.done()

    async def body(self) -> IncomingBody:
        body: IncomingBody = await asyncio.wait_for(self._body, 10)
        return body

    async def error(self) -> LoopError | None:
        body = await self.body()
        if body.error is not None:
            with pytest.raises(type(body.error)):
                await body.receive()
        return body.error

    async def release(self) -> None:
        self._answered.set()
        await self.task


def create(seconds: float = LONG, rate: float = 1e9, usual: float = LONG) -> tuple[Bodies, Counter[str]]:
    counts = Counter[str]()
    metrics: Any = SimpleNamespace(cut=lambda x: counts.update([x]), shed=lambda x: counts.update([x]))
    memory, other = BodyMemory(LIMIT, MEMORY, usual), BodyMemory(MEMORY, MEMORY, usual)
    settings: Any = SimpleNamespace(body_seconds=seconds, body_rate=rate)
    return Bodies(settings, memory, {"/large": other}, metrics), counts


async def read(body: IncomingBody) -> list[tuple[bytes, bool]]:
    pieces: list[tuple[bytes, bool]] = []
    while not pieces or pieces[-1][1]:
        message = await body.receive()
        pieces.append((message["body"], message["more_body"]))
    return pieces


async def test_body_is_received_before_it_is_read() -> None:
    client = Client(create()[0])
    await client.send(b"a", b"b")
    assert not client.is_complete
    await client.send(ends=True)
    body = await client.body()
    assert await read(body) == [(b"a", True), (b"b", True), (b"", False)]
    client.messages.put_nowait({"type": "http.disconnect"})
    assert await body.receive() == {"type": "http.disconnect"}


async def test_client_that_disconnects_is_reported_and_frees_its_memory() -> None:
    bodies, _ = create()
    client = Client(bodies)
    await client.send(b"x" * LIMIT)
    client.messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(ClientDisconnect):
        await client.task
    other = Client(bodies)
    await other.send(b"x" * LIMIT, ends=True)
    assert await other.error() is None


async def test_body_over_the_limit_is_refused_by_its_length_and_by_its_size() -> None:
    bodies, counts = create()
    refused = str(await Client(bodies, announced=LIMIT + 1).error())
    assert refused == f"the body is larger than {LIMIT} bytes; send fewer rows (/predict/batch takes the most)"
    client = Client(bodies, announced=LIMIT)
    await client.send(b"x" * LIMIT, b"x")
    assert str(await client.error()) == refused
    whole = Client(bodies, announced=LIMIT)
    await whole.send(b"x" * LIMIT, ends=True)
    assert (await whole.error(), counts) == (None, {})
    await client.release()
    await whole.release()
    assert bodies.memory.free_bytes == MEMORY


async def test_body_that_stalls_is_refused() -> None:
    bodies, counts = create(seconds=SHORT)
    client = Client(bodies)
    await client.send(b"x" * LIMIT)
    error = await client.error()
    assert isinstance(error, IncompleteRequestError)
    assert (error.status, error.headers) == (408, {"Connection": "close"})
    assert counts == {"slow_body": 1}


async def test_received_bytes_extend_the_time() -> None:
    bodies, counts = create(seconds=SHORT, rate=1)
    client = Client(bodies)
    await client.send(b"x" * 10)
    other, _ = await asyncio.gather(Client(bodies).error(), client.send())
    assert isinstance(other, IncompleteRequestError)
    await client.send(ends=True)
    assert (await client.error(), counts) == (None, {"slow_body": 1})


async def test_body_without_memory_is_refused_until_another_is_released() -> None:
    bodies, counts = create()
    first, second, other = Client(bodies), Client(bodies), Client(bodies, path="/large")
    await first.send(b"x" * 50, b"y" * 10, ends=True)
    await other.send(b"x" * MEMORY, ends=True)
    await second.send(b"x" * 40, b"x")
    assert isinstance(await second.error(), OverloadedError)
    assert (await first.error(), await other.error(), counts) == (None, None, {"queue_full": 1})
    await first.release()
    third = Client(bodies)
    await third.send(b"x" * LIMIT, ends=True)
    assert await third.error() is None
    fourth = Client(bodies)
    await fourth.send(b"x" * 21)
    assert isinstance(await fourth.error(), OverloadedError)


async def test_small_body_in_one_piece_needs_no_memory() -> None:
    bodies, _ = create()
    for _ in range(3):
        client = Client(bodies)
        client.messages.put_nowait({"type": "http.request", "body": b"x" * LIMIT, "more_body": False})
        assert await read(await client.body()) == [(b"x" * LIMIT, False)]


async def test_oldest_incomplete_body_is_dropped_if_it_is_slow() -> None:
    bodies, counts = create(usual=0)
    whole, slow, other, new = (Client(bodies) for _ in range(4))
    await whole.send(b"x" * 20, ends=True)
    await slow.send(b"x" * 50)
    await other.send(b"x" * 20)
    await new.send(b"x" * 30)
    assert isinstance(await slow.error(), OverloadedError)
    await new.send(b"x" * 31, ends=True)
    assert isinstance(await other.error(), OverloadedError)
    assert (await new.error(), await whole.error(), counts) == (None, None, {"queue_full": 2})


async def test_young_body_is_not_dropped() -> None:
    bodies, _ = create()
    young, new = Client(bodies), Client(bodies)
    await young.send(b"x" * 50)
    await new.send(b"x" * 51)
    assert isinstance(await new.error(), OverloadedError)
    await young.send(ends=True)
    assert await young.error() is None


async def test_slow_body_is_refused_if_complete_ones_take_the_memory() -> None:
    bodies, counts = create(usual=0)
    whole, slow = Client(bodies), Client(bodies)
    await whole.send(b"x")
    whole.messages.put_nowait({"type": "http.request", "body": b"x" * (LIMIT - 1), "more_body": False})
    await whole.body()
    await slow.send(b"x" * 10, b"x" * 30)
    assert isinstance(await slow.error(), OverloadedError)
    assert (await whole.error(), counts) == (None, {"queue_full": 1})


async def test_stop_refuses_incomplete_bodies() -> None:
    bodies, counts = create()
    whole, first, second = Client(bodies), Client(bodies), Client(bodies, path="/large")
    await whole.send(b"x", ends=True)
    await first.send(b"x" * 10)
    await second.send()
    bodies.stop_waiting()
    assert isinstance(await first.error(), StoppingError)
    assert isinstance(await second.error(), StoppingError)
    assert (await whole.error(), counts) == (None, {})


async def test_stop_may_meet_a_body_whose_time_is_over() -> None:
    bodies, _ = create(seconds=SHORT)
    client = Client(bodies)
    await client.send(b"x")
    (body,) = bodies.memory.incomplete
    while not body.timer.expired():  # noqa: ASYNC110 - until just before the body learns of it
        await asyncio.sleep(0)
    assert not client.is_complete
    bodies.stop_waiting()
    assert isinstance(await client.error(), StoppingError)


async def test_interrupted_body_stays_refused_whatever_arrives_with_it() -> None:
    bodies, _ = create()
    client = Client(bodies)
    await client.send(b"x")
    client.messages.put_nowait({"type": "http.request", "body": b"y" * LIMIT, "more_body": False})
    bodies.stop_waiting()
    assert isinstance(await client.error(), StoppingError)
