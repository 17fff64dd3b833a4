"""Time-outs, limits and the end of a connection."""

import pytest

from src.serving.http.connection import LINGER
from src.serving.http.front_protocol import MAX_HEAD_BYTES
from src.serving.http.request_parser import MAX_AHEAD
from tests.support.front_world import BODY_SECONDS, CHUNKED, HALF, HEAD, HEAD_SECONDS, KEEP_ALIVE, OTHER, PLAIN, World
from tests.support.served import request

pytestmark = pytest.mark.anyio


async def test_silent_client_is_disconnected(world: World) -> None:
    assert world.is_open_until(HEAD_SECONDS)
    assert (world.transport.sent, world.cut) == (b"", {"slow_head": 1})


@pytest.mark.parametrize("requests_before", [0, 1])
async def test_slow_head_is_refused(world: World, requests_before: int) -> None:
    for _ in range(requests_before):
        await world.send(PLAIN)
        world.answer()
    world.clock.go_to(5)
    await world.send(HALF)
    world.clock.go_to(12)
    await world.send(b"l")
    assert world.is_open_until(5 + HEAD_SECONDS)
    assert world.transport.sent.startswith(b"HTTP/1.1 408 Request Timeout\r\ndate: today\r\n")
    assert b"\r\nconnection: close\r\n" in world.transport.sent
    assert (world.cut, world.scopes) == ({"slow_head": 1}, [])


