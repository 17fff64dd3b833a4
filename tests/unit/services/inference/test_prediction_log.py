"""What every route writes to the prediction log: ids, values, answers and keys, and what does not fail with it."""

import dataclasses
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from src.core.prediction_log import Role, Sampling, row_id
from src.services.inference.page.form import mark_of
from tests.support.fake_mlflow import FakeMlflow
from tests.support.logged import logged, logged_rows, segments_in
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA
from tests.support.served import request
from tests.support.typed_model import FLAT, HOUSE, build_typed_model

pytestmark = pytest.mark.anyio
GOOD = json.dumps(SETOSA).encode()
VALUES = list(SETOSA.values())
MATRIX = {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP64", "data": VALUES}]}
INFER = "/v2/models/iris/infer"
KEY = "0123456789abcdef"


@pytest.fixture
async def typed(serving: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """A model with columns of every type; hashed and omitted are two of them."""
    fake = FakeMlflow()
    fake.add("1", tmp_path / "typed", build_typed_model(tmp_path / "typed"))
    fake.promote("1")
    columns = {"prediction_log_omit": "heating,nothing?", "prediction_log_hash": "city, area (m²)"}
    async with serving(tmp_path, fake, prediction_log_key=KEY, **columns) as running:
        yield running


def identify(served: Any, *ids: str) -> None:
    """Let the served model have been trained on rows with these columns of ids."""
    store = served.service.store
    store.current = dataclasses.replace(store.current, schema=dataclasses.replace(store.current.schema, ids=ids))


async def post(served: Any, path: str, body: Any, request_id: str, **headers: str) -> Any:
    """A request that takes the ordinary way."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **headers, "x-request-id": request_id}
    answer = await served.client.post(path, content=content, headers=given)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == request_id
    return answer


async def test_single_row_is_logged_as_it_was_answered(served: Any) -> None:
    before = time.time()
    answer = (await post(served, "/predict", SETOSA, "first")).json()
    after = time.time()
    (segment,) = logged(served)
    header = segment.header
    assert (header.model, header.version, header.role, header.rate) == ("iris", "1", Role.CHAMPION, 1)
    assert [(column.name, column.type) for column in header.columns] == [(name, "number") for name in COLUMNS]
    assert header.classes == list(CLASSES)
    (row,) = segment.rows
    assert before <= row.pop("time") / 1e6 <= after
    assert row == {
        "id": "first",
        "key": None,
        "values": VALUES,
        "prediction": answer["prediction"],
        "probabilities": list(answer["probabilities"].values()),
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [("/predict", SETOSA), ("/invocations", {"dataframe_records": [SETOSA]}), (INFER, MATRIX)],
    ids=["predict", "invocations", "infer"],
)
async def test_fast_and_ordinary_requests_are_logged_alike(served: Any, path: str, body: Any) -> None:
    await post(served, path, body, "ordinary")
    async with await served.connect() as connection:
        for sent in ({"x_request_id": "fast"}, {}):
            connection.send(request(json.dumps(body).encode(), target=path, **sent))
            answer = await connection.answer()
            assert answer.status_code == 200
    rows = logged_rows(served)
    assert {row.pop("id") for row in rows} == {"ordinary", "fast", answer.headers["x-request-id"]}
    assert all(row.pop("time") for row in rows)
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["values"] == VALUES


async def test_id_in_the_body_of_an_open_inference_request_is_not_the_requests_id(served: Any) -> None:
    await post(served, INFER, {**MATRIX, "id": "theirs"}, "ours")
    await served.post_plainly(json.dumps({**MATRIX, "id": "theirs"}).encode(), x_request_id="ours-too")
    assert [row["id"] for row in logged_rows(served)] == ["ours"]


async def test_prediction_of_the_page_is_logged(served: Any) -> None:
    form = {f"f{place}": str(value) for place, value in enumerate(VALUES)}
    form["form"] = mark_of(served.service.store.current)
    answer = await served.client.post("/page/predict", data=form, headers={"host": "localhost"})
    assert "setosa" in answer.text
    (row,) = logged_rows(served)
    assert (row["id"], row["values"]) == (answer.headers["x-request-id"], VALUES)


async def test_rows_of_lists_and_tables_have_the_requests_id_and_their_number(served: Any) -> None:
    records = [SETOSA, VIRGINICA]
    lines = "\n".join(map(json.dumps, records)).encode()
    columns = {name: [record[name] for record in records] for name in COLUMNS}
    inputs = [{"name": name, "shape": [2, 1], "datatype": "FP64", "data": columns[name]} for name in COLUMNS]
    sent = [
        ("/predict", records, {}),
        ("/predict/batch", columns, {}),
        ("/predict/batch", lines, {"content-type": "application/x-ndjson"}),
        ("/invocations", {"dataframe_records": records}, {}),
        (INFER, {"inputs": inputs}, {}),
    ]
    for number, (path, body, headers) in enumerate(sent):
        await post(served, path, body, f"r{number}", **headers)
    (segment,) = logged(served)
    assert [row["id"] for row in segment.rows] == [
        f"r{number}{row}" for number in range(len(sent)) for row in ("", "/1")
    ]
    answers = (await post(served, "/predict", records, "again")).json()["predictions"]
    for row, record, answer in zip(segment.rows, records * 5, answers * 5, strict=True):
        assert row["values"] == list(record.values())
        assert row["prediction"] == answer["prediction"]
        assert row["probabilities"] == list(answer["probabilities"].values())


async def test_parts_of_a_large_batch_count_their_rows_on(served: Any) -> None:
    rows = 9001
    columns = {name: [SETOSA[name]] * rows for name in COLUMNS} | {COLUMNS[0]: [number / 7 for number in range(rows)]}
    await post(served, "/predict/batch", columns, "large")
    found = {row["id"]: row["values"][0] for row in logged_rows(served)}
    (segment,) = logged(served)
    assert segment.header.rate == 0.125  # 9001 rows, of which 2000 may be logged in ten seconds
    sampled = Sampling().sampled_rows("large", 0, rows, 0.125).tolist()
    assert found == {row_id("large", number): number / 7 for number in sampled}
    assert abs(len(sampled) - rows / 8) < 150
    metric = "inference_prediction_log_rows_total"
    assert await served.metric(metric, result="written") == len(sampled)
    assert await served.metric(metric, result="not_sampled") == rows - len(sampled)
    assert await served.metric(metric, result="dropped") == 0
    assert await served.metric("inference_prediction_log_rate") == 0.125


async def test_single_rows_are_sampled_by_their_ids_with_the_key(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, prediction_log_key=KEY, prediction_log_rate=5) as served:
        traffic, predictor = served.service.metrics.traffic, served.service.store.require()
        answer = predictor.answer([tuple(VALUES)])[0]
        ids = [f"id-{number}" for number in range(100)]
        for request_id in ids:
            traffic.note(predictor, tuple(VALUES), answer, request_id)
        (segment,) = logged(served)
        assert segment.header.rate == 0.5
        chosen = Sampling(KEY).sampled(ids, 0.5)
        assert [row["id"] for row in segment.rows] == [name for name, is_in in zip(ids, chosen, strict=True) if is_in]
        assert chosen != Sampling().sampled(ids, 0.5)


async def test_values_have_their_types_and_secret_ones_are_hashed_or_left_out(typed: Any) -> None:
    await post(typed, "/predict", FLAT, "flat")
    await post(typed, "/predict", [FLAT, HOUSE], "both")
    (segment,) = logged(typed)
    assert [(column.name, column.type) for column in segment.header.columns] == [
        ("city", "string"),
        ("rooms", "integer"),
        ("furnished", "boolean"),
        ("area (m²)", "string"),
    ]
    values = {row["id"]: row["values"] for row in segment.rows}
    single, flat, house = values["flat"], values["both"], values["both/1"]
    # printf %s Ulm | openssl dgst -sha256 -hmac 0123456789abcdef
    assert single == flat == ["957587f45c4ada64c6563ec392aafd29", 2, False, "f333a50184a78ee5faa2841ecefc64ab"]
    assert house[1:] == [7, True, None]
    assert len(house[0]) == 32
    assert house[0] != flat[0]


@pytest.mark.parametrize("variable", ["prediction_log_omit", "prediction_log_hash"])
async def test_with_a_misspelt_column_no_values_and_keys_are_logged_until_a_model_has_it(
    serving: Any, tmp_path: Path, mlflow: Any, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    metric = "inference_prediction_log_unknown_columns"
    async with serving(tmp_path, mlflow, prediction_log_key=KEY, **{variable: "custmer,region"}) as served:
        assert await served.metric(metric) == 2
        identify(served, "customer")
        store = served.service.store
        served.service.metrics.model_loaded(store.current)
        columns = {name: [value] for name, value in SETOSA.items()} | {"customer": ["a"], "custmer": ["b"]}
        await post(served, "/predict/batch?extra_columns=keep", columns, "hidden")
        await post(served, "/predict", SETOSA, "single")
        (segment,) = logged(served)
        assert segment.header.columns == []
        assert [(row["id"], row["values"], row["key"], row["prediction"]) for row in segment.rows] == [
            ("hidden", [], None, "setosa"),
            ("single", [], None, "setosa"),
        ]
        (message,) = {text for text in caplog.messages if "does not have" in text}
        assert message.startswith("no values and no ids of yours are logged: ")
        assert "version 1 does not have: 'custmer', 'region'; correct" in message
        identify(served, "custmer", "region")
        served.service.metrics.model_loaded(store.current)
        assert await served.metric(metric) == 0
        await post(served, "/predict", SETOSA, "again")
        assert len(logged(served)[1].rows[0]["values"]) == len(VALUES)


@pytest.mark.parametrize("form", ["columns", "records", "arrow", "infer"])
async def test_keys_are_the_ids_among_the_kept_columns(served: Any, form: str) -> None:
    identify(served, "customer", "day")
    customers, days = [7, None, "ü|"], ["mon", "tue", "wed"]
    extra = "?extra_columns=keep"
    records = [{**SETOSA, "customer": name, "day": day} for name, day in zip(customers, days, strict=True)]
    columns = {name: [record[name] for record in records] for name in records[0]}
    if form == "columns":
        await post(served, "/predict/batch" + extra, columns, "b")
    elif form == "records":
        await post(served, "/predict/batch" + extra, records, "b")
    elif form == "arrow":
        table = pa.table({**columns, "customer": ["7", None, "ü|"]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        stream = "application/vnd.apache.arrow.stream"
        await post(served, "/predict/batch" + extra, sink.getvalue().to_pybytes(), "b", **{"content-type": stream})
    else:
        inputs = [{"name": name, "shape": [3, 1], "datatype": "FP64", "data": columns[name]} for name in COLUMNS]
        texts = {"customer": ["7", "8", "ü|"], "day": days}
        inputs += [{"name": name, "shape": [3], "datatype": "BYTES", "data": data} for name, data in texts.items()]
        await post(served, INFER + extra, {"inputs": inputs}, "b")
    second = "8|tue" if form == "infer" else None
    assert [row["key"] for row in logged_rows(served)] == ["7|mon", second, "ü||wed"]


@pytest.mark.parametrize("extra", ["keep", "ignore"])
async def test_rows_without_all_columns_of_ids_have_no_key(served: Any, extra: str) -> None:
    identify(served, "customer", "day")
    columns = {name: [value] for name, value in SETOSA.items()} | {"customer": ["a"]}
    columns |= {"day": ["mon"]} if extra == "ignore" else {}
    await post(served, f"/predict/batch?extra_columns={extra}", columns, "b")
    assert [row["key"] for row in logged_rows(served)] == [None]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"prediction_log_hash": "customer"}, "df76a43bd29e8669ed6a3fa09fb3013b"),
        ({"prediction_log_omit": "day"}, None),
        ({"prediction_log_omit": "day", "prediction_log_hash": "customer"}, None),
    ],
)
async def test_key_is_hashed_or_left_out_as_its_columns_are(
    serving: Any, tmp_path: Path, mlflow: Any, settings: dict[str, str], key: str | None
) -> None:
    async with serving(tmp_path, mlflow, prediction_log_key=KEY, **settings) as served:
        identify(served, "customer", "day")
        columns = {name: [value] for name, value in SETOSA.items()} | {"customer": ["a"], "day": ["mon"]}
        await post(served, "/predict/batch?extra_columns=keep", columns, "b")
        assert [row["key"] for row in logged_rows(served)] == [key]


async def test_swap_starts_another_segment(served: Any) -> None:
    await post(served, "/predict", SETOSA, "old")
    served.mlflow.promote("2")
    await served.look()
    await post(served, "/predict", SETOSA, "new")
    await post(served, "/predict/batch", {name: [value] for name, value in SETOSA.items()}, "new-too")
    versions = [(segment.header.version, [row["id"] for row in segment.rows]) for segment in logged(served)]
    assert versions == [("1", ["old"]), ("2", ["new-too", "new"])]


async def test_rest_is_written_when_the_service_stops(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow) as served:
        await post(served, "/predict", SETOSA, "last")
    (segment,) = segments_in(tmp_path / "data" / "quality" / "segments")
    assert [row["id"] for row in segment.rows] == ["last"]


async def test_log_that_is_switched_off_leaves_no_trace(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        await post(served, "/predict", SETOSA, "one")
        await post(served, "/predict", [SETOSA], "list")
        assert "prediction_log" not in (await served.client.get("/metrics")).text
    assert not (tmp_path / "data" / "quality" / "segments").exists()


async def test_folder_that_cannot_be_written_fails_no_prediction(
    serving: Any, tmp_path: Path, mlflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    segments = tmp_path / "data" / "quality" / "segments"
    segments.parent.mkdir(parents=True)
    segments.touch()
    metric = "inference_prediction_log_rows_total"
    async with serving(tmp_path, mlflow) as served:
        for number in range(3):
            await post(served, "/predict", SETOSA, f"{number}")
            await post(served, "/predict", [SETOSA, SETOSA], f"list-{number}")
            assert logged(served) == []
        assert await served.metric(metric, result="dropped") == 9
        assert await served.metric(metric, result="written") == 0
        segments.unlink()
        await post(served, "/predict", SETOSA, "good")
        assert [row["id"] for row in logged_rows(served)] == ["good"]
        assert await served.metric(metric, result="written") == 1
    texts = [record.getMessage() for record in caplog.records if record.name.endswith("prediction_log")]
    failed = [text for text in texts if text.startswith("cannot write the prediction log to ")]
    assert len(failed) == 1
    assert failed[0].endswith("; rows are dropped")
    assert texts[-1] == "the prediction log is working again"
    assert texts.count(texts[-1]) == 1


async def test_metrics_are_there_from_the_start(served: Any) -> None:
    for result in ("written", "not_sampled", "dropped"):
        assert await served.metric("inference_prediction_log_rows_total", result=result) == 0
    assert await served.metric("inference_prediction_log_rate") == 1
    assert await served.metric("inference_prediction_log_unknown_columns") == 0
