"""The states of a connection: real uvicorn behind the front, a transport and a clock that the test controls."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from src.serving.http.bodies import announced_length
from src.serving.http.connection import LINGER
from src.serving.http.fast_predict import PendingPrediction, PlainHead
from src.serving.http.front_protocol import BODY_WAIT, MAX_HEAD_BYTES, FrontProtocol
from src.serving.http.known_head import MAX_BYTES as MAX_KNOWN_BYTES
from src.serving.http.overload import BREATHER, Overload
from src.serving.http.request_parser import MAX_AHEAD
from src.serving.http.route_templates import RouteTemplates
from src.serving.http.timeouts import ClientTimeouts
from src.serving.protocols.single_rows import RECORD
from tests.support.fake_clock import FakeClock
from tests.support.served import request

pytestmark = pytest.mark.anyio

HEAD_SECONDS, BODY_SECONDS, KEEP_ALIVE = 10, 20, 75
MAX_REQUESTS = 100
PLAIN = request(b"{}")
HEAD, HALF = PLAIN[:-2], PLAIN[:30]
OTHER = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
CHUNKED = request(b"", content_length="", transfer_encoding="chunked")


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.is_read = True
        self.ending = ""

    def write(self, data: Any) -> None:
        assert not self.ending, "written to a closed connection"
        self.sent += data

    def close(self) -> None:
        self.ending = self.ending or "closed"

    def abort(self) -> None:
        self.ending = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ending)

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Fast:
    """In place of ``FastPredict``: takes all that it accepts, and answers when it is asked to."""

    def __init__(self) -> None:
        self.has_room = True
        self.taken: list[PendingPrediction] = []
        self.bodies: list[bytes] = []

    def plain_head(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> PlainHead | None:
        if target != b"/predict" or (b"x-accept", b"no") in headers:
            return None
        length = announced_length({"headers": headers})
        return PlainHead(RECORD, length, None) if length < 1000 else None

    def take(self, connection: FrontProtocol, _: PlainHead, body: bytes) -> PendingPrediction | None:
        if not self.has_room:
            return None
        predictor: Any = SimpleNamespace(head_lines=b"x-model-name: iris\r\n")
        self.taken.append(PendingPrediction(connection, predictor, (), None, "id", 0.0, RECORD))
        self.bodies.append(body)
        return self.taken[-1]


class World:
    """A connection and both of its ends."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.transport = Transport()
        self.fast = Fast()
        self.cut = Counter[str]()
        self.refused: list[Any] = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.disconnects = 0
        self.reads_body = True
        self.go_on = asyncio.Event()
        self.go_on.set()
        config = uvicorn.Config(self.app, interface="asgi3", timeout_keep_alive=KEEP_ALIVE, log_config=None)
        config.load()
        timeouts = ClientTimeouts(HEAD_SECONDS, BODY_SECONDS, 100)
        metrics: Any = SimpleNamespace(
            cut=lambda reason: self.cut.update([reason]),
            shed=self.refused.append,
            count_request=lambda *labels: self.refused.append(labels),
        )
        overload = Overload(metrics, RouteTemplates(), max_requests=MAX_REQUESTS, exempt={"/live"})
        service = SimpleNamespace(fast=self.fast, timeouts=timeouts, metrics=metrics, overload=overload)
        self.front = FrontProtocol(config, self.state, {"service": service}, self.clock)
        self.front.connection_made(self.transport)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body, sends the start of a response, waits, and sends its end."""
        self.scopes.append(scope)
        body = b""
        has_more = self.reads_body
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body += message["body"]
            has_more = message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"last"})
        scope["state"]["connection"].answered()

    async def send(self, *pieces: bytes) -> bytes:
        """Send bytes; return what is written until nothing more happens."""
        self.transport.sent = b""
        for piece in pieces:
            self.front.data_received(piece)
        return await self.settle()

    async def settle(self) -> bytes:
        for _ in range(10):
            await asyncio.sleep(0)
        return self.transport.sent

    async def finish(self) -> bytes:
        """Let the application end its responses."""
        self.transport.sent = b""
        self.go_on.set()
        return await self.settle()

    def answer(self) -> bytes:
        """Let ``FastPredict`` answer what it has taken last."""
        self.transport.sent = b""
        assert self.front.answer(self.fast.taken[-1], b"{1}")
        return self.transport.sent

    def is_open_until(self, moment: float) -> bool:
        """Whether the connection ends at this moment, and not before."""
        self.clock.go_to(moment - 0.01)
        was_open = not self.transport.ending
        self.clock.go_to(moment)
        return was_open and bool(self.transport.ending)


@pytest.fixture
async def world() -> World:
    return World()


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


async def test_requests_sent_ahead_of_a_lost_connection_end_without_an_error(world: World) -> None:
    world.go_on.clear()
    await world.send(OTHER + OTHER)
    world.transport.abort()
    world.front.connection_lost(ConnectionResetError())
    assert await world.finish() == b""
    assert not world.state.tasks


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


@pytest.mark.parametrize("in_one_packet", [False, True])
async def test_wish_behind_another_request_is_ignored(world: World, *, in_one_packet: bool) -> None:
    world.go_on.clear()
    pieces = [request(b"[1]", target="/other"), WISHING, WISHING, OTHER]
    await world.send(*([b"".join(pieces)] if in_one_packet else pieces))
    assert (await world.finish()).count(b"last") == 4
    assert (world.transport.ending, world.bodies) == ("", [b"[1]", b"{}", b"{}", b""])
    await world.send(PLAIN)
    assert world.fast.bodies == [b"{}"]


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


async def test_request_in_the_packet_of_an_invalid_one_is_not_executed(world: World) -> None:
    assert (await world.send(OTHER + b"\0\1")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
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
    assert (await world.send(b"CONNECT a:1 HTTP/1.1\r\n\r\nx")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.transport.ending == "closed"


async def test_invalid_request_is_refused(world: World) -> None:
    assert (await world.send(b"GET nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert world.transport.ending == "closed"


async def test_invalid_request_behind_a_response_in_progress_ends_the_connection_after_it(world: World) -> None:
    world.go_on.clear()
    await world.send(OTHER)
    assert await world.send(b"nonsense\r\n\r\n") == b""
    assert await world.finish() == b"4\r\nlast\r\n0\r\n\r\n"
    assert world.transport.ending == "closed"


async def test_invalid_chunk_is_refused(world: World) -> None:
    assert (await world.send(CHUNKED, b"nonsense\r\n")).startswith(b"HTTP/1.1 400 Bad Request\r\n")


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


async def test_stop_gives_an_idle_connection_a_moment(world: World) -> None:
    await world.send(PLAIN)
    world.answer()
    world.front.shutdown()
    assert world.is_open_until(LINGER)
    assert world.cut == {}


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
    await free(world)
    assert b"last" in await world.send(OTHER)


@pytest.mark.parametrize("target", [b"/live", b"/live?a=1", b"/%6cive"])
async def test_exempt_path_is_answered_under_overload(world: World, target: bytes) -> None:
    await occupied(world, MAX_REQUESTS)
    assert b"last" in await world.send(OTHER.replace(b"/health", target))
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
