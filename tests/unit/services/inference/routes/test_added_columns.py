"""Requests of clients that do not know the model's newest columns, which are optional, in every form."""

import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.batches import FORMS
from tests.support.fake_mlflow import FakeMlflow
from tests.support.grown_model import build_grown_model
from tests.support.models import COLUMNS, SETOSA, VIRGINICA

pytestmark = pytest.mark.anyio

ROWS = [SETOSA, VIRGINICA]
VALUES = [list(record.values()) for record in ROWS]
FLAT = [*VALUES[0], *VALUES[1]]
BY_COLUMN = {name: [record[name] for record in ROWS] for name in COLUMNS}
CSV = "\n".join(",".join(map(str, cells)) for cells in [COLUMNS, *VALUES])
LABELS = ["setosa", "virginica"]
INFER = "/v2/models/iris/infer"
JSON = "application/json"


def tensor(name: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": "FP64", **more}


def binary(shape: list[int], values: list[float]) -> tuple[bytes, dict[str, str]]:
    """A request with the matrix in binary, and its headers."""
    data = struct.pack(f"<{len(values)}d", *values)
    header = json.dumps({"inputs": [tensor("features", shape, parameters={"binary_data_size": len(data)})]}).encode()
    return header + data, {"Inference-Header-Content-Length": str(len(header))}


@pytest.fixture(scope="module")
async def grown(serving: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """The columns of Iris, then an optional number and an optional text."""
    folder = tmp_path_factory.mktemp("grown")
    fake = FakeMlflow()
    fake.add("1", folder / "model", build_grown_model(folder / "model"))
    fake.promote("1")
    async with serving(folder, fake) as running:
        yield running


@pytest.mark.parametrize("form", FORMS)
async def test_batch(grown: Any, form: str) -> None:
    kind, write = FORMS[form]
    headers = {"Content-Type": kind, "Accept": JSON}
    answer = await grown.client.post("/predict/batch", content=write(ROWS), headers=headers)
    assert answer.status_code == 200, answer.text
    assert [item["prediction"] for item in answer.json()["predictions"]] == LABELS


@pytest.mark.parametrize("together", [True, False], ids=["list", "single records"])
async def test_predict(grown: Any, *, together: bool) -> None:
    if together:
        found = (await grown.client.post("/predict", json=ROWS)).json()["predictions"]
    else:
        found = [(await grown.post_plainly(json.dumps(record).encode())).json() for record in ROWS]
    assert [item["prediction"] for item in found] == LABELS


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (JSON, json.dumps({"dataframe_split": {"columns": COLUMNS, "data": VALUES}})),
        (JSON, json.dumps({"dataframe_records": ROWS})),
        (JSON, json.dumps({"instances": ROWS})),
        (JSON, json.dumps({"instances": BY_COLUMN})),
        (JSON, json.dumps({"inputs": ROWS})),
        (JSON, json.dumps({"inputs": BY_COLUMN})),
        ("text/csv", CSV),
    ],
    ids=["split", "records", "instances", "instances by column", "inputs", "inputs by column", "csv"],
)
async def test_invocations(grown: Any, kind: str, content: str) -> None:
    answer = await grown.client.post("/invocations", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()) == (200, {"predictions": LABELS})


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (json.dumps({"inputs": [tensor(name, [2], data=values) for name, values in BY_COLUMN.items()]}), {}),
        (json.dumps({"inputs": [tensor("features", [2, 4], data=VALUES)]}), {}),
        (json.dumps({"inputs": [tensor("features", [2, 4], data=FLAT)]}), {}),
        binary([2, 4], FLAT),
        # With the new number, too; the text has no place in a matrix.
        binary([2, 5], [*VALUES[0], 30.0, *VALUES[1], 40.0]),
    ],
    ids=["columns", "matrix", "flat matrix", "binary matrix", "binary matrix with the new number"],
)
async def test_open_inference(grown: Any, content: str | bytes, headers: dict[str, str]) -> None:
    answer = await grown.client.post(INFER, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == LABELS


@pytest.mark.parametrize("width", [3, 6])
async def test_matrix_of_another_width_is_refused_with_the_accepted_ones(grown: Any, width: int) -> None:
    for content, headers in (
        (json.dumps({"inputs": [tensor("features", [1, width], data=[1.0] * width)]}), {}),
        binary([1, width], [1.0] * width),
    ):
        answer = await grown.client.post(INFER, content=content, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"] == (
            "the shape of features must be [n, 4] to [n, 5] with n of at least 1; optional columns may be left out at "
            "the end"
        )


async def test_metadata_name_the_matrix_and_the_optional_columns(grown: Any) -> None:
    found = (await grown.client.get("/v2/models/iris")).json()
    assert found["parameters"] == {"matrix_input": "features"}
    optional = {item["name"] for item in found["inputs"] if item.get("parameters") == {"optional": True}}
    assert optional == {"height", "colour"}
