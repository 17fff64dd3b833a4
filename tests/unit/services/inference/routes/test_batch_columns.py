"""Columns of a batch that the model does not take: refused, ignored, or returned with the answers."""

from typing import Any

import pyarrow as pa
import pytest

from src.serving.tables.parts import BINARY, PART_ROWS, Format
from tests.support.batches import FORMS, answers_of, as_ndjson, table_of
from tests.support.models import SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

URL = "/predict/batch"
ROWS = [SETOSA, VIRGINICA, {**SETOSA, "petal_width": 0.3}]
# As a training file has it: with an id, a date and the target.
TRAINING = [
    {"id": index, "when": f"2024-02-0{index + 1}", **row, "species": "setosa"} for index, row in enumerate(ROWS)
]
OTHERS = ("id", "when", "species")


@pytest.mark.parametrize("form", FORMS)
async def test_columns_that_the_model_does_not_take_are_named_and_may_be_ignored(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    refused, ignoring, plain = [
        await served.client.post(url, content=write(rows), headers={"Content-Type": kind})
        for url, rows in ((URL, TRAINING), (f"{URL}?extra_columns=ignore", TRAINING), (URL, ROWS))
    ]
    assert refused.status_code == 422
    assert "unknown columns: id, when, species; the model takes" in refused.json()["detail"][0]["msg"]
    assert refused.json()["detail"][0]["loc"][0] == "body"
    assert answers_of(ignoring) == answers_of(plain)


@pytest.mark.parametrize("accept", list(Format))
@pytest.mark.parametrize("form", FORMS)
async def test_kept_columns_come_back_beside_the_predictions(served: Any, form: str, accept: Format) -> None:
    kind, write = FORMS[form]
    headers = {"Content-Type": kind, "Accept": accept}
    response = await served.client.post(f"{URL}?extra_columns=keep", content=write(TRAINING), headers=headers)
    found = answers_of(response)
    as_text = form == "csv" or accept == Format.CSV
    assert [tuple(row)[:4] for row in found] == [(*OTHERS, "prediction")] * 3
    assert [[row[name] for name in OTHERS] for row in found] == [
        [str(row[name]) if as_text else row[name] for name in OTHERS] for row in TRAINING
    ]
    assert [row["prediction"] for row in found] == ["setosa", "virginica", "setosa"]
    if accept in BINARY:
        assert table_of(response).schema.field("id").type == (pa.string() if as_text else pa.int64())


@pytest.mark.parametrize("accept", [Format.NDJSON, Format.CSV, Format.PARQUET])
async def test_kept_columns_of_a_large_batch_stay_with_their_rows(served: Any, accept: Format) -> None:
    records: list[dict[str, Any]] = [{**SETOSA, "id": index, "mixed": index} for index in range(3 * PART_ROWS + 1)]
    records[0]["mixed"] = "none"
    records[4500]["only in 4500"] = 1
    headers = {"Content-Type": Format.NDJSON, "Accept": accept}
    response = await served.client.post(f"{URL}?extra_columns=keep", content=as_ndjson(records), headers=headers)
    found = answers_of(response)
    assert [int(row["id"]) for row in found] == list(range(len(records)))
    missing, one = ("", "1") if accept is Format.CSV else (None, 1)
    assert [row["only in 4500"] for row in found[4499:4502]] == [missing, one, missing]
    assert [row["mixed"] for row in found[:2]] == ["none", 1 if accept is Format.NDJSON else "1"]


@pytest.mark.parametrize("name", ["prediction", "probability_setosa"])
async def test_column_named_as_one_of_the_answers_cannot_be_kept(served: Any, name: str) -> None:
    rows = [{**SETOSA, name: 1}]
    response = await served.client.post(f"{URL}?extra_columns=keep", json=rows)
    assert response.status_code == 422
    assert f"kept columns have names of the answer's: {name}; rename" in response.json()["detail"][0]["msg"]
    assert (await served.client.post(f"{URL}?extra_columns=ignore", json=rows)).status_code == 200


async def test_other_value_of_extra_columns_is_refused(served: Any) -> None:
    response = await served.client.post(f"{URL}?extra_columns=zq7marker", json=ROWS)
    assert response.status_code == 422
    message = "extra_columns must be one of refuse, ignore, keep"
    assert response.json()["detail"] == [{"loc": ["query", "extra_columns"], "msg": message, "type": "malformed"}]
    assert (await served.client.post(f"{URL}?extra_columns=refuse", json=ROWS)).status_code == 200


async def test_kept_columns_count_as_values(serving: Any, mlflow: Any, tmp_path: Any) -> None:
    async with serving(tmp_path, mlflow, max_batch_values=20) as small:
        wide = [{**SETOSA, "id": 1}] * 5
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
    # All large batches together have half as much text as a body may be long.
    async with serving(tmp_path, mlflow, max_batch_bytes=8_000_000, max_large_batches=2) as running:
        refused, ignored = [
            await running.client.post(f"{URL}?extra_columns={extra}", content=body, headers={"Content-Type": kind})
            for extra in ("keep", "ignore")
        ]
        assert refused.status_code == 413
        assert "more than 2000000 bytes; send several batches, or drop other columns" in refused.json()["detail"]
        assert ignored.status_code == 200
        assert await running.metric("inference_prediction_errors_total", reason="too_large") == 1
