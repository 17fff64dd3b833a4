"""The short cut answers what the route would have answered, and leaves it all that is not plain."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from src.core.feature_table import FeatureTable
from src.serving.http.fast_predict import PlainHead
from src.serving.models.inference_scheduler import INLINE_BYTES
from src.serving.models.predictor import Cost
from src.serving.protocols.single_rows import RECORD
from tests.support.fake_mlflow import FakeMlflow
from tests.support.front_world import Transport
from tests.support.models import SETOSA, VIRGINICA
from tests.support.predict_bodies import BODIES
from tests.support.served import note_routed, request

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(SETOSA).encode()
OTHER = json.dumps(VIRGINICA).encode()
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
# What the network adds, or what differs from request to request.
HEAD = PlainHead(RECORD, 0, None)
APART = {"x-request-id", "content-length", "date"}


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("bodies"), fake) as running:
        yield running


@pytest.fixture
def routed(served: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that reached the router."""
    return note_routed(served.app, monkeypatch)


def comparable(answer: Any) -> tuple[int, Any, dict[str, str]]:
    told = answer.json()
    assert told.pop("request_id") == answer.headers["x-request-id"]
    return answer.status_code, told, {k: v for k, v in answer.headers.items() if k not in APART}


@pytest.mark.parametrize("name", BODIES)
async def test_every_body_is_answered_as_by_the_route(one_app: Any, name: str) -> None:
    content = BODIES[name][0]
    # The client speaks to the application without a network, and so without the short cut.
    ordinary = await one_app.client.post("/predict", content=content, headers=JSON)
    assert comparable(await one_app.post_plainly(content)) == comparable(ordinary)


async def test_a_plain_record_never_reaches_the_router(served: Any, routed: list[str]) -> None:
    answer = await served.post_plainly(GOOD)
    assert (answer.status_code, answer.json()["prediction"]) == (200, "setosa")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    answer = await served.post_plainly(chunked, content_length="", transfer_encoding="chunked")
    assert (answer.status_code, answer.json()["prediction"]) == (200, "setosa")
    assert routed == []