async def test_idle_connection_is_closed_after_the_last_response(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.clock.go_to(50)
    await world.send(PLAIN)
    world.answer()
    assert world.is_open_until(50 + KEEP_ALIVE)
    assert (world.transport.ending, world.cut) == ("closed", {})


async def test_uvicorns_idle_time_ends_with_any_request(world: World) -> None:
    await world.send(OTHER)
    world.clock.go_to(70)
    await world.send(PLAIN)
    world.answer()
    assert world.is_open_until(70 + KEEP_ALIVE)


@pytest.mark.parametrize("stray", [b"\r\n", b"\r\n\r\n", HALF])
async def test_response_in_progress_is_finished_whatever_follows_its_request(world: World, stray: bytes) -> None:
    world.go_on.clear()
    assert (await world.send(OTHER)).endswith(b"first\r\n")
    await world.send(stray)
    world.clock.go_to(1000)
    assert world.transport.sent == b""
    assert await world.finish() == b"4\r\nlast\r\n0\r\n\r\n"
    assert world.is_open_until(1000 + (HEAD_SECONDS if stray == HALF else KEEP_ALIVE))
    assert (b"HTTP/1.1 408" in world.transport.sent) == (stray == HALF)


async def test_large_head_is_refused(world: World) -> None:
    start = HEAD[:-2] + b"x: "
    await world.send(start, b"x" * (MAX_HEAD_BYTES - len(start)))
    assert not world.transport.ending
    assert (await world.send(b"x")).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert (world.transport.ending, world.cut) == ("closed", {"large_head": 1})


async def test_trailers_without_end_are_not_received(world: World) -> None:
    await world.send(CHUNKED, b"1\r\n{\r\n0\r\nx: ", *(b"x" * 10_000 for _ in range(6)))
    assert not world.transport.ending
    await world.send(b"x" * 10_000)
    assert (world.transport.ending, world.cut) == ("aborted", {"large_head": 1})


async def test_line_ends_without_end_are_not_received(world: World) -> None:
    await world.send(b"\r\n" * (MAX_HEAD_BYTES // 2))
    assert not world.transport.ending
    assert await world.send(b"\r\n") == b""
    assert (world.transport.ending, world.cut) == ("aborted", {"large_head": 1})


async def test_long_body_is_received(world: World) -> None:
    await world.send(request(b"", content_length="1000000"), *(b"x" * 10_000 for _ in range(100)))
    assert [len(body) for body in world.bodies] == [1_000_000]
    await world.send(*(PLAIN for _ in range(MAX_AHEAD)))
    assert not world.transport.ending


async def test_rest_of_a_body_that_was_answered_is_received_for_a_while(world: World) -> None:
    world.reads_body = False
    long = request(b"", content_length="1000000")
    assert b"last" in await world.send(long, b"{")
    world.clock.go_to(15)
    await world.send(b" ")
    assert world.is_open_until(BODY_SECONDS)
    assert world.transport.ending == "closed"


async def test_connection_is_used_again_after_the_rest_of_a_body_that_was_answered(world: World) -> None:
    world.reads_body = False
    await world.send(request(b"", content_length="1000000"), b"{")
    await world.send(b" " * 999_999)
    await world.send(PLAIN)
    assert len(world.fast.taken) == 1


async def test_client_that_does_not_read_gets_no_plain_predictions_and_is_cut(world: World) -> None:
    world.transport.unsent = 100_000
    world.front.pause_writing()
    assert await world.send(PLAIN) == b""
    assert len(world.scopes) == 1
    world.front.resume_writing()
    assert b"last" in await world.settle()
    await world.send(PLAIN)
    world.answer()
    world.clock.go_to(30)
    world.front.pause_writing()
    assert await world.send(PLAIN) == b""
    assert world.is_open_until(30 + BODY_SECONDS)
    assert (world.transport.ending, world.cut) == ("aborted", {"slow_reader": 1})
    world.front.connection_lost(None)
    await world.settle()


async def test_reader_must_keep_the_rate(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.transport.unsent = 5000
    world.front.pause_writing()
    world.transport.unsent = 3000  # 100 bytes a second
    world.clock.go_to(BODY_SECONDS)
    assert not world.transport.ending
    world.transport.unsent = 1001
    assert world.is_open_until(2 * BODY_SECONDS)
    assert (world.transport.ending, world.cut) == ("aborted", {"slow_reader": 1})


@pytest.mark.parametrize(("left", "ending"), [(10, "aborted"), (0, "")])
async def test_reader_of_a_small_rest_must_take_all_of_it(world: World, left: int, ending: str) -> None:
    await world.send(PLAIN)
    world.answer()
    world.transport.unsent = 10
    world.front.pause_writing()
    world.transport.unsent = left
    world.clock.go_to(BODY_SECONDS)
    assert world.transport.ending == ending


async def test_reader_that_has_caught_up_is_not_watched(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.transport.unsent = 10
    world.front.pause_writing()
    world.front.resume_writing()
    world.clock.go_to(KEEP_ALIVE - 1)
    assert not world.transport.ending


async def test_stop_gives_an_idle_connection_a_moment(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.front.shutdown()
    assert world.is_open_until(LINGER)
    assert world.cut == {}


async def test_stop_gives_a_new_connection_a_moment(world: World) -> None:
    world.front.shutdown()
    assert world.is_open_until(LINGER)
    assert (world.transport.sent, world.cut) == (b"", {})


async def test_stop_ends_half_a_head_without_a_response(world: World) -> None:
    world.front.shutdown()
    await world.send(HALF)
    assert world.is_open_until(LINGER)
    assert (world.transport.sent, world.cut) == (b"", {})


@pytest.mark.parametrize("content", [OTHER, OTHER + OTHER, PLAIN])
async def test_stop_lets_requests_in_progress_finish(world: World, content: bytes) -> None:
    world.go_on.clear()
    await world.send(content)
    world.front.shutdown()
    world.clock.go_to(1000)
    assert not world.transport.ending
    if content == PLAIN:
        assert world.answer()
    else:
        assert (await world.finish()).count(b"last") == content.count(b"GET")
    assert world.transport.ending == "closed"


async def test_stop_leaves_half_a_body_to_the_application(world: World) -> None:
    await world.send(PLAIN[:-1])
    world.front.shutdown()
    world.clock.go_to(LINGER)
    assert b"last" in await world.send(b"}")
    assert world.transport.ending == "closed"
