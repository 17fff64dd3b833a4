"""``/predict/batch``: formats, answers, refusals and limits."""

from typing import Any

import pytest

from src.serving.tables.parts import BINARY, PART_ROWS, Format
from tests.support.batches import FORMS, answers_of, as_columns, as_csv, as_json, flat, many, table_of
from tests.support.models import CLASSES, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

URL = "/predict/batch"
MARKER = "zq7marker"
ROWS = [SETOSA, VIRGINICA, {**SETOSA, "petal_width": 0.3}]


async def expected(served: Any, rows: Any) -> list[dict[str, Any]]:
    """The answers of ``/predict``, with their columns in order."""
    return [flat(item) for item in (await served.client.post("/predict", json=rows)).json()["predictions"]]


@pytest.mark.parametrize("accept", [*Format, None])
@pytest.mark.parametrize("form", FORMS)
async def test_batch_is_answered_as_predict_answers_in_every_format(served: Any, form: str, accept: Any) -> None:
    kind, write = FORMS[form]
    headers = {"Content-Type": kind, **({"Accept": accept} if accept else {})}
    response = await served.client.post(URL, content=write(ROWS), headers=headers)
    assert response.headers["Content-Type"].partition(";")[0] == (accept or kind)
    answers = answers_of(response)
    assert answers == await expected(served, ROWS)
    assert list(answers[0]) == ["prediction", *(f"probability_{name}" for name in CLASSES)]
    assert (response.headers["X-Model-Name"], response.headers["X-Model-Version"]) == ("iris", "1")
    assert response.headers["X-Request-ID"]


async def test_json_answer_names_model_and_request_as_predict_does(served: Any) -> None:
    headers = {"X-Request-ID": "mine"}
    batch, single = [await served.client.post(url, json=ROWS, headers=headers) for url in (URL, "/predict")]
    assert batch.content == single.content


@pytest.mark.parametrize("form", FORMS)
async def test_large_batch_comes_in_parts_with_the_same_answers(served: Any, form: str) -> None:
    kind, write = FORMS[form]
    records = many(2 * PART_ROWS + 1)
    headers = {"Content-Type": kind, "X-Request-ID": "mine"}
    response = await served.client.post(URL, content=write(records), headers=headers)
    assert "Content-Length" not in response.headers
    assert answers_of(response) == await expected(served, records)
    if kind in BINARY:
        told = table_of(response).schema.metadata
        assert [told[name] for name in (b"model_name", b"model_version", b"request_id")] == [b"iris", b"1", b"mine"]


async def test_body_that_is_not_what_it_is_declared_to_be_is_refused(served: Any) -> None:
    for kind in Format:
        body = MARKER.encode() * 100
        response = await served.client.post(URL, content=body, headers={"Content-Type": kind})
        assert response.status_code == 422
        assert response.json()["detail"][-1]["type"] in {"malformed", "unknown_field"}
        assert MARKER not in response.text
    assert (await served.client.post(URL, json=ROWS, headers={"Accept": Format.PARQUET})).status_code == 200


async def test_a_lone_record_is_sent_to_predict(served: Any) -> None:
    answer = await served.client.post(URL, json=SETOSA)
    assert answer.status_code == 422
    assert "a single record is for /predict" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(("kind", "write"), [(Format.JSON, as_json), (Format.CSV, as_csv), (Format.JSON, as_columns)])
async def test_problems_are_reported_with_row_and_column_and_nothing_of_the_input(
    served: Any, kind: str, write: Any
) -> None:
    rows = [{**SETOSA, "petal_width": MARKER} if index in (1, 5000) else SETOSA for index in range(6000)]
    response = await served.client.post(URL, content=write(rows), headers={"Content-Type": kind})
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


@pytest.mark.parametrize(
    ("header", "value", "status", "reason"),
    [("Content-Type", MARKER, 415, "unsupported_media_type"), ("Accept", "image/png", 406, "not_acceptable")],
)
async def test_what_is_not_taken_or_not_offered_is_refused_with_the_list(
    served: Any, header: str, value: str, status: int, reason: str
) -> None:
    response = await served.client.post(URL, content=as_json(ROWS), headers={header: value})
    assert response.status_code == status
    assert all(kind in response.json()["detail"] for kind in Format)
    assert value not in response.text
    assert await served.metric("inference_prediction_errors_total", reason=reason) == 1


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
        for content, limit in (
            (as_json([SETOSA] * 11), "10 rows"),
            (as_columns([SETOSA] * 11), "10 rows"),
            (as_json([SETOSA] * 100), "5000 bytes"),
        ):
            refused = await small.client.post(URL, content=content)
            assert (refused.status_code, limit in refused.json()["detail"]) == (413, True)
        assert (await small.client.post("/predict", json=[SETOSA] * 10)).status_code == 413
        assert await small.metric("inference_prediction_errors_total", reason="too_large") == 4


@pytest.mark.parametrize(
    ("query", "name"),
    [("extra_colums=keep", " extra_colums"), ("extra_columns=keep&x=", " x"), ("%0A=1", ""), (f"{'a' * 61}=1", "")],
)
async def test_unknown_parameter_is_refused(served: Any, query: str, name: str) -> None:
    response = await served.client.post(f"{URL}?{query}", json=ROWS)
    assert response.status_code == 422
    message = f"unknown parameter{name}; GET /docs lists the route's parameters"
    assert response.json()["detail"] == [{"loc": ["query"], "msg": message, "type": "malformed"}]