async def test_each_body_of_a_connection_is_answered_for_itself(served: Any, routed: list[str]) -> None:
    broken = GOOD[:-1] + b" "
    async with await served.connect() as connection:
        for body, status in ((GOOD, 200), (GOOD, 200), (broken, 422), (GOOD, 200)):
            connection.send(request(body))
            assert (await connection.answer()).status_code == status
    assert routed == ["/predict"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[" + GOOD + b"]", {}, 200),
        (b"{}", {}, 422),
        (b"", {}, 422),
        (GOOD, {"content_type": "text/csv"}, 415),
        (GOOD + b" " * INLINE_BYTES, {}, 200),
        (GOOD, {"target": "/predict?a=1"}, 200),
        (GOOD, {"target": "/%70redict"}, 200),
        (GOOD, {"version": "1.0"}, 200),
        (GOOD, {"connection": "close"}, 200),
        (GOOD, {"expect": "100-continue", "x_request_id": "expected"}, 100),
    ],
)
async def test_all_else_reaches_the_router(
    served: Any, routed: list[str], body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await served.post_plainly(body, **headers)
    assert answer.status_code == status
    # A client that waits for 100 Continue has sent its body all the same, and takes the answer as it comes.
    await served.client.get("/v2/health/live")
    assert routed[0] == "/predict"


async def test_a_wish_for_another_protocol_costs_no_body(served: Any) -> None:
    answer = await served.post_plainly(GOOD, connection="upgrade", upgrade="h2c")
    assert (answer.status_code, answer.json()["prediction"]) == (200, "setosa")


async def send_in_pieces(served: Any, connection: Any, *pieces: bytes) -> None:
    for piece in pieces:
        connection.send(piece)
        # Another connection's whole round: the service has had its turns to take the piece.
        await served.post_plainly(OTHER)


async def test_what_comes_in_pieces_is_waited_for(served: Any, routed: list[str]) -> None:
    async with await served.connect() as connection:
        whole = request(GOOD, x_request_id="in-pieces")
        await send_in_pieces(served, connection, whole[:20], whole[20:-90], whole[-90:-30], whole[-30:-1], whole[-1:])
        answer = await connection.answer()
    assert (answer.status_code, answer.json()["request_id"]) == (200, "in-pieces")
    assert routed == []


async def test_pieces_of_no_known_length_and_of_much_are_the_router_s(served: Any, routed: list[str]) -> None:
    head = request(b"", content_length="", transfer_encoding="chunked")
    long = request(GOOD + b" " * 20_000)
    for pieces in ((head, b"%x\r\n" % len(GOOD), GOOD + b"\r\n", b"0\r\n\r\n"), (long[:1000], long[1000:])):
        async with await served.connect() as connection:
            await send_in_pieces(served, connection, *pieces)
            assert (await connection.answer()).json()["prediction"] == "setosa"
    assert routed == ["/predict"] * 2


async def test_a_body_that_stays_away_is_not_waited_for_for_ever(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, body_seconds=0.1) as served, await served.connect() as connection:
        connection.send(request(GOOD)[:-1])
        assert (await connection.answer()).status_code == 408
        assert await connection.is_closed()
        assert await served.metric("inference_http_clients_cut_total", reason="slow_body") == 1


async def test_half_a_head_behind_a_record_is_not_waited_for_for_ever(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, head_seconds=0.1) as served, await served.connect() as connection:
        connection.send(request(GOOD) + request(GOOD)[:30])
        assert (await connection.answer()).status_code == 200
        assert (await connection.answer()).status_code == 408
        assert await served.metric("inference_http_clients_cut_total", reason="slow_head") == 1


async def test_an_idle_connection_is_closed_after_a_while(served: Any) -> None:
    served.network.config.timeout_keep_alive = 0.1
    async with await served.connect() as connection:
        connection.send(request(GOOD))
        assert (await connection.answer()).status_code == 200
        assert await connection.is_closed()


async def test_a_client_that_does_not_read_is_the_router_s(served: Any, routed: list[str]) -> None:
    async with await served.connect() as connection:
        connection.send(request(GOOD))
        await connection.answer()
        service_end = served.network.end_of(connection)
        service_end.pause_writing()
        await send_in_pieces(served, connection, request(OTHER))
        service_end.resume_writing()
        assert (await connection.answer()).json()["prediction"] == "virginica"
    assert routed == ["/predict"]


async def test_a_record_behind_an_answer_that_is_not_there_yet_waits_for_it(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, go_on = served.service.scheduler.run, asyncio.Event()

    async def wait_and_run(*arguments: Any) -> Any:
        await go_on.wait()
        return await run(*arguments)

    monkeypatch.setattr(served.service.scheduler, "run", wait_and_run)
    async with await served.connect() as connection:
        await send_in_pieces(served, connection, request(b"[" + GOOD + b"]", x_request_id="1"))
        await send_in_pieces(served, connection, request(OTHER, x_request_id="2"))
        go_on.set()
        assert [(await connection.answer()).headers["x-request-id"] for _ in range(2)] == ["1", "2"]


async def test_requests_sent_ahead_are_answered_in_their_order(served: Any) -> None:
    async with await served.connect() as connection:
        sent = [request(GOOD, x_request_id="1"), request(b"{}", x_request_id="2"), HEALTH]
        sent += [request(OTHER, x_request_id="4"), request(GOOD, x_request_id="5")]
        connection.send(b"".join(sent) + request(GOOD, x_request_id="6")[:-5])
        answers = [await connection.answer() for _ in sent]
        connection.send(GOOD[-5:])
        answers.append(await connection.answer())
    assert [answer.status_code for answer in answers] == [200, 422, 200, 200, 200, 200]
    assert [a.headers["x-request-id"] for i, a in enumerate(answers) if i != 2] == ["1", "2", "4", "5", "6"]
    assert [a.json()["prediction"] for a in (answers[0], *answers[3:])] == ["setosa", "virginica", "setosa", "setosa"]
    # Each is counted once, though some were taken before they went the ordinary way.
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 3
    assert await served.metric("inference_http_request_duration_seconds_count", route="/predict") == 5


async def test_a_connection_is_used_again_and_again(served: Any, routed: list[str]) -> None:
    async with await served.connect() as connection:
        for body, prediction in ((GOOD, "setosa"), (b"{}", None), (OTHER, "virginica"), (GOOD, "setosa")):
            connection.send(request(body))
            assert (await connection.answer()).json().get("prediction") == prediction
    assert routed == ["/predict"]


async def test_a_client_that_was_answered_may_take_its_time(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with (
        serving(tmp_path, mlflow, head_seconds=0.2) as served,
        await served.connect() as connection,
        await served.connect() as silent,
    ):
        connection.send(request(GOOD))
        await connection.answer()
        assert await silent.is_closed()  # it has sent nothing for as long as one may
        connection.send(request(GOOD))
        assert (await connection.answer()).status_code == 200


async def test_without_a_model_the_route_says_so(unready: Any) -> None:
    assert (await unready.post_plainly(GOOD)).status_code == 503


async def test_the_caller_s_id_is_kept_and_the_model_is_named(served: Any) -> None:
    answer = await served.post_plainly(GOOD, x_request_id="order-7")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "order-7"
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")


async def test_answers_are_measured_as_the_route_s_are(served: Any) -> None:
    await served.post_plainly(GOOD)
    await served.client.post("/predict", content=GOOD, headers=JSON)
    labels = {"route": "/predict", "method": "POST", "status": "200"}
    assert await served.metric("inference_http_requests_total", **labels) == 2
    assert await served.metric("inference_http_request_duration_seconds_count", route="/predict") == 2
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 2


async def test_a_failing_model_is_reported_and_counted_by_the_route(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(type(served.service.store.require().engine), "predict", broken)
    answer = await served.post_plainly(GOOD)
    assert answer.status_code == 500
    assert "out of order" not in answer.text
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


async def test_a_stopping_service_says_that_the_connection_ends(served: Any) -> None:
    async with await served.connect() as connection:
        served.service.stopping.begun = True
        connection.send(request(GOOD))
        answer = await connection.answer()
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert await connection.is_closed()


async def test_what_was_taken_is_answered_though_the_service_stops(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = served.service.fast.take

    def stop_and_take(connection: Any, *arguments: Any) -> Any:
        asyncio.get_running_loop().call_soon(connection.shutdown)
        return take(connection, *arguments)

    monkeypatch.setattr(served.service.fast, "take", stop_and_take)
    async with await served.connect() as connection:
        connection.send(request(GOOD))
        assert (await connection.answer()).json()["prediction"] == "setosa"
        assert await connection.is_closed()


async def test_half_a_record_is_answered_though_the_service_stops(served: Any) -> None:
    async with await served.connect() as connection:
        await send_in_pieces(served, connection, request(GOOD)[:-1])
        served.service.stopping.begun = True
        served.network.end_of(connection).shutdown()
        connection.send(GOOD[-1:])
        answer = await connection.answer()
        assert (answer.json()["prediction"], answer.headers["connection"]) == ("setosa", "close")


class Client:
    """A connection that notes what becomes of what it asked."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.ordinary: list[Any] = []
        self.is_broken = False
        self.transport = Transport()

    def answer(self, _: Any, body: bytes) -> bool:
        if self.is_broken:
            raise OSError("out of order")
        self.answers.append(json.loads(body))
        return True

    def take_ordinary_way(self, asked: Any) -> None:
        if self.is_broken:
            raise OSError("out of order")
        self.ordinary.append(asked)


@pytest.fixture
def clients() -> list[Client]:
    return [Client() for _ in range(8)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, served: Any) -> list[int]:
    """How many rows each call of the model had."""
    engine = type(served.service.store.require().engine)
    predict = engine.predict
    sizes: list[int] = []

    def counted(self: Any, table: FeatureTable) -> Any:
        sizes.append(len(table))
        return predict(self, table)

    monkeypatch.setattr(engine, "predict", counted)
    return sizes


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_records_of_one_turn_share_one_call(served: Any, clients: list[Client], calls: list[int]) -> None:
    for client, body in zip(clients, (GOOD, OTHER) * 4, strict=True):
        assert served.service.fast.take(client, HEAD, body)
    await turns()
    assert [client.answers[0]["prediction"] for client in clients] == ["setosa", "virginica"] * 4
    assert calls == [8]
    assert served.service.fast.take(clients[0], HEAD, GOOD)
    await turns()
    assert calls == [8, 1]


async def test_what_would_take_too_long_at_once_takes_several_turns(
    served: Any, clients: list[Client], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.service.store
    monkeypatch.setattr(store, "current", dataclasses.replace(store.current, cost=Cost(0.0, 0.0006)))
    for client in clients:
        served.service.fast.take(client, HEAD, GOOD)
    await turns(3)
    assert [len(client.answers) for client in clients] == [1] * 8
    assert calls == [3, 3, 2]


async def test_a_slow_model_s_records_are_the_route_s(
    served: Any, clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.service.store
    monkeypatch.setattr(store, "current", dataclasses.replace(store.current, cost=Cost(1.0, 1.0)))
    assert served.service.fast.take(clients[0], HEAD, GOOD) is None


async def test_a_body_on_which_the_decoder_fails_is_left_to_the_route(served: Any, clients: list[Client]) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    head = HEAD._replace(route=dataclasses.replace(RECORD, decode=broken))
    assert served.service.fast.take(clients[0], head, GOOD) is None


async def test_a_swap_in_between_leaves_each_record_to_its_own_model(
    served: Any, clients: list[Client], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.service.store
    old = store.current
    served.mlflow.promote("2")
    await served.look()
    new = store.current
    for client, model in zip(clients, [old, old, new, old, new, new, new, new], strict=True):
        monkeypatch.setattr(store, "current", model)
        served.service.fast.take(client, HEAD, GOOD)
    calls.clear()
    await turns(2)
    assert "".join(client.answers[0]["model"]["version"] for client in clients) == "11212222"
    assert calls == [3, 5]


async def test_a_call_that_fails_leaves_its_records_to_the_route(
    served: Any, clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = type(served.service.store.require().engine)
    predict = engine.predict

    def refuse_company(self: Any, table: FeatureTable) -> Any:
        if len(table) > 1:
            raise RuntimeError("one at a time")
        return predict(self, table)

    monkeypatch.setattr(engine, "predict", refuse_company)
    for client in clients:
        served.service.fast.take(client, HEAD, GOOD)
    await turns()
    assert [(len(client.answers), len(client.ordinary)) for client in clients] == [(0, 1)] * 8
    # Over the network, where connections are real, each is answered all the same.
    answers = await asyncio.gather(*(served.post_plainly(GOOD) for _ in range(8)))
    assert [answer.json()["prediction"] for answer in answers] == ["setosa"] * 8


@pytest.mark.parametrize("model_fails", [False, True])
async def test_trouble_with_one_connection_is_no_other_s(
    served: Any, clients: list[Client], monkeypatch: pytest.MonkeyPatch, *, model_fails: bool
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    if model_fails:
        monkeypatch.setattr(type(served.service.store.require().engine), "predict", broken)
    clients[0].is_broken = True
    for client in clients:
        served.service.fast.take(client, HEAD, GOOD)
    await turns()
    assert [client.transport.ending for client in clients] == ["aborted"] + [""] * 7
    assert [len(client.answers) + len(client.ordinary) for client in clients] == [0] + [1] * 7


async def test_beyond_the_limit_records_take_the_ordinary_way(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=2, max_queue=1) as served:
        clients = [Client() for _ in range(5)]
        taken = [served.service.fast.take(client, HEAD, GOOD) is not None for client in clients]
        assert taken == [True, True, True, False, False]
        await turns()
        assert served.service.fast.take(clients[4], HEAD, GOOD)
        await turns()


async def test_records_take_the_ordinary_way_while_no_slot_is_free(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_concurrency=1) as served:
        async with served.service.admission.slot():
            assert served.service.fast.take(Client(), HEAD, GOOD) is None
        assert served.service.fast.take(Client(), HEAD, GOOD)
