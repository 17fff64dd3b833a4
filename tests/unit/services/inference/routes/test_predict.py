import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from src.serving.tables.parts import PART_BYTES
from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA
from tests.support.predict_bodies import BODIES, LIMIT, MARKER, body

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """One application for the whole table: no body may harm the next."""
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("bodies"), fake) as running:
        yield running


@pytest.mark.parametrize("name", BODIES)
async def test_predict_body(one_app: Any, name: str) -> None:
    content, status, kind = BODIES[name]
    answer = await one_app.client.post("/predict", content=content, headers=JSON)
    assert answer.status_code == status
    # Of the body, only names of unknown fields are repeated.
    assert MARKER not in re.sub("unknown fields: [^;]*; the model takes ", "", answer.text)
    told = answer.json()
    assert told["request_id"] == answer.headers["X-Request-ID"]
    if status == 200:
        assert {item["prediction"] for item in told.get("predictions", [told])} <= set(CLASSES)
    elif status == 422:
        first = told["detail"][0]
        assert first["type"] == kind
        assert set(first) == {"loc", "msg", "type"}
        assert first["loc"][0] == "body"
        assert {part for part in first["loc"][1:] if isinstance(part, str)} <= set(COLUMNS)
        assert len(answer.content) < 1500
    else:
        assert (
            told["detail"] == f"the body is larger than {LIMIT} bytes; send fewer rows (/predict/batch takes the most)"
        )


async def test_predict_answers_class_probabilities_model_and_id(served: Any) -> None:
    answer = await served.client.post("/predict", json=SETOSA)
    told = answer.json()
    assert list(told) == ["prediction", "probabilities", "model", "request_id"]
    assert told["prediction"] == "setosa"
    assert list(told["probabilities"]) == list(CLASSES)
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert told["model"] == {"name": "iris", "version": "1"}
    assert answer.headers["Content-Type"] == "application/json"
    assert (await served.client.post("/predict", json=VIRGINICA)).json()["prediction"] == "virginica"


async def test_predict_reports_every_problem_of_a_record(served: Any) -> None:
    record = {"sepal_length": True, "sepal_width": 1e300, "petal_length": 1.4, MARKER: 1}
    told = (await served.client.post("/predict", json=record)).json()["detail"]
    assert [(item["loc"], item["type"]) for item in told] == [
        (["body", "sepal_length"], "not_a_number"),
        (["body", "sepal_width"], "not_finite"),
        (["body", "petal_width"], "missing"),
        (["body"], "unknown_field"),
    ]
    assert told[-1]["msg"] == f"unknown fields: {MARKER}; the model takes {', '.join(COLUMNS)} and nothing else"


async def test_predict_names_unknown_fields_and_what_they_may_mean(served: Any) -> None:
    record = {**SETOSA, "petal_widht": 0.2, "colour": "blue"}
    del record["petal_width"]
    for content, place in ((record, ["body"]), ([SETOSA, record], ["body", 1])):
        _, unknown = (await served.client.post("/predict", json=content)).json()["detail"]
        assert unknown["loc"] == place
        assert unknown["msg"].startswith("unknown fields: petal_widht (did you mean 'petal_width'?), colour; ")
    # Not a column that the record has already.
    (unknown,) = (await served.client.post("/predict", json={**SETOSA, "petal_widht": 0.2})).json()["detail"]
    assert unknown["msg"].startswith("unknown fields: petal_widht; the model takes ")


