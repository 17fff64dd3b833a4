"""Who answers which requests of a connection."""

import logging

import pytest

from src.serving.http.fast_predict import MAX_KNOWN_BYTES
from src.serving.http.front_protocol import BODY_WAIT
from tests.support.front_world import CHUNKED, HALF, HEAD, KEEP_ALIVE, OTHER, PLAIN, World
from tests.support.served import request

pytestmark = pytest.mark.anyio


async def test_plain_prediction_is_answered_without_the_application(world: World) -> None:
    assert await world.send(PLAIN) == b""
    assert world.answer() == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\nx-model-name: iris\r\nx-request-id: id\r\ncontent-length: 3\r\n\r\n{1}"
    )
    await world.send(PLAIN)
    assert world.answer()
    assert (world.fast.bodies, world.scopes) == ([b"{}", b"{}"], [])


LONG_HEAD = request(b"{}", x_note="n" * MAX_KNOWN_BYTES)


@pytest.mark.parametrize("head", [HEAD, b"\r\n" + HEAD, CHUNKED + b"2\r\n", LONG_HEAD[:-2]])
async def test_bodies_behind_the_same_head_are_told_apart(world: World, head: bytes) -> None:
    end = b"\r\n0\r\n\r\n" if head.startswith(CHUNKED) else b""
    for body in (b"{}", b"{}", b"[]", b"12"):
        assert await world.send(head + body + end) == b""
        world.answer()
    assert await world.send(head.replace(b"/predict", b"/predicT") + b"{}" + end)
    await world.send(b"\r\n", head, b"34" + end)
    assert (world.fast.bodies[:4], world.scopes[0]["path"]) == ([b"{}", b"{}", b"[]", b"12"], "/predicT")
    assert b"34" in world.fast.bodies + world.bodies


