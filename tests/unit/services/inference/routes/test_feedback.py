import asyncio
import errno
import itertools
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.feedback import Label
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

KEY = "k" * 16
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
LABELS = [{"request_id": "abc/0", "label": "setosa"}, {"request_id": "abc/1", "label": "virginica"}]
BODIES = {
    JSON: json.dumps(LABELS).encode(),
    f"{JSON}; charset=utf-8": json.dumps(LABELS, indent=1).encode(),
    NDJSON: b"\n\n".join(json.dumps(label).encode() for label in LABELS),
    CSV: b"\xef\xbb\xbflabel,request_id\r\nsetosa,abc/0\r\nvirginica,abc/1\r\n",
}


def folder_of(served: Any) -> Path:
    return Path(served.service.settings.quality_dir) / "feedback"


def stored(served: Any) -> list[Label]:
    """All stored labels, oldest file first."""
    paths = sorted(folder_of(served).iterdir())
    assert all(path.suffix == ".ndjson" for path in paths)
    return [Label.model_validate_json(line) for path in paths for line in path.read_bytes().splitlines()]


async def send(served: Any, body: bytes | str, kind: str = JSON, **headers: str) -> httpx.Response:
    answer = await served.client.post("/feedback", content=body, headers={"Content-Type": kind, **headers})
    assert isinstance(answer, httpx.Response)
    return answer


async def counted(served: Any) -> tuple[float, float]:
    name = "inference_feedback_labels_total"
    return await served.metric(name, result="accepted"), await served.metric(name, result="refused")


@pytest.mark.parametrize("kind", BODIES)
async def test_labels_are_accepted_in_each_format_once_they_are_stored(served: Any, kind: str) -> None:
    assert await counted(served) == (0, 0)
    answer = await send(served, BODIES[kind], kind)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "refused": 0, "problems": []})
    assert [(label.request_id, label.key, label.label, label.time) for label in stored(served)] == [
        ("abc", None, "setosa", None),
        ("abc/1", None, "virginica", None),
    ]
    assert await counted(served) == (2, 0)


async def test_label_of_a_prediction_and_of_a_batch_s_row_is_stored_by_the_answer_s_id(served: Any) -> None:
    one = (await served.client.post("/predict", json=SETOSA)).json()["request_id"]
    many = (await served.client.post("/predict/batch", json=[SETOSA, SETOSA])).headers["x-request-id"]
    for given in (one, f"{many}/1"):
        assert (await send(served, json.dumps({"request_id": given, "label": "setosa"}))).status_code == 202
    assert [label.request_id for label in stored(served)] == [one, f"{many}/1"]


async def test_invalid_rows_are_refused_by_row_and_field_and_the_others_accepted(served: Any) -> None:
    rows = [
        {"request_id": "a", "label": "zq7marker"},
        {"request_id": "b", "label": "setosa"},
        {"label": "setosa"},
        {"id": 7, "label": "setosa", "time": "zq7marker"},
    ]
    answer = await send(served, json.dumps(rows))
    told = answer.json()
    assert (answer.status_code, told["accepted"], told["refused"]) == (202, 1, 3)
    assert [(problem["row"], problem["field"]) for problem in told["problems"]] == [
        (0, "label"),
        (2, None),
        (3, "time"),
    ]
    assert told["problems"][0]["message"] == "label must be a class of the served model: setosa, versicolor, virginica"
    assert "zq7marker" not in answer.text
    assert [label.request_id for label in stored(served)] == ["b"]
    assert await counted(served) == (1, 3)


async def test_body_without_a_valid_label_is_422_in_the_usual_form_and_stores_nothing(served: Any) -> None:
    answer = await send(served, 'request_id,label\n"a",zq7marker\nb,setosa,1\n', CSV)
    told = answer.json()
    assert answer.status_code == 422
    assert told["request_id"] == answer.headers["x-request-id"]
    assert [(item["loc"], item["type"]) for item in told["detail"]] == [
        (["body", 0, "label"], "unknown_label"),
        (["body", 1], "malformed"),
    ]
    assert "zq7marker" not in answer.text
    assert stored(served) == []
    assert await counted(served) == (0, 2)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b"null"),
        (JSON, b'[{"request_id":"a","label":"setosa"}'),
        (JSON, b'[{"request_id":"a","label":"setosa"}] x'),
        (JSON, b'{"request_id":"a","label":NaN}'),
        (JSON, b"[" * 100_000 + b"]" * 100_000),
        (JSON, b'[{"request_id":"a","label":' + b"[" * 50_000 + b"]" * 50_000 + b"}]"),
        (JSON, b'{"request_id":"a","label":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
        (JSON, b'{"request_id":"a","label":1e999}'),
        (JSON, b'{"request_id":"a","label":' + b"9" * 100_000 + b"}"),
        (JSON, b'{"request_id":"a","label":"\\ud800"}'),
        (JSON, b"\xff\xfe"),
        (NDJSON, b"\n\n"),
        (NDJSON, b'{"request_id":"a"\n,"label":"setosa"}'),
        (CSV, b"request_id,label\n"),
        (CSV, b""),
        (CSV, b"request_id,label,label\na,setosa,setosa\n"),
        (CSV, b"request_id;label\na;setosa\n"),
        (CSV, b"request_id,label,note\na,setosa,x\n"),
        (CSV, b'request_id,label\na,setosa\n"b,setosa\n'),
        (CSV, b"request_id,label\na,setosa\n\xff,setosa\n"),
        (CSV, b"request_id,label\na,setosa\nb," + b"x" * 200_000),
    ],
)
async def test_hostile_body_is_422_and_stores_nothing(served: Any, kind: str, body: bytes) -> None:
    answer = await send(served, body, kind)
    assert answer.status_code == 422, answer.text
    assert stored(served) == []


