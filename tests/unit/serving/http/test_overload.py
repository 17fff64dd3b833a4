"""Requests beyond those that may be in work."""

import asyncio

import pytest

from src.serving.http.front_protocol import BREATHER
from tests.support.front_world import (
    MAX_REQUESTS,
    OTHER,
    PLAIN,
    World,
)

pytestmark = pytest.mark.anyio


async def occupied(world: World, requests: int) -> None:
    """Let the application work on so many requests."""
    world.state.tasks = {asyncio.create_task(asyncio.sleep(3600)) for _ in range(requests)}


async def free(world: World) -> None:
    for task in world.state.tasks:
        task.cancel()
    await asyncio.gather(*world.state.tasks, return_exceptions=True)
    world.state.tasks = set()


async def test_request_under_overload_is_refused_and_its_client_rests(world: World) -> None:
    await occupied(world, MAX_REQUESTS)
    answer = await world.send(OTHER.replace(b"/health", b"/anything?a=1"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\ndate: today\r\n")
    assert b"\r\nretry-after: 1\r\n" in head.lower() + b"\r\n"
    assert b"more requests than it can answer" in body
    assert (world.scopes, world.refused) == ([], ["queue_full", ("unmatched", "GET", 503)])
    assert not world.transport.is_read
    world.clock.go_to(BREATHER)
    assert world.transport.is_read
    assert (await world.send(OTHER)).startswith(b"HTTP/1.1 503 ")
    await free(world)
    assert b"last" in await world.send(OTHER)


async def test_refusal_of_a_head_request_has_no_body(world: World) -> None:
    await occupied(world, MAX_REQUESTS)
    answer = await world.send(OTHER.replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\ncontent-length: " in answer
    assert answer.endswith(b"\r\n\r\n")
    await free(world)


@pytest.mark.parametrize("target", [b"/live", b"/live?a=1", b"/%6cive"])
async def test_exempt_path_is_answered_under_overload(world: World, target: bytes) -> None:
    await occupied(world, MAX_REQUESTS)
    assert b"last" in await world.send(OTHER.replace(b"/health", target))
    assert world.refused == []
    await free(world)


async def test_requests_in_one_packet_are_left_to_the_application(world: World) -> None:
    await occupied(world, MAX_REQUESTS)
    assert (await world.send(OTHER + OTHER)).count(b"last") == 2
    assert world.refused == []
    await free(world)


async def test_request_below_the_limit_is_answered(world: World) -> None:
    await occupied(world, MAX_REQUESTS - 1)
    assert b"last" in await world.send(OTHER)
    await free(world)


async def test_plain_prediction_that_has_room_is_answered_under_overload(world: World) -> None:
    await occupied(world, MAX_REQUESTS)
    await world.send(PLAIN)
    assert world.answer()
    world.fast.has_room = False
    assert (await world.send(PLAIN)).startswith(b"HTTP/1.1 503 ")
    await free(world)
