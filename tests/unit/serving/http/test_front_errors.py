"""What is not HTTP, or wishes for another protocol."""

import pytest

from src.serving.http.request_parser import MAX_AHEAD
from tests.support.front_world import CHUNKED, OTHER, PLAIN, World
from tests.support.served import request

pytestmark = pytest.mark.anyio


UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nhttp2-settings: x\r\n"


@pytest.mark.parametrize("size", [1, 1000])
async def test_wish_for_another_protocol_is_ignored(world: World, size: int) -> None:
    upgrade = OTHER.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\ncontent-length: 2\r\n" + UPGRADE + b"\r\n{}")
    for _ in range(2):
        await world.send(*(upgrade[i : i + size] for i in range(0, len(upgrade), size)))
    assert world.bodies == [b"{}", b"{}"]
    await world.send(PLAIN.replace(b"\r\n", b"\r\n" + UPGRADE, 1))
    assert world.fast.bodies == [b"{}"]


WISHING = request(b"{}", target="/other").replace(b"\r\n", b"\r\n" + UPGRADE, 1)


TUNNEL = b"CONNECT a:1 HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("in_one_packet", [False, True])
async def test_wish_behind_another_request_is_ignored(world: World, *, in_one_packet: bool) -> None:
    world.go_on.clear()
    pieces = [request(b"[1]", target="/other"), WISHING, WISHING, OTHER]
    await world.send(*([b"".join(pieces)] if in_one_packet else pieces))
    assert (await world.finish()).count(b"last") == 4
    assert (world.transport.ending, world.bodies) == ("", [b"[1]", b"{}", b"{}", b""])
    await world.send(PLAIN)
    assert world.fast.bodies == [b"{}"]


@pytest.mark.parametrize("first", [b"", OTHER])
async def test_number_of_wishes_in_a_packet_is_limited_only_as_that_of_requests(world: World, first: bytes) -> None:
    world.go_on.clear()
    wish = OTHER.replace(b"\r\n", b"\r\n" + UPGRADE, 1)
    await world.send(*([first] if first else []), wish * (MAX_AHEAD - bool(first)))
    world.go_on.set()
    for _ in range(MAX_AHEAD):
        await world.settle()
    assert (world.transport.ending, len(world.scopes)) == ("", MAX_AHEAD)


@pytest.mark.parametrize("ahead", [b"", OTHER])
async def test_head_with_a_wish_begins_at_its_own_first_line(world: World, ahead: bytes) -> None:
    world.reads_body = False
    head = b"content-length: %d\r\nx: %b" % (len(PLAIN), OTHER.replace(b"\r\n", b"\r\n" + UPGRADE, 1))
    await world.send(ahead + OTHER.replace(b"\r\n\r\n", b"\r\n" + head))
    assert dict(world.scopes[-1]["headers"])[b"x"] == b"GET /health HTTP/1.1"
    await world.send(PLAIN)
    assert world.fast.bodies == []  # it was the body


async def test_wish_in_the_packet_of_the_end_of_a_body_is_ignored(world: World) -> None:
    first = request(b"[1]", target="/other")
    await world.send(first[:-1], first[-1:] + WISHING)
    assert world.bodies == [b"[1]", b"{}"]


async def test_request_with_a_wish_in_a_head_of_two_packets_is_not_executed_behind_another(world: World) -> None:
    world.go_on.clear()
    await world.send(request(b"[1]", target="/other"), WISHING[:20], WISHING[20:], OTHER)
    assert not world.transport.ending
    assert (await world.finish()).count(b"last") == 1
    assert (world.transport.ending, world.bodies) == ("closed", [b"[1]"])


@pytest.mark.parametrize("wish", [b"", WISHING])
async def test_request_in_the_packet_of_an_invalid_one_is_not_executed(world: World, wish: bytes) -> None:
    assert (await world.send(OTHER + wish + b"\0\1")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (world.transport.ending, world.scopes) == ("closed", [])


async def test_invalid_bytes_behind_a_request_end_the_connection_after_its_response(world: World) -> None:
    world.go_on.clear()
    await world.send(OTHER, b"\0\1")
    assert not world.transport.ending
    assert (await world.finish()).endswith(b"last\r\n0\r\n\r\n")
    assert world.transport.ending == "closed"


@pytest.mark.parametrize("in_one_packet", [False, True])
async def test_number_of_requests_sent_ahead_is_limited(world: World, *, in_one_packet: bool) -> None:
    world.go_on.clear()
    pieces = [OTHER] * MAX_AHEAD
    await world.send(*([b"".join(pieces)] if in_one_packet else pieces))
    assert (world.transport.ending, world.cut) == ("", {})
    await world.send(OTHER)
    assert (world.transport.ending, world.cut) == ("aborted", {"pipelined": 1})


async def test_answered_requests_are_not_ahead(world: World) -> None:
    for _ in range(2 * MAX_AHEAD):
        await world.send(OTHER)
    world.go_on.clear()
    for _ in range(MAX_AHEAD):
        await world.send(OTHER)
    assert (world.transport.ending, len(world.scopes)) == ("", 2 * MAX_AHEAD + 1)


async def test_trailer_is_no_header(world: World) -> None:
    head = PLAIN.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n"
    await world.send(head + b"2\r\n{}\r\n0\r\nx-accept: no\r\n\r\n")
    assert world.fast.bodies == [b"{}"]


async def test_tunnel_is_refused(world: World) -> None:
    assert (await world.send(TUNNEL + b"x")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.transport.ending == "closed"


@pytest.mark.parametrize("at", [1, -1, None])
async def test_requests_ahead_of_a_tunnel_are_answered(world: World, at: int | None) -> None:
    both = OTHER + request(b"[1]", target="/other")
    pieces = [both + TUNNEL] if at is None else [both[:at], both[at:] + TUNNEL]
    assert (await world.send(*pieces)).count(b"last") == 2
    assert (world.transport.ending, world.bodies) == ("closed", [b"", b"[1]"])


async def test_invalid_request_is_refused(world: World) -> None:
    assert (await world.send(b"GET nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.transport.ending == "closed"


async def test_invalid_request_behind_a_response_in_progress_ends_the_connection_after_it(world: World) -> None:
    world.go_on.clear()
    await world.send(OTHER)
    assert await world.send(b"nonsense\r\n\r\n") == b""
    assert await world.finish() == b"4\r\nlast\r\n0\r\n\r\n"
    assert world.transport.ending == "closed"


@pytest.mark.parametrize("invalid", [b"\0\1", b"nonsense\r\n\r\n"])
async def test_connection_does_not_wait_for_requests_in_an_invalid_packet(world: World, invalid: bytes) -> None:
    world.go_on.clear()
    await world.send(OTHER)
    assert await world.send(OTHER + invalid) == b""
    assert await world.finish() == b"4\r\nlast\r\n0\r\n\r\n"
    assert (world.transport.ending, len(world.scopes)) == ("closed", 1)


async def test_invalid_bytes_behind_the_end_of_a_body_are_refused_at_once(world: World) -> None:
    first = request(b"[1]", target="/other")
    assert (await world.send(first[:-1], first[-1:] + b"\0\1")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.transport.ending == "closed"


async def test_invalid_bytes_behind_the_end_of_a_held_body_are_refused_without_its_request(world: World) -> None:
    assert (await world.send(PLAIN[:-1], PLAIN[-1:] + b"\0\1")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (world.transport.ending, world.scopes) == ("closed", [])


async def test_invalid_chunk_is_refused(world: World) -> None:
    assert (await world.send(CHUNKED, b"nonsense\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
