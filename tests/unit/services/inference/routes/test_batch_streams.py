"""``/predict/batch`` under load: streams, clients that leave, failures, turns of large batches, and workers."""

import asyncio
import contextlib
import errno
import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.services.inference.inference_service import LARGE
from src.services.inference.routes.predict import turns_of
from src.serving.models.admission import Admission, OverloadedError
from src.serving.tables.parts import PART_ROWS, Format, Rows
from src.serving.tables.workers import Worker
from tests.support.batches import FORMS, answers_of, as_arrow, as_json, as_ndjson, many, parquet_of
from tests.support.models import CLASSES, SETOSA, VIRGINICA
from tests.support.served import raw_post

pytestmark = pytest.mark.anyio

URL = "/predict/batch"
MARKER = "zq7marker"
MAX_LARGE_BATCHES = 1
ROWS = [SETOSA, VIRGINICA, {**SETOSA, "petal_width": 0.3}]


class Client:
    """A raw client; after its body, it stays until ``leaves`` is set.

    Args:
        on_piece: called for each piece of the answer's body.
    """

    def __init__(self, served: Any, on_piece: Callable[[], Awaitable[None]]) -> None:
        self._served = served
        self._on_piece = on_piece
        self.leaves = asyncio.Event()
        self.sent: list[Any] = []

    async def post(self, kind: str, body: bytes) -> None:
        bodies = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if bodies:
                return bodies.pop()
            await self.leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)
            if message.get("body"):
                await self._on_piece()

        scope = raw_post(URL, [(b"content-type", kind.encode())])
        await asyncio.wait_for(self._served.asgi(scope, receive, send), 30)

    @property
    def pieces(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message.get("body")]


async def test_batch_is_answered_by_one_model_whatever_is_promoted_meanwhile(served: Any) -> None:
    """The answer is read piece by piece; the model is swapped after the first one."""
    records = many(20_000)
    before = answers_of(await served.client.post(URL, json=records))

    async def swap() -> None:
        if len(client.pieces) == 1:
            served.mlflow.promote("2")
            await served.look()
            assert served.service.store.current.version.version == "2"

    client = Client(served, swap)
    await client.post("application/json", as_json(records))
    response = httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"".join(client.pieces))
    assert answers_of(response) == before
    assert response.json()["model"]["version"] == "1"


async def test_client_that_leaves_stops_the_work(served: Any) -> None:
    async def leave() -> None:
        if len(client.pieces) == 2:
            client.leaves.set()
            await asyncio.Event().wait()  # its socket takes no more

    client = Client(served, leave)
    await client.post("application/x-ndjson", as_ndjson(many(50 * PART_ROWS)))
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert sum(counts) <= 3 * PART_ROWS
    assert (await served.client.post(URL, json=ROWS)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Format.NDJSON, as_ndjson(many(10 * PART_ROWS))), (Format.PARQUET, parquet_of(as_arrow(ROWS)))],
    ids=["large text", "small table"],
)
async def test_client_that_leaves_before_its_batch_is_read_is_not_answered(
    served: Any, kind: Format, body: bytes
) -> None:
    client = Client(served, asyncio.Event().wait)  # type: ignore[arg-type] # never called
    client.leaves.set()
    await client.post(kind, body)
    assert client.sent == []
    assert await served.metric("inference_batch_rows_count") == 0


class FailingEngine:
    """A model that answers a while, and then no more."""

    name = "onnx"
    classes = labels = CLASSES
    is_parallel = False

    def __init__(self, good_calls: int) -> None:
        self._left = good_calls

    def predict(self, table: FeatureTable) -> Predictions:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError(MARKER)
        return Predictions(["setosa"] * len(table), np.full((len(table), 3), 1 / 3), CLASSES)


def spoil(served: Any, good_calls: int) -> None:
    """Put an engine that will fail in the place of the one that is served."""
    object.__setattr__(served.service.store.current, "engine", FailingEngine(good_calls))


async def test_answer_that_fails_on_the_way_does_not_look_complete(served: Any) -> None:
    async def go_on() -> None:
        pass

    spoil(served, 2)
    client = Client(served, go_on)
    with pytest.raises(RuntimeError, match=MARKER):  # which makes the server cut the connection
        await client.post("application/x-ndjson", as_ndjson(many(5 * PART_ROWS)))
    assert client.sent[0]["status"] == 200
    assert len(client.pieces) == 2
    assert all(message.get("more_body", True) for message in client.sent[1:])
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