async def test_predict_reports_every_value_that_float32_cannot_hold(served: Any) -> None:
    told = (await served.client.post("/predict", json=dict.fromkeys(COLUMNS, -1e300))).json()["detail"]
    assert [item["loc"][1] for item in told] == list(COLUMNS)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/ld+json", 200),
        (None, 200),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("application/jsonx", 415),
        ("", 415),
        (MARKER, 415),
    ],
)
async def test_predict_content_type(served: Any, content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await served.client.post("/predict", content=body("0.2"), headers=headers)
    assert answer.status_code == status
    assert MARKER not in answer.text
    if status == 415:
        assert "application/json" in answer.json()["detail"]
        assert await served.metric("inference_prediction_errors_total", reason="unsupported_media_type") == 1


async def test_predict_without_a_model_says_when_to_come_back(unready: Any) -> None:
    answer = await unready.client.post("/predict", json=SETOSA)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "no model" in answer.json()["detail"]
    assert await unready.metric("inference_prediction_errors_total", reason="no_model") == 1


async def test_predict_counts_classes_and_reasons(served: Any) -> None:
    assert [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES] == [0, 0, 0]
    for record in (SETOSA, SETOSA, VIRGINICA, {**SETOSA, "petal_width": True}):
        await served.client.post("/predict", json=record)
    assert [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES] == [2, 0, 1]
    assert await served.metric("inference_prediction_errors_total", reason="not_a_number") == 1
    assert await served.metric("inference_prediction_errors_total", reason="missing") == 0


async def test_predict_takes_no_other_method(served: Any) -> None:
    answer = await served.client.get("/predict")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert set(answer.json()) == {"detail", "request_id"}


async def test_list_is_answered_in_its_order_as_each_record_alone(one_app: Any) -> None:
    records = [VIRGINICA, SETOSA, VIRGINICA]
    told = (await one_app.client.post("/predict", json=records)).json()
    alone = [(await one_app.client.post("/predict", json=record)).json() for record in records]
    assert told["predictions"] == [
        {"prediction": item["prediction"], "probabilities": item["probabilities"]} for item in alone
    ]
    assert told["model"] == alone[0]["model"]


async def test_problems_in_a_list_tell_record_and_field(one_app: Any) -> None:
    records = [SETOSA, {**SETOSA, "petal_width": "x"}, 1, {**SETOSA, "other": 1}]
    answer = await one_app.client.post("/predict", json=records)
    assert [(item["loc"], item["type"]) for item in answer.json()["detail"]] == [
        (["body", 1, "petal_width"], "not_a_number"),
        (["body", 2], "malformed"),
        (["body", 3], "unknown_field"),
    ]


async def test_long_list_is_answered_as_in_short_ones(served: Any) -> None:
    records = [{**SETOSA, "petal_length": 0.001 * index} for index in range(4000)]
    assert len(json.dumps(records)) > PART_BYTES
    found = (await served.client.post("/predict", json=records)).json()["predictions"]
    short = [await served.client.post("/predict", json=records[start : start + 1000]) for start in range(0, 4000, 1000)]
    assert found == [answer for each in short for answer in each.json()["predictions"]]


async def test_problems_in_a_long_list_are_reported_and_nothing_is_counted(served: Any) -> None:
    records: list[object] = [SETOSA] * 4000
    records[5] = {**SETOSA, "petal_length": "x"}
    records[3900] = {}
    answer = await served.client.post("/predict", json=records)
    told = [item["loc"] for item in answer.json()["detail"]]
    assert (answer.status_code, told) == (
        422,
        [["body", 5, "petal_length"], *(["body", 3900, name] for name in COLUMNS)],
    )
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 0


async def test_at_most_a_hundred_problems_are_reported(one_app: Any) -> None:
    answer = await one_app.client.post("/predict", json=[{}] * 5000)
    assert len(answer.json()["detail"]) == 100


async def test_list_counts_each_prediction(served: Any) -> None:
    await served.client.post("/predict", json=[SETOSA] * 7)
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 7


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/invocations", "/v2/models/iris/infer"])
async def test_refusals_name_the_model_too(served: Any, path: str) -> None:
    answer = await served.client.post(path, content=b"{}", headers=JSON)
    assert 400 <= answer.status_code < 500
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")
    assert answer.headers["x-request-id"]


async def test_without_a_model_a_refusal_names_none(unready: Any) -> None:
    answer = await unready.client.post("/predict", json=SETOSA)
    assert answer.status_code == 503
    assert "x-model-name" not in answer.headers