async def test_request_with_a_known_head_is_left_to_the_application_as_any_other(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.fast.has_room = False
    assert b"last" in await world.send(HEAD + b"[]")
    world.fast.has_room = True
    world.go_on.clear()
    await world.send(HEAD + b"12", OTHER)  # sent ahead
    await world.send(HEAD + b"56")
    assert (await world.finish()).count(b"last") == 3
    world.front.pause_writing()
    await world.send(HEAD + b"34")
    world.front.resume_writing()
    await world.settle()
    assert (world.fast.bodies, world.bodies) == ([b"{}", b"12"], [b"[]", b"12", b"", b"56", b"34"])


async def test_request_with_a_known_head_counts_as_one_in_progress(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.go_on.clear()
    await world.send(PLAIN, OTHER)
    world.front.shutdown()
    assert (await world.finish()).count(b"last") == 2


async def test_line_ends_behind_a_body_do_not_move_the_next_one(world: World) -> None:
    for body in (b"ab", b"cd"):
        await world.send(HEAD + body + b"\r\n")
        world.answer()
    assert world.fast.bodies == [b"ab", b"cd"]


async def test_body_that_looks_like_a_known_request_is_a_body(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    await world.send(request(b"", content_length=str(len(PLAIN))), PLAIN)
    assert world.fast.bodies + world.bodies == [b"{}", PLAIN]


@pytest.mark.parametrize(
    "other",
    [
        OTHER,
        PLAIN.replace(b"POST", b"PUT "),
        PLAIN.replace(b"/predict", b"/predicts"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"{}", connection="close"),
        request(b"{}", x_accept="no"),
    ],
)
async def test_other_requests_go_to_the_application(world: World, other: bytes) -> None:
    assert (await world.send(other)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (len(world.scopes), world.fast.taken) == (1, [])


async def test_request_that_is_not_taken_goes_to_the_application(world: World) -> None:
    world.fast.has_room = False
    assert b"last" in await world.send(PLAIN)
    assert world.bodies == [b"{}"]
    world.fast.has_room = True
    await world.send(PLAIN)
    assert len(world.fast.taken) == 1


async def test_pieces_are_put_together(world: World) -> None:
    await world.send(*(PLAIN[i : i + 1] for i in range(len(PLAIN))))
    assert (world.fast.bodies, world.scopes) == ([b"{}"], [])
    world.answer()
    await world.send(*(OTHER[i : i + 1] for i in range(len(OTHER))))
    assert len(world.scopes) == 1


async def test_chunks_in_one_packet_are_taken_and_in_more_are_not(world: World) -> None:
    chunks = b"2\r\n{}\r\n0\r\n\r\n"
    await world.send(CHUNKED + chunks)
    assert world.fast.bodies == [b"{}"]
    world.answer()
    assert b"last" in await world.send(CHUNKED, chunks)
    assert (len(world.fast.taken), world.bodies) == (1, [b"{}"])


async def test_body_that_does_not_follow_its_head_is_left_to_the_application(world: World) -> None:
    await world.send(HEAD)
    world.clock.go_to(BODY_WAIT - 0.01)
    assert await world.send(b"{") == b""
    assert world.scopes == []
    world.clock.go_to(BODY_WAIT)
    await world.settle()
    assert len(world.scopes) == 1
    assert b"last" in await world.send(b"}")
    assert (world.bodies, world.fast.taken) == ([b"{}"], [])


async def test_line_ends_between_requests_do_not_count(world: World) -> None:
    await world.send(b"\r\n" + PLAIN + b"\r\n")
    world.answer()
    world.clock.go_to(50)
    await world.send(b"\r\n\r\n")
    assert world.is_open_until(KEEP_ALIVE)


async def test_requests_sent_ahead_are_answered_in_order(world: World) -> None:
    sent = await world.send(request(b"[1]") + request(b"[2]"), request(b"[3]") + HALF)
    assert (world.bodies, world.fast.taken) == ([b"[1]", b"[2]", b"[3]"], [])
    assert sent.count(b"last") == 3
    await world.send(PLAIN[30:])
    assert world.bodies[3:] == [b"{}"]
    await world.send(PLAIN)
    assert world.fast.bodies == [b"{}"]


async def test_request_behind_one_that_was_taken_makes_both_ordinary(world: World) -> None:
    await world.send(PLAIN, OTHER)
    assert world.bodies == [b"{}", b""]
    assert not world.front.answer(world.fast.taken[0], b"{1}")
    world.front.take_ordinary_way(world.fast.taken[0])
    await world.settle()
    assert len(world.scopes) == 2


async def test_taken_request_can_be_given_to_the_application(world: World) -> None:
    await world.send(PLAIN)
    world.front.take_ordinary_way(world.fast.taken[0])
    assert b"last" in await world.settle()
    assert world.bodies == [b"{}"]


async def test_request_that_was_forwarded_is_not_given_to_the_application_again(world: World) -> None:
    await world.send(PLAIN, OTHER)
    await world.send(PLAIN)
    world.front.take_ordinary_way(world.fast.taken[0])
    assert world.answer()
    assert (await world.settle(), len(world.scopes)) == (world.transport.sent, 2)


async def test_nothing_is_written_when_the_client_has_disconnected(world: World) -> None:
    await world.send(PLAIN)
    world.transport.close()
    world.front.connection_lost(None)
    assert not world.front.answer(world.fast.taken[0], b"{1}")
    world.front.take_ordinary_way(world.fast.taken[0])
    assert (await world.settle(), world.scopes) == (b"", [])


async def test_lost_connection_leaves_no_timer_and_no_waiting_application(world: World) -> None:
    await world.send(OTHER)
    world.front.pause_writing()
    await world.send(request(b"{}", content_length="100"))
    world.clock.go_to(BODY_WAIT)
    await world.settle()
    assert world.state.connections == {world.front}
    world.transport.close()
    world.front.connection_lost(None)
    await world.settle()
    assert (world.disconnects, world.state.connections, world.clock.armed) == (1, set(), [])


async def test_requests_sent_ahead_of_a_lost_connection_end_without_an_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.go_on.clear()
    await world.send(OTHER + OTHER)
    world.transport.abort()
    world.front.connection_lost(ConnectionResetError())
    assert await world.finish() == b""
    assert not world.state.tasks
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
