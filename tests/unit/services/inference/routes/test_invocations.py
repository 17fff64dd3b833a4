import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
# In every bad body; an answer that repeats it repeats the input.
MARKER = "zq7marker"
ROWS = [list(SETOSA.values()), list(VIRGINICA.values())]
LINE = ",".join(COLUMNS)
TABLE = "\n".join([LINE, *(",".join(map(str, row)) for row in ROWS)])
SPLIT = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS}}


def split(value: str) -> bytes:
    """A good body but for one value."""
    return b'{"dataframe_split": {"columns": %s, "data": [[5.1, 3.5, 1.4, %s]]}}' % (
        json.dumps(COLUMNS).encode(),
        value.encode(),
    )


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """One application for the whole table: no body may harm the next."""
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("invocations"), fake) as running:
        yield running


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (json.dumps(SPLIT), JSON),
        (json.dumps(SPLIT), {}),
        (json.dumps(SPLIT), {"Content-Type": 'Application/JSON; charset="UTF-8"'}),
        (TABLE, CSV),
        (TABLE, {"Content-Type": "text/csv;charset=utf-8"}),
    ],
)
async def test_every_form_is_answered_with_classes_and_nothing_else(one_app: Any, content: str, headers: Any) -> None:
    answer = await one_app.client.post("/invocations", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"predictions": ["setosa", "virginica"]})
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")
    assert answer.headers["x-request-id"]


# name -> (body, headers, status, error code)
BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "empty": (b"", JSON, 400, "BAD_REQUEST"),
    "no JSON": (MARKER.encode(), JSON, 400, "BAD_REQUEST"),
    "deep": (b'{"inputs":' + b"[" * 100_000, JSON, 400, "BAD_REQUEST"),
    "other key": (json.dumps({MARKER: [SETOSA]}).encode(), JSON, 400, "BAD_REQUEST"),
    "NaN": (split("NaN"), JSON, 400, "INVALID_PARAMETER_VALUE"),
    "text": (split(f'"{MARKER}"'), JSON, 400, "INVALID_PARAMETER_VALUE"),
    "column missing": (json.dumps({"inputs": [{MARKER: 1}]}).encode(), JSON, 400, "INVALID_PARAMETER_VALUE"),
    "CSV cell": (f"{LINE}\n1,2,3,{MARKER}\n".encode(), CSV, 400, "INVALID_PARAMETER_VALUE"),
    "CSV header": (f"{MARKER}\n1\n".encode(), CSV, 400, "INVALID_PARAMETER_VALUE"),
    "CSV ragged": (f"{LINE}\n1,2,3,4,{MARKER}\n".encode(), CSV, 400, "BAD_REQUEST"),
    "CSV not UTF-8": (b"\xff\xfe", CSV, 400, "BAD_REQUEST"),
    "CSV null bytes": (b"\0" * 100, CSV, 400, "INVALID_PARAMETER_VALUE"),
    "Latin-1": (b"x", {"Content-Type": "text/csv; charset=latin-1"}, 415, "BAD_REQUEST"),
    "old parameter": (b"x", {"Content-Type": "application/json; format=pandas-split"}, 415, "BAD_REQUEST"),
    "other type": (b"x", {"Content-Type": MARKER}, 415, "BAD_REQUEST"),
    "too large": (b" " * 1_000_001, JSON, 413, "BAD_REQUEST"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_refusal_has_mlflows_shape_and_repeats_nothing(one_app: Any, name: str) -> None:
    content, headers, status, code = BODIES[name]
    answer = await one_app.client.post("/invocations", content=content, headers=headers)
    assert answer.status_code == status
    assert MARKER not in answer.text
    assert set(answer.json()) == {"error_code", "message"}
    assert answer.json()["error_code"] == code
    assert answer.headers["x-request-id"]


async def test_message_names_rows_and_columns_and_counts_the_rest(one_app: Any) -> None:
    content = json.dumps({"dataframe_records": [SETOSA, *[{**SETOSA, "petal_width": "x"}] * 8]})
    message = (await one_app.client.post("/invocations", content=content, headers=JSON)).json()["message"]
    assert message.startswith("row 1: petal_width must be a number, without quotes; row 2: ")
    assert message.endswith("; and at least 3 more")


async def test_big_bodies_are_answered_as_small_ones(one_app: Any) -> None:
    content = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": ROWS * 3000}})
    assert len(content) > 1 << 16
    told = (await one_app.client.post("/invocations", content=content, headers=JSON)).json()
    assert told == {"predictions": ["setosa", "virginica"] * 3000}
    refused = content.replace("6.3", f'"{MARKER}"')
    assert (await one_app.client.post("/invocations", content=refused, headers=JSON)).status_code == 400


async def test_predictions_and_errors_are_counted(served: Any) -> None:
    await served.client.post("/invocations", json=SPLIT)
    await served.client.post("/invocations", content=split("true"), headers=JSON)
    await served.client.post("/invocations", content=b"", headers={"Content-Type": "x/y"})
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert counts == [1, 0, 1]
    for reason in ("not_a_number", "unsupported_media_type"):
        assert await served.metric("inference_prediction_errors_total", reason=reason) == 1
    labels = {"route": "/invocations", "method": "POST"}
    for status, count in (("200", 1), ("400", 1), ("413", 0), ("415", 1), ("503", 0), ("500", 0)):
        assert await served.metric("inference_http_requests_total", **labels, status=status) == count


async def test_without_a_model_ping_and_invocations_say_so(unready: Any) -> None:
    answer = await unready.client.post("/invocations", json=SPLIT)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert (await unready.client.get("/ping")).status_code == 503
    assert (await unready.client.get("/version")).status_code == 200


async def test_failure_and_wrong_method_have_mlflows_shape(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await served.client.get("/invocations")
    assert (answer.status_code, answer.json()["error_code"]) == (405, "BAD_REQUEST")

    def broken() -> None:
        raise RuntimeError(MARKER)

    monkeypatch.setattr(served.service.store, "require", broken)
    answer = await served.client.post("/invocations", json=SPLIT)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert MARKER not in answer.text


async def test_ping_is_200_when_a_model_can_answer(served: Any) -> None:
    answer = await served.client.get("/ping")
    assert (answer.status_code, answer.text) == (200, "\n")