async def test_10_000_rows_are_stored_in_their_order_and_at_most_100_problems_are_reported(served: Any) -> None:
    rows = [f"row-{row},{'setosa' if row % 2 else 'daisy'}" for row in range(10_000)]
    told = (await send(served, "\n".join(["id,label", *rows]), CSV)).json()
    assert (told["accepted"], told["refused"], len(told["problems"])) == (5_000, 5_000, 100)
    found = stored(served)
    assert [label.key for label in found] == [f"row-{row}" for row in range(1, 10_000, 2)]
    assert all(before.received < after.received for before, after in itertools.pairwise(found))


async def test_label_that_is_sent_again_is_kept_again_with_a_later_receipt(served: Any) -> None:
    for label in ("setosa", "virginica", "setosa"):
        assert (await send(served, json.dumps({"request_id": "a", "label": label}))).status_code == 202
    found = stored(served)
    assert [label.label for label in found] == ["setosa", "virginica", "setosa"]
    assert found[0].received < found[1].received < found[2].received


@pytest.mark.parametrize("kind", ["application/vnd.apache.parquet", "text/plain", "text/csv; header=absent"])
async def test_other_formats_are_415(served: Any, kind: str) -> None:
    answer = await send(served, b"x", kind)
    assert answer.status_code == 415
    if "header" not in kind:
        expected = f"send labels with one of these as Content-Type: {JSON}, {NDJSON}, {CSV}"
        assert answer.json()["detail"] == expected


async def test_body_may_be_as_large_as_a_batch(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, max_body_bytes=100, max_batch_bytes=200) as served:
        row = b'{"request_id":"a","label":"setosa"}'
        assert (await send(served, row.ljust(200))).status_code == 202
        answer = await send(served, row.ljust(201))
        assert answer.status_code == 413
        assert len(stored(served)) == 1


async def test_more_labels_than_fit_are_413_and_none_is_stored(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, max_batch_values=11) as served:
        rows = "request_id,label\na,setosa\nb,setosa\n"
        assert (await send(served, rows, CSV)).status_code == 202
        answer = await send(served, rows + "c,setosa\n", CSV)
        assert answer.status_code == 413
        assert "more than 2 labels" in answer.json()["detail"]
        assert len(stored(served)) == 2


async def test_unknown_parameter_is_refused(served: Any) -> None:
    answer = await served.client.post("/feedback?sync=1", json=LABELS)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query"])
    assert stored(served) == []


async def test_key_is_needed_where_one_is_set(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, write_api_key=KEY) as served:
        assert (await send(served, BODIES[JSON])).status_code == 401
        assert (await send(served, BODIES[JSON], Authorization=f"Bearer {KEY}x")).status_code == 401
        assert (await send(served, BODIES[JSON], **{"Sec-Fetch-Site": "cross-site"})).status_code == 403
        assert stored(served) == []
        assert (await send(served, BODIES[JSON], Authorization=f"Bearer {KEY}")).status_code == 202


async def test_without_a_model_it_is_503(unready: Any) -> None:
    answer = await send(unready, BODIES[JSON])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert stored(unready) == []


async def test_without_the_log_it_is_409_and_makes_no_folder(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        answer = await send(served, BODIES[JSON])
        assert answer.status_code == 409
        assert "PREDICTION_LOG=true" in answer.json()["detail"]
        assert not folder_of(served).exists()


async def test_enough_waiting_files_are_429(serving: Any, mlflow: Any, tmp_path: Path) -> None:
    async with serving(tmp_path, mlflow, feedback_max_pending=1) as served:
        assert (await send(served, BODIES[JSON])).status_code == 202
        answer = await send(served, BODIES[JSON])
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert "1 requests with labels wait" in answer.json()["detail"]
        assert await counted(served) == (2, 0)


async def test_full_disk_is_507_and_stores_nothing(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = await send(served, BODIES[JSON])
    assert answer.status_code == 507
    assert stored(served) == []
    assert await counted(served) == (0, 0)


async def test_missing_folder_is_503_and_stores_nothing(served: Any) -> None:
    folder_of(served).rmdir()
    answer = await send(served, BODIES[JSON])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "check that DATA_DIR is there" in answer.json()["detail"]


async def test_health_answers_while_many_labels_are_read(served: Any) -> None:
    body = b"request_id,label\n" + b"a,setosa\n" * 100_000
    sending = asyncio.create_task(send(served, body, CSV))
    answered = 0
    while not sending.done():
        assert (await served.client.get("/health")).status_code == 200
        await asyncio.sleep(0)  # the labels' turn
        answered += 1
    assert (await sending).json()["accepted"] == 100_000
    assert answered > 3
