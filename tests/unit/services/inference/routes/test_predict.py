import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

LIMIT = 1_000_000
# In every bad body; an answer that repeats it repeats the input.
MARKER = "zq7marker"
OPENING = b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": '
JSON = {"Content-Type": "application/json"}


def body(value: str, *, tail: str = "}") -> bytes:
    """A good record but for the last column's value."""
    return OPENING + value.encode() + tail.encode()


def padded(size: int) -> bytes:
    """A good record of exactly so many bytes."""
    good = body("0.2")
    return good + b" " * (size - len(good))


# name -> (body, status, type of the first problem)
BODIES: dict[str, tuple[bytes, int, str | None]] = {
    "good": (body("0.2"), 200, None),
    "integer": (body("2"), 200, None),
    "zero": (body("0"), 200, None),
    "negative zero": (body("-0.0"), 200, None),
    "negative": (body("-3.5e0"), 200, None),
    "subnormal": (body("1e-320"), 200, None),
    "underflow": (body("1e-999"), 200, None),
    "largest float32": (body("3.4028234e38"), 200, None),
    "integer of 20 digits": (body("18446744073709551616"), 200, None),
    "white space": (b" \r\n\t" + body(" 0.2 ") + b"\n", 200, None),
    "other order": (json.dumps(dict(reversed(SETOSA.items()))).encode(), 200, None),
    "escaped name": (body("0.2").replace(b"petal_width", b"petal\\u005fwidth"), 200, None),
    "duplicate key, last wins": (body("0.1", tail=', "petal_width": 0.2}'), 200, None),
    "exactly the limit": (padded(LIMIT), 200, None),
    "one byte over": (padded(LIMIT + 1), 413, None),
    "NaN": (body("NaN"), 422, "malformed"),
    "Infinity": (body("Infinity"), 422, "malformed"),
    "-Infinity": (body("-Infinity"), 422, "malformed"),
    "nan": (body("nan"), 422, "malformed"),
    "1e999": (body("1e999"), 422, "not_finite"),
    "-1e999": (body("-1e999"), 422, "not_finite"),
    "1e400…0": (body("1e" + "4" * 40), 422, "not_finite"),
    "1e300 overflows float32": (body("1e300"), 422, "not_finite"),
    "just over float32": (body("3.5e38"), 422, "not_finite"),
    "integer of 400 digits": (body("9" * 400), 422, "not_finite"),
    "integer of 10,000 digits": (body("9" * 10_000), 422, "not_finite"),
    "true": (body("true"), 422, "not_a_number"),
    "false": (body("false"), 422, "not_a_number"),
    "null": (body("null"), 422, "missing"),
    "numeric string": (body('"1.0"'), 422, "not_a_number"),
    "string": (body(f'"{MARKER}"'), 422, "not_a_number"),
    "empty string": (body('""'), 422, "not_a_number"),
    "list": (body("[0.2]"), 422, "not_a_number"),
    "object": (body(f'{{"{MARKER}": 1}}'), 422, "not_a_number"),
    "invalid UTF-8 in a value": (OPENING + b'"\xff\xfe"}', 422, "not_a_number"),
    "NaN as string": (body('"NaN"'), 422, "not_a_number"),
    "missing": (b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4}', 422, "missing"),
    "no field": (b"{}", 422, "missing"),
    "other case": (body("0.2").replace(b"petal_width", b"PETAL_WIDTH"), 422, "missing"),
    "only an unknown field": (json.dumps({MARKER: 1}).encode(), 422, "missing"),
    "extra field": (body("0.2", tail=f', "{MARKER}": 1}}'), 422, "unknown_field"),
    "extra field, deep": (
        body("0.2", tail=', "x": ' + "[" * 500 + f'"{MARKER}"' + "]" * 500 + "}"),
        422,
        "unknown_field",
    ),
    "empty name": (body("0.2", tail=', "": 1}'), 422, "unknown_field"),
    "null byte in a name": (body("0.2", tail=', "a\\u0000": 1}'), 422, "unknown_field"),
    "__proto__": (body("0.2", tail=', "__proto__": 1}'), 422, "unknown_field"),
    "duplicate key, first wrong": (body(f'"{MARKER}"', tail=', "petal_width": 0.2}'), 422, "malformed"),
    "empty": (b"", 422, "malformed"),
    "white space only": (b"  \n", 422, "malformed"),
    "truncated": (OPENING, 422, "malformed"),
    "truncated string": (OPENING + b'"' + MARKER.encode(), 422, "malformed"),
    "text": (MARKER.encode(), 422, "malformed"),
    "list of records": (b" [" + body("0.2") + b"," + body("2.5") + b"]", 200, None),
    "empty list": (b"[]", 422, "malformed"),
    "list of numbers": (b"[1, 2]", 422, "malformed"),
    "list in a list": (b"[[" + body("0.2") + b"]]", 422, "malformed"),
    "list with a bad record": (b"[" + body("0.2") + b"," + body(f'"{MARKER}"') + b"]", 422, "not_a_number"),
    "list that is cut short": (b"[" + body("0.2") + b",", 422, "malformed"),
    "bare number": (b"5.1", 422, "malformed"),
    "bare null": (b"null", 422, "malformed"),
    "bare string": (json.dumps(MARKER).encode(), 422, "malformed"),
    "two records": (body("0.2") + body("0.2"), 422, "malformed"),
    "trailing comma": (body("0.2", tail=",}"), 422, "malformed"),
    "single quotes": (body("0.2").replace(b'"', b"'"), 422, "malformed"),
    "comment": (body("0.2", tail=f"}} // {MARKER}"), 422, "malformed"),
    "leading zero": (body("00.2"), 422, "malformed"),
    "plus sign": (body("+0.2"), 422, "malformed"),
    "no digits after the point": (body("1."), 422, "malformed"),
    "hexadecimal": (body("0x10"), 422, "malformed"),
    "byte order mark": (b"\xef\xbb\xbf" + body("0.2"), 422, "malformed"),
    "UTF-16": (body("0.2").decode().encode("utf-16"), 422, "malformed"),
    "null bytes": (b"\0" * 100, 422, "malformed"),
    "null byte at the end": (body("0.2") + b"\0", 422, "malformed"),
    "invalid UTF-8": (b"\xff\xfe\xfd", 422, "malformed"),
    "invalid UTF-8 in a name": (b'{"\xff": 1}', 422, "malformed"),
    "lone surrogate": (body("0.2", tail=', "\\ud800": 1}'), 422, "malformed"),
    "form": (f"petal_width={MARKER}".encode(), 422, "malformed"),
    "lists 100,000 deep": (b"[" * 100_000, 422, "malformed"),
    "objects 100,000 deep": (b'{"x":' * 100_000, 422, "malformed"),
    "value 100,000 deep": (body("[" * 100_000 + "]" * 100_000), 422, "malformed"),
    "30,000 fields": (json.dumps({f"{MARKER}{i}": 1 for i in range(30_000)}).encode(), 422, "missing"),
}


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
    assert MARKER not in answer.text
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
        assert told["detail"] == f"the body is larger than {LIMIT} bytes"


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


async def test_predict_tells_every_problem_of_a_record(served: Any) -> None:
    record = {"sepal_length": True, "sepal_width": 1e300, "petal_length": 1.4, MARKER: 1}
    told = (await served.client.post("/predict", json=record)).json()["detail"]
    assert [(item["loc"], item["type"]) for item in told] == [
        (["body", "sepal_length"], "not_a_number"),
        (["body", "sepal_width"], "not_finite"),
        (["body", "petal_width"], "missing"),
        (["body"], "unknown_field"),
    ]
    assert ", ".join(COLUMNS) in told[-1]["msg"]


async def test_predict_tells_every_value_that_float32_cannot_hold(served: Any) -> None:
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


async def test_a_hundred_problems_are_told_of_many(one_app: Any) -> None:
    answer = await one_app.client.post("/predict", json=[{}] * 5000)
    assert len(answer.json()["detail"]) == 100


async def test_list_counts_each_prediction(served: Any) -> None:
    await served.client.post("/predict", json=[SETOSA] * 7)
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 7