@pytest.mark.parametrize("rows", [ROWS, many(2 * PART_ROWS)], ids=["short", "long"])
async def test_answer_that_fails_at_once_is_a_500(served: Any, rows: Any) -> None:
    spoil(served, 0)
    response = await served.client.post(URL, json=rows)
    assert response.status_code == 500
    assert MARKER not in response.text
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


@pytest.mark.parametrize(
    ("path", "kind", "length", "waits"),
    [
        (URL, "text/csv", b"1048576", False),
        (URL, "text/csv", b"1048577", True),
        (URL, Format.PARQUET, b"1", True),
        ("/feedback", "text/csv", b"1048576", False),
        ("/feedback", "text/csv", b"1048577", True),
        ("/predict", "application/json", b"1048577", False),
    ],
)
async def test_large_batches_and_tables_of_unknown_size_wait(
    served: Any, path: str, kind: str, length: bytes, *, waits: bool
) -> None:
    scope = raw_post(path, [(b"content-type", kind.encode()), (b"content-length", length)])
    assert (turns_of(served.service.batches, scope, LARGE) is served.service.batches.admission) == waits


async def test_large_batches_wait_for_their_turn_and_small_ones_do_not(
    serving: Any, mlflow: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, mlflow, max_large_batches=1) as running:
        large: list[Format] = []
        entering: list[Admission] = []
        enter = Admission.enter
        begun, both_enter, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        batches, client = running.service.batches, running.client
        read = batches.read

        async def read_slowly(predictor: Any, form: Format, *arguments: Any) -> Any:
            if form is Format.NDJSON:
                large.append(form)
                begun.set()
                await may_end.wait()
            return await read(predictor, form, *arguments)

        async def of_no_known_length() -> AsyncIterator[bytes]:
            yield as_ndjson([SETOSA])

        async def post() -> httpx.Response:
            return await client.post(URL, content=of_no_known_length(), headers={"Content-Type": Format.NDJSON})

        async def enter_and_tell(admission: Admission) -> None:
            entering.append(admission)
            if len(entering) == 2:
                both_enter.set()
            await enter(admission)

        monkeypatch.setattr(batches, "read", read_slowly)
        monkeypatch.setattr(Admission, "enter", enter_and_tell)
        first = asyncio.create_task(post())
        await begun.wait()
        second = asyncio.create_task(post())
        await both_enter.wait()
        # A small one passes both.
        assert (await client.post(URL, json=ROWS)).status_code == 200
        assert len(large) == 1
        may_end.set()
        assert (await first).status_code == (await second).status_code == 200
        assert len(large) == 2
        assert await running.metric("inference_batch_rows_sum") == 5


async def test_large_batches_leave_half_of_the_queue_to_others(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_large_batches=1, max_queue=2) as running:
        admission = running.service.batches.admission
        async with admission.slot():
            waiting = asyncio.create_task(admission.enter())
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await asyncio.wait_for(admission.enter(), 1)
        await waiting
        admission.leave()


async def test_large_batch_that_is_refused_does_not_wait_for_others(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_large_batches=1, max_batch_bytes=1 << 21) as running:
        async with running.service.batches.admission.slot():
            content, kind = b" " * (1 << 21) + b" ", {"Content-Type": Format.CSV}
            refused = await asyncio.wait_for(running.client.post(URL, content=content, headers=kind), 5)
        assert refused.status_code == 413


async def test_models_answer_while_a_worker_is_waited_for(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def hear(worker: Worker) -> Any:
        begun.set()
        may_end.wait(20)
        return heard(worker)

    heard = Worker.hear
    monkeypatch.setattr(Worker, "hear", hear)
    asking = asyncio.create_task(served.client.post(URL, json=ROWS, headers={"Accept": Format.PARQUET}))
    try:
        await asyncio.to_thread(begun.wait, 20)
        scheduler = served.service.scheduler
        assert await asyncio.wait_for(scheduler.in_thread(lambda: 1), 5) == 1
    finally:
        may_end.set()
    assert (await asking).status_code == 200


@contextlib.asynccontextmanager
async def answering(served: Any, *, pieces: int) -> AsyncIterator[None]:
    """As many answers in Parquet as there are workers; each is read up to so many of its two pieces."""
    predictor = served.service.store.current
    table = FeatureTable.from_rows(predictor.schema, [tuple(SETOSA.values())])
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_LARGE_BATCHES + 1):
            found = served.service.batches.answers(predictor, deque([Rows(table)]), Format.PARQUET, "an-id")
            await stack.enter_async_context(contextlib.aclosing(found))
            for _ in range(pieces):
                await anext(found)
        yield


