import asyncio
from collections.abc import Callable

import pytest

from src.core.errors import ConnectionFailedError
from src.services.inference.page.known_aliases import FRESH_SECONDS, KnownAliases
from src.serving.models.model_version import Aliases
from src.serving.models.registry_client import RegistryClient

pytestmark = pytest.mark.anyio


class FakeClient(RegistryClient):
    """Answers, fails or keeps silent, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self.silent = False
        self.meanwhile: Callable[[], None] = lambda: None

    async def aliases(self) -> Aliases:
        self.asked += 1
        self.meanwhile()
        if self.silent:
            await asyncio.Event().wait()
        if self.fails:
            raise ConnectionFailedError("MLflow cannot be reached")
        return Aliases(None, None, None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_many_pages_ask_once() -> None:
    client, clock = FakeClient(), Clock()
    known = KnownAliases(client, clock)
    found = await asyncio.gather(*(known.read() for _ in range(50)))
    assert (client.asked, {item.problem for item in found}) == (1, {None})
    clock.now = FRESH_SECONDS
    await known.read()
    assert client.asked == 2


async def test_what_was_known_stays_known_while_mlflow_is_away() -> None:
    client, clock = FakeClient(), Clock()
    known = KnownAliases(client, clock)
    before = await known.read()
    client.fails = True
    clock.now += FRESH_SECONDS
    assert (await known.read()).problem == "MLflow cannot be reached"
    assert (await known.read()).aliases is before.aliases is not None
    assert client.asked == 2  # a failure is news for as long as an answer
    client.fails = False
    clock.now += FRESH_SECONDS
    assert (await known.read()).problem is None


async def test_silent_mlflow_is_not_waited_for_long() -> None:
    client = FakeClient()
    client.silent = True
    assert "in time" in str((await KnownAliases(client, patience=0.01).read()).problem)


async def test_moved_aliases_are_asked_for_again() -> None:
    client = FakeClient()
    known = KnownAliases(client, Clock())
    await known.read()
    known.forget()
    await known.read()
    assert client.asked == 2


async def test_answer_under_way_while_aliases_moved_is_not_kept() -> None:
    client = FakeClient()
    known = KnownAliases(client, Clock())
    client.meanwhile = known.forget
    await known.read()
    client.meanwhile = lambda: None
    await known.read()
    assert client.asked == 2
