import asyncio
import contextlib
import csv
import errno
import io
import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.serving.models.admission import Admission
from src.serving.tables.formats import BINARY, Format
from src.serving.tables.parts import PART_ROWS, Rows
from src.serving.tables.workers import Worker
from tests.support.batches import FORMS, as_arrow, as_columns, as_csv, as_json, as_ndjson, parquet_of
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

URL = "/predict/batch"
MARKER = "zq7marker"
MAX_LARGE_BATCHES = 1
COLUMN_NAMES = ["prediction", *(f"probability_{name}" for name in CLASSES)]
ROWS = [SETOSA, VIRGINICA, {**SETOSA, "petal_width": 0.3}]


def answers(response: httpx.Response) -> list[tuple[Any, ...]]:
    """Prediction and probabilities of each row, whatever the format."""
    kind = response.headers["Content-Type"].partition(";")[0]
    if kind in BINARY:
        table = table_of(response)
        assert table.column_names == COLUMN_NAMES
        return list(zip(*table.to_pydict().values(), strict=True))
    if kind == "text/csv":
        header, *rows = csv.reader(io.StringIO(response.text))
        assert header == COLUMN_NAMES
        return [(label, *map(float, shares)) for label, *shares in rows]
    if kind == "application/json":
        told = response.json()["predictions"]
    else:
        assert kind == "application/x-ndjson"
        told = [json.loads(line) for line in response.text.splitlines()]
    return [(item["prediction"], *item["probabilities"].values()) for item in told]


def table_of(response: httpx.Response) -> pa.Table:
    body = pa.BufferReader(response.content)
    match response.headers["Content-Type"]:
        case Format.ARROW_STREAM:
            return pa.ipc.open_stream(body).read_all()
        case Format.ARROW_FILE:
            return pa.ipc.open_file(body).read_all()
    return pa.parquet.read_table(body)


def many(count: int) -> list[dict[str, float]]:
    values = np.random.default_rng(3).uniform(0.1, 7.9, (count, len(COLUMNS))).round(3)
    return [dict(zip(COLUMNS, row, strict=True)) for row in values.tolist()]


@pytest.mark.parametrize("accept", list(Format))
@pytest.mark.parametrize("form", FORMS)
async def test_batch_is_answered_as_predict_answers_in_every_format(served: Any, form: str, accept: str) -> None:
    kind, write = FORMS[form]
    expected = (await served.client.post("/predict", json=ROWS)).json()["predictions"]
    response = await served.client.post(URL, content=write(ROWS), headers={"Content-Type": kind, "Accept": accept})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].partition(";")[0] == accept
    assert answers(response) == [(item["prediction"], *item["probabilities"].values()) for item in expected]
    assert response.headers["X-Model-Name"] == "iris"
    assert response.headers["X-Model-Version"] == "1"
    assert response.headers["X-Request-ID"]