async def test_wait_for_a_worker_ends(
    serving: Any, mlflow: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.serving.protocols.batches.LARGE_BATCH_SECONDS", 0.05)
    async with serving(tmp_path, mlflow, max_large_batches=MAX_LARGE_BATCHES) as running:
        requests: list[dict[str, Any]] = [
            {"json": ROWS, "headers": {"Accept": Format.PARQUET}},
            {"json": many(2 * PART_ROWS), "headers": {"Accept": Format.ARROW_STREAM}},
            {"content": parquet_of(as_arrow(ROWS)), "headers": {"Content-Type": Format.PARQUET}},
        ]
        async with answering(running, pieces=1):
            for request in requests:
                response = await asyncio.wait_for(running.client.post(URL, **request), 20)
                assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
            assert (await running.client.post(URL, json=ROWS)).status_code == 200
        assert await running.metric("inference_http_requests_shed_total", reason="queue_timeout") == len(requests)
        assert await running.metric("inference_prediction_errors_total", reason="internal") == 0
        for request in requests:
            assert (await running.client.post(URL, **request)).status_code == 200


async def test_client_that_does_not_take_its_last_piece_keeps_no_worker(
    serving: Any, mlflow: Any, tmp_path: Any
) -> None:
    async with (
        serving(tmp_path, mlflow, max_large_batches=MAX_LARGE_BATCHES) as running,
        answering(running, pieces=2),
    ):
        asking = running.client.post(URL, json=ROWS, headers={"Accept": Format.PARQUET})
        assert (await asyncio.wait_for(asking, 5)).status_code == 200


async def test_process_that_cannot_be_started_is_a_503(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    headers = {"Content-Type": Format.PARQUET}
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refuse)
        response = await served.client.post(URL, content=parquet_of(as_arrow(ROWS)), headers=headers)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert (await served.client.post(URL, content=parquet_of(as_arrow(ROWS)), headers=headers)).status_code == 200


async def test_large_batches_that_wait_hold_no_slot(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_large_batches=1, max_concurrency=2) as running:
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def upload() -> Any:
            begun.set()
            await may_end.wait()
            yield as_ndjson([SETOSA])

        headers = {"Content-Type": "application/x-ndjson"}
        large = [asyncio.create_task(running.client.post(URL, content=upload(), headers=headers)) for _ in range(4)]
        await begun.wait()
        assert (await running.client.post("/predict", json=ROWS)).status_code == 200
        may_end.set()
        assert [(await task).status_code for task in large] == [200] * 4


async def turns_during(asked: Awaitable[httpx.Response]) -> list[float]:
    """What this process does between two turns of the event loop: by its own time, as the machine may be busy."""
    gaps = []
    ended = asyncio.Event()

    async def tick() -> None:
        before = time.process_time()
        while not ended.is_set():
            await asyncio.sleep(0.001)
            now = time.process_time()
            gaps.append(now - before)
            before = now

    ticking = asyncio.create_task(tick())
    response = await asked
    ended.set()
    await ticking
    assert response.status_code == 200
    return gaps


async def test_a_short_batch_needs_no_thread(served: Any) -> None:
    served.service.scheduler.close()
    answer = await served.client.post(URL, json=ROWS)
    assert (answer.status_code, len(answers_of(answer))) == (200, len(ROWS))


@pytest.mark.parametrize("form", FORMS)
async def test_hundred_thousand_rows_leave_the_event_loop_its_turns(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    body = write(many(100_000))
    gaps = await turns_during(served.client.post(URL, content=body, headers={"Content-Type": kind}))
    assert len(gaps) > 50
    assert max(gaps) < 0.05


async def test_long_list_leaves_the_event_loop_its_turns(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    body = json.dumps(many(300_000)).encode()
    async with serving(tmp_path, mlflow, max_body_bytes=2 * len(body)) as running:
        gaps = await turns_during(running.client.post("/predict", content=body))
    assert len(gaps) > 50
    assert max(gaps) < 0.05
