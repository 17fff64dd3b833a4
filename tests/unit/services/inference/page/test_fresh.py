import asyncio
from collections.abc import Callable

import pytest

from src.core.errors import ConnectionFailedError
from src.services.inference.page.page import Fresh

pytestmark = pytest.mark.anyio

SECONDS = 2.0


def nothing() -> None:
    """Happens most of the time."""


class Counter:
    """Answers how often it was asked, and has something happen meanwhile."""

    asked = 0
    meanwhile: Callable[[], object] = staticmethod(nothing)

    async def ask(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)  # other pages ask
        self.meanwhile()
        return self.asked


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_many_pages_ask_once_until_the_answer_expires() -> None:
    clock = Clock()
    fresh = Fresh(Counter().ask, SECONDS, clock=clock)
    assert await asyncio.gather(*(fresh.read() for _ in range(50))) == [(1, None)] * 50
    clock.now = SECONDS / 2
    assert await fresh.read() == (1, None)
    clock.now = SECONDS
    assert await fresh.read() == (2, None)


async def test_slow_answer_is_as_old_as_its_arrival() -> None:
    clock, counter = Clock(), Counter()
    fresh = Fresh(counter.ask, SECONDS, clock=clock)
    counter.meanwhile = lambda: setattr(clock, "now", SECONDS)
    assert [await fresh.read(), await fresh.read()] == [(1, None), (1, None)]


async def test_change_is_seen_at_once() -> None:
    fresh = Fresh(Counter().ask, SECONDS, clock=Clock())
    await fresh.read()
    fresh.forget()
    assert [await fresh.read(), await fresh.read()] == [(2, None), (2, None)]


async def test_answer_under_way_during_a_change_is_not_kept() -> None:
    counter = Counter()
    fresh = Fresh(counter.ask, SECONDS, clock=Clock())
    counter.meanwhile = fresh.forget
    assert [await fresh.read(), await fresh.read()] == [(1, None), (2, None)]


async def test_failure_is_reported_with_the_last_answer_for_as_long_as_an_answer() -> None:
    counter, clock = Counter(), Clock()
    fresh = Fresh(counter.ask, SECONDS, clock=clock)

    def fail() -> None:
        raise ConnectionFailedError("MLflow cannot be reached")

    counter.meanwhile = fail
    assert [await fresh.read(), await fresh.read()] == [(None, "MLflow cannot be reached")] * 2
    counter.meanwhile = nothing
    clock.now += SECONDS
    assert await fresh.read() == (2, None)
    counter.meanwhile = fail
    clock.now += SECONDS
    assert await fresh.read() == (2, "MLflow cannot be reached")


async def test_silence_is_not_waited_for_long() -> None:
    fresh: Fresh[bool] = Fresh(asyncio.Event().wait, SECONDS, patience=0.01)
    assert await fresh.read() == (None, "MLflow did not answer in time; this is its last answer")


async def test_unexpected_error_is_raised_and_not_kept() -> None:
    counter = Counter()
    fresh = Fresh(counter.ask, SECONDS, clock=Clock())

    def fail() -> None:
        raise RuntimeError

    counter.meanwhile = fail
    with pytest.raises(RuntimeError):
        await fresh.read()
    counter.meanwhile = nothing
    assert await fresh.read() == (2, None)