@pytest.mark.parametrize("form", FORMS)
async def test_batch_without_accept_is_answered_in_the_format_that_came_in(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    response = await served.client.post(URL, content=write(ROWS), headers={"Content-Type": kind})
    assert response.headers["Content-Type"].partition(";")[0] == kind


async def test_json_answer_names_model_and_request_as_predict_does(served: Any) -> None:
    headers = {"X-Request-ID": "mine"}
    batch, single = [await served.client.post(url, json=ROWS, headers=headers) for url in (URL, "/predict")]
    assert batch.json() == single.json()
    assert list(batch.json()) == list(single.json())


@pytest.mark.parametrize("form", FORMS)
async def test_large_batch_comes_in_parts_with_the_same_answers(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    records = many(3 * PART_ROWS + 1)
    response = await served.client.post(URL, content=write(records), headers={"Content-Type": kind})
    assert "Content-Length" not in response.headers
    expected = (await served.client.post("/predict", json=records)).json()["predictions"]
    assert answers(response) == [(item["prediction"], *item["probabilities"].values()) for item in expected]


@pytest.mark.parametrize("form", [Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET])
async def test_schema_of_a_table_says_who_answered(served: Any, form: Format) -> None:
    headers = {"Accept": form, "X-Request-ID": "mine"}
    response = await served.client.post(URL, json=many(3 * PART_ROWS), headers=headers)
    told = table_of(response).schema.metadata
    assert told[b"model_name"] == b"iris"
    assert told[b"model_version"] == b"1"
    assert told[b"request_id"] == b"mine"


async def test_body_that_is_not_what_it_is_declared_to_be_is_refused(served: Any) -> None:
    for kind in Format:
        body = MARKER.encode() * 100
        response = await served.client.post(URL, content=body, headers={"Content-Type": kind})
        assert response.status_code == 422
        assert response.json()["detail"][-1]["type"] in {"malformed", "unknown_field"}
        assert MARKER not in response.text
    assert (await served.client.post(URL, json=ROWS, headers={"Accept": Format.PARQUET})).status_code == 200


async def test_a_lone_record_is_sent_to_predict(served: Any) -> None:
    answer = await served.client.post("/predict/batch", json=SETOSA)
    assert answer.status_code == 422
    assert "a single record is for /predict" in answer.json()["detail"][0]["msg"]


async def test_problems_are_reported_with_row_and_column_and_nothing_of_the_input(served: Any) -> None:
    rows = [{**SETOSA, "petal_width": MARKER} if index in (1, 5000) else SETOSA for index in range(6000)]
    for kind, body in (
        ("application/json", as_json(rows)),
        ("text/csv", as_csv(rows)),
        ("application/json", as_columns(rows)),
    ):
        response = await served.client.post(URL, content=body, headers={"Content-Type": kind})
        assert response.status_code == 422
        assert [(item["loc"], item["type"]) for item in response.json()["detail"]] == [
            (["body", 1, "petal_width"], "not_a_number"),
            (["body", 5000, "petal_width"], "not_a_number"),
        ]
        assert MARKER not in response.text


async def test_at_most_a_hundred_problems_are_reported(served: Any) -> None:
    body = b"sepal_length,sepal_width,petal_length,petal_width\n" + b",x,1,1\n" * 10_000
    response = await served.client.post(URL, content=body, headers={"Content-Type": "text/csv"})
    assert len(response.json()["detail"]) == 100


async def test_what_is_not_taken_or_not_offered_is_refused_with_the_list(served: Any) -> None:
    refused = await served.client.post(URL, content=b"x", headers={"Content-Type": MARKER})
    assert refused.status_code == 415
    unwanted = await served.client.post(URL, json=ROWS, headers={"Accept": "image/png"})
    assert unwanted.status_code == 406
    for response in (refused, unwanted):
        assert all(kind in response.json()["detail"] for kind in Format)
        assert MARKER not in response.text
    assert await served.metric("inference_prediction_errors_total", reason="unsupported_media_type") == 1
    assert await served.metric("inference_prediction_errors_total", reason="not_acceptable") == 1


async def test_batch_counts_rows_classes_and_reasons(served: Any) -> None:
    assert await served.metric("inference_batch_rows_count") == 0
    await served.client.post(URL, content=as_csv(ROWS), headers={"Content-Type": "text/csv"})
    await served.client.post(URL, json=many(5000))
    await served.client.post(URL, json=[{**SETOSA, "petal_width": None}])
    assert await served.metric("inference_batch_rows_count") == 2
    assert await served.metric("inference_batch_rows_sum") == 5003
    assert await served.metric("inference_batch_rows_bucket", le="10.0") == 1
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert sum(counts) == 5003
    assert await served.metric("inference_prediction_errors_total", reason="missing") == 1


async def test_batch_without_a_model_says_when_to_come_back(unready: Any) -> None:
    response = await unready.client.post(URL, json=ROWS)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


async def test_batch_has_limits_of_its_own(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_body_bytes=100, max_batch_bytes=5000, max_batch_values=40) as small:
        assert (await small.client.post(URL, json=[SETOSA] * 10)).status_code == 200
        rows = await small.client.post(URL, json=[SETOSA] * 11)
        assert rows.status_code == 413
        assert "10 rows" in rows.json()["detail"]
        columns = await small.client.post(URL, content=as_columns([SETOSA] * 11))
        assert (columns.status_code, columns.json()["detail"]) == (413, rows.json()["detail"])
        size = await small.client.post(URL, json=[SETOSA] * 100)
        assert size.status_code == 413
        assert "5000 bytes" in size.json()["detail"]
        assert (await small.client.post("/predict", json=[SETOSA] * 10)).status_code == 413
        assert await small.metric("inference_prediction_errors_total", reason="too_large") == 4


async def test_batch_is_answered_by_one_model_whatever_is_promoted_meanwhile(served: Any) -> None:
    """The answer is read piece by piece; the model is swapped after the first one."""
    records = many(20_000)
    before = answers(await served.client.post(URL, json=records))
    swapped = False
    pieces = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": as_json(records)}

    async def send(message: Any) -> None:
        nonlocal swapped
        pieces.append(message)
        if message.get("body") and not swapped:
            swapped = True
            served.mlflow.promote("2")
            await served.look()
            assert served.service.store.current.version.version == "2"

    await served.asgi(scope("application/json"), _once(receive), send)
    content = b"".join(message.get("body", b"") for message in pieces)
    response = httpx.Response(200, headers={"Content-Type": "application/json"}, content=content)
    assert answers(response) == before
    assert response.json()["model"]["version"] == "1"


def scope(kind: str) -> dict[str, Any]:
    headers = [(b"host", b"inference"), (b"content-type", kind.encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": URL,
        "raw_path": URL.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("inference", 80),
    }


def _once(receive: Any) -> Any:
    """The body, and then nothing until the answer is complete."""
    taken = False

    async def receive_once() -> Any:
        nonlocal taken
        if taken:
            await asyncio.Event().wait()
        taken = True
        return await receive()

    return receive_once


async def test_client_that_leaves_stops_the_work(served: Any) -> None:
    records = many(50 * PART_ROWS)
    gone = asyncio.Event()
    sent = 0
    bodies = [{"type": "http.request", "body": as_ndjson(records)}]

    async def receive() -> Any:
        if bodies:
            return bodies.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent
        sent += bool(message.get("body"))
        if sent == 2:
            gone.set()
            await asyncio.Event().wait()  # its socket takes no more

    await asyncio.wait_for(served.asgi(scope("application/x-ndjson"), receive, send), 30)
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert sum(counts) <= 3 * PART_ROWS
    assert (await served.client.post(URL, json=ROWS)).status_code == 200


async def test_client_that_leaves_before_its_batch_is_read_is_not_answered(served: Any) -> None:
    bodies = [{"type": "http.request", "body": as_ndjson(many(10 * PART_ROWS))}]
    sent = []

    async def receive() -> Any:
        return bodies.pop() if bodies else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await served.asgi(scope("application/x-ndjson"), receive, send)
    assert sent == []
    assert await served.metric("inference_batch_rows_count") == 0


async def test_client_that_leaves_before_its_small_table_is_read_is_not_answered(served: Any) -> None:
    bodies = [{"type": "http.request", "body": parquet_of(as_arrow(ROWS))}]
    sent = []

    async def receive() -> Any:
        return bodies.pop() if bodies else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await served.asgi(scope(Format.PARQUET), receive, send)
    assert sent == []
    assert await served.metric("inference_batch_rows_count") == 0


class FailingEngine:
    """A model that answers a while, and then no more."""

    name = "onnx"
    classes = labels = CLASSES

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
    spoil(served, 2)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": as_ndjson(many(5 * PART_ROWS))}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match=MARKER):  # which makes the server cut the connection
        await served.asgi(scope("application/x-ndjson"), _once(receive), send)
    assert sent[0]["status"] == 200
    assert sum(bool(message.get("body")) for message in sent) == 2
    assert all(message.get("more_body", True) for message in sent[1:])
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


async def test_answer_that_fails_at_once_is_a_500(served: Any) -> None:
    spoil(served, 0)
    response = await served.client.post(URL, json=ROWS)
    assert response.status_code == 500
    assert MARKER not in response.text
    assert await served.metric("inference_prediction_errors_total", reason="internal") == 1


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
    assert (answer.status_code, len(answers(answer))) == (200, len(ROWS))


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


# As a training file has it: with an id, a date and the target.
TRAINING = [
    {"id": index, "when": f"2024-02-0{index + 1}", **row, "species": "setosa"} for index, row in enumerate(ROWS)
]
OTHERS = ("id", "when", "species")


async def test_columns_that_the_model_does_not_take_are_named(served: Any) -> None:
    for kind, write in FORMS.values():
        response = await served.client.post(URL, content=write(TRAINING), headers={"Content-Type": kind})
        assert response.status_code == 422
        assert "unknown columns: id, when, species; the model takes" in response.json()["detail"][0]["msg"]
        assert response.json()["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("form", FORMS)
async def test_columns_that_the_model_does_not_take_may_be_ignored(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    plain, ignoring = [
        await served.client.post(url, content=write(rows), headers={"Content-Type": kind})
        for url, rows in ((URL, ROWS), (f"{URL}?extra_columns=ignore", TRAINING))
    ]
    assert ignoring.status_code == 200, ignoring.text
    assert answers(ignoring) == answers(plain)


@pytest.mark.parametrize("accept", list(Format))
@pytest.mark.parametrize("form", FORMS)
async def test_kept_columns_come_back_beside_the_predictions(served: Any, form: str, accept: Format) -> None:
    kind, write = FORMS[form]
    headers = {"Content-Type": kind, "Accept": accept}
    response = await served.client.post(f"{URL}?extra_columns=keep", content=write(TRAINING), headers=headers)
    assert response.status_code == 200, response.text
    as_text = form == "csv" or accept == Format.CSV
    expected = [{name: str(row[name]) if as_text else row[name] for name in OTHERS} for row in TRAINING]
    if accept in BINARY:
        table = table_of(response)
        assert table.column_names == [*OTHERS, *COLUMN_NAMES]
        assert table.select(OTHERS).to_pylist() == expected
        assert table.schema.field("id").type == (pa.string() if as_text else pa.int64())
        predictions = table.column("prediction").to_pylist()
    elif accept is Format.CSV:
        told = list(csv.DictReader(io.StringIO(response.text)))
        assert [{name: row[name] for name in OTHERS} for row in told] == expected
        predictions = [row["prediction"] for row in told]
    else:
        lines = response.text.splitlines()
        told = response.json()["predictions"] if accept is Format.JSON else [json.loads(line) for line in lines]
        assert [row["extra_columns"] for row in told] == expected
        predictions = [row["prediction"] for row in told]
    assert predictions == ["setosa", "virginica", "setosa"]


@pytest.mark.parametrize("accept", [Format.NDJSON, Format.CSV, Format.PARQUET])
async def test_kept_columns_of_a_large_batch_stay_with_their_rows(served: Any, accept: Format) -> None:
    records = [{**row, "id": index, f"only in {index}": 1} if index == 4500 else {**row, "id": index}
               for index, row in enumerate(many(3 * PART_ROWS + 1))]  # fmt: skip
    headers = {"Content-Type": Format.NDJSON, "Accept": accept}
    response = await served.client.post(f"{URL}?extra_columns=keep", content=as_ndjson(records), headers=headers)
    found: list[Any]
    if accept is Format.PARQUET:
        found = table_of(response).column("id").to_pylist()
        assert table_of(response).column("only in 4500").to_pylist()[4499:4502] == [None, 1, None]
    elif accept is Format.CSV:
        found = [int(row["id"]) for row in csv.DictReader(io.StringIO(response.text))]
    else:
        lines = [json.loads(line)["extra_columns"] for line in response.text.splitlines()]
        found = [line["id"] for line in lines]
        assert [line["only in 4500"] for line in lines[4499:4502]] == [None, 1, None]
    assert found == list(range(len(records)))


@pytest.mark.parametrize("name", ["prediction", "probability_setosa"])
async def test_column_named_as_one_of_the_answers_cannot_be_kept(served: Any, name: str) -> None:
    rows = [{**SETOSA, name: 1}]
    response = await served.client.post(f"{URL}?extra_columns=keep", json=rows)
    assert response.status_code == 422
    assert f"kept columns have names of the answer's: {name}; rename" in response.json()["detail"][0]["msg"]
    assert (await served.client.post(f"{URL}?extra_columns=ignore", json=rows)).status_code == 200


async def test_other_value_of_extra_columns_is_refused(served: Any) -> None:
    response = await served.client.post(f"{URL}?extra_columns={MARKER}", json=ROWS)
    assert response.status_code == 422
    assert response.json()["detail"] == [
        {
            "loc": ["query", "extra_columns"],
            "msg": "extra_columns must be one of refuse, ignore, keep",
            "type": "malformed",
        }
    ]
    assert (await served.client.post(f"{URL}?extra_columns=refuse", json=ROWS)).status_code == 200


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("extra_colums=keep", " extra_colums"),
        ("extra_columns=keep&x=", " x"),
        ("%0A=1", ""),
        (f"{'a' * 61}=1", ""),
    ],
)
async def test_unknown_parameter_is_refused(served: Any, query: str, name: str) -> None:
    response = await served.client.post(f"{URL}?{query}", json=ROWS)
    assert response.status_code == 422
    message = f"unknown parameter{name}; GET /docs lists the route's parameters"
    assert response.json()["detail"] == [{"loc": ["query"], "msg": message, "type": "malformed"}]


async def test_kept_columns_count_as_values(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_batch_values=20) as small:
        rows = [dict(SETOSA)] * 5
        wide = [{**SETOSA, "id": 1}] * 5
        assert (await small.client.post(URL, json=rows)).status_code == 200
        assert (await small.client.post(f"{URL}?extra_columns=ignore", json=wide)).status_code == 200
        refused = await small.client.post(f"{URL}?extra_columns=keep", json=wide)
        assert (refused.status_code, "more than 4 rows" in refused.text) == (413, True)
        assert (await small.client.post(f"{URL}?extra_columns=keep", json=wide[:4])).status_code == 200


@pytest.mark.parametrize(
    ("form", "text"), [("ndjson", "x" * 800), ("csv", "x" * 800), ("stream", "🌷" * 200), ("parquet", "🌷" * 200)]
)
async def test_kept_columns_have_a_limit_in_bytes(
    serving: Any, mlflow: Any, tmp_path: Any, form: str, text: str
) -> None:
    kind, write = FORMS[form]
    body = write([{**SETOSA, "note": text}] * 3000)
    async with serving(tmp_path, mlflow, max_batch_bytes=8_000_000, max_large_batches=2) as running:
        refused, ignored = [
            await running.client.post(f"{URL}?extra_columns={extra}", content=body, headers={"Content-Type": kind})
            for extra in ("keep", "ignore")
        ]
        assert refused.status_code == 413
        assert "more than 2000000 bytes; send several batches, or drop other columns" in refused.json()["detail"]
        assert ignored.status_code == 200
        assert await running.metric("inference_prediction_errors_total", reason="too_large") == 1
