"""The fast path gives the same responses as the routes of the foreign protocols, and leaves them what is not common."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA
from tests.support.served import note_routed

pytestmark = pytest.mark.anyio
NAMES, VALUES = list(SETOSA), list(SETOSA.values())
APART = {"content-length", "date"}
INVOCATIONS = "/invocations"
INFER = "/v2/models/iris/infer"


def split(names: list[Any], *rows: Any, **others: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": names, "data": list(rows), **others}}


def tensor(name: str = "features", data: Any = VALUES, **others: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1, 4], "datatype": "FP64", "data": data, **others}


def infer(*inputs: Any, **others: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), "id": "mine", **others}


BY_COLUMN = [tensor(name, [value], shape=[1, 1]) for name, value in SETOSA.items()]
# Bodies that are answered without the application.
FAST: dict[str, tuple[str, Any]] = {
    "split": (INVOCATIONS, split(NAMES, VALUES)),
    "split, other order": (INVOCATIONS, split(NAMES[::-1], VALUES[::-1])),
    "split, index": (INVOCATIONS, split(NAMES, VALUES, index=[7])),
    "split, another number": (INVOCATIONS, split([*NAMES, "more"], [*VALUES, 1.5])),
    "split, whole numbers": (INVOCATIONS, split(NAMES, [5, 3, 1, 0])),
    "records": (INVOCATIONS, {"dataframe_records": [SETOSA]}),
    "records, another number": (INVOCATIONS, {"dataframe_records": [{**SETOSA, "more": 2}]}),
    "matrix": (INFER, infer(tensor())),
    "matrix, nested": (INFER, infer(tensor(data=[VALUES]))),
    "matrix, whole numbers": (INFER, infer(tensor(data=[5, 3, 1, 0]))),
    "a tensor per column": (INFER, infer(*BY_COLUMN)),
    "a column, nested": (INFER, infer(*[{**column, "data": [column["data"]]} for column in BY_COLUMN])),
    "columns of one dimension": (INFER, infer(*[{**column, "shape": [1]} for column in BY_COLUMN])),
    "one output": (INFER, infer(tensor(), outputs=[{"name": "predict"}])),
    "outputs in another order": (INFER, infer(tensor(), outputs=[{"name": "predict_proba"}, {"name": "predict"}])),
    "an output twice": (INFER, infer(tensor(), outputs=[{"name": "predict"}, {"name": "predict"}])),
    "no parameters": (INFER, infer(tensor(parameters={}), parameters=None, outputs=None)),
    "an id that is empty": (INFER, infer(tensor(), id="")),
}
# Bodies that the routes answer.
ROUTED: dict[str, tuple[str, Any]] = {
    "split, two rows": (INVOCATIONS, split(NAMES, VALUES, VALUES)),
    "split, no row": (INVOCATIONS, split(NAMES)),
    "split, a short row": (INVOCATIONS, split(NAMES, VALUES[:3])),
    "split, a long row": (INVOCATIONS, split(NAMES, [*VALUES, 1.0])),
    "split, a column missing": (INVOCATIONS, split(NAMES[:3], VALUES[:3])),
    "split, a column twice": (INVOCATIONS, split([*NAMES, NAMES[0]], [*VALUES, 1.0])),
    "split, a text": (INVOCATIONS, split(NAMES, ["a", *VALUES[1:]])),
    "split, null": (INVOCATIONS, split(NAMES, [None, *VALUES[1:]])),
    "split, another text": (INVOCATIONS, split([*NAMES, "more"], [*VALUES, "x"])),
    "split, too large": (INVOCATIONS, split(NAMES, [1e39, *VALUES[1:]])),
    "split and records": (INVOCATIONS, {**split(NAMES, VALUES), "dataframe_records": [SETOSA]}),
    "split and null": (INVOCATIONS, {**split(NAMES, VALUES), "dataframe_records": None}),
    "params": (INVOCATIONS, {**split(NAMES, VALUES), "params": {}}),
    "two records": (INVOCATIONS, {"dataframe_records": [SETOSA, SETOSA]}),
    "no record": (INVOCATIONS, {"dataframe_records": []}),
    "instances": (INVOCATIONS, {"instances": [SETOSA]}),
    "no form": (INVOCATIONS, {}),
    "a list": (INVOCATIONS, [SETOSA]),
    "two rows": (INFER, infer(tensor(shape=[2, 4], data=VALUES * 2))),
    "a column of one dimension, nested": (
        INFER,
        infer(*[{**column, "shape": [1], "data": [column["data"]]} for column in BY_COLUMN]),
    ),
    "another shape": (INFER, infer(tensor(shape=[4, 1]))),
    "a wrong shape": (INFER, infer(tensor(shape=[1, 3]))),
    "too few values": (INFER, infer(tensor(data=VALUES[:3]))),
    "float32": (INFER, infer(tensor(datatype="FP32"))),
    "whole numbers by type": (INFER, infer(tensor(datatype="INT64", data=[5, 3, 1, 0]))),
    "true": (INFER, infer(tensor(data=[True, *VALUES[1:]]))),
    "a text": (INFER, infer(tensor(data=["a", *VALUES[1:]]))),
    "a number for the data": (INFER, infer(tensor(data=5))),
    "true for the data": (INFER, infer(tensor(data=True))),
    "no data": (INFER, infer(tensor(data=None))),
    "a number for a column's data": (INFER, infer({**BY_COLUMN[0], "data": 5}, *BY_COLUMN[1:])),
    "another name": (INFER, infer(tensor("input-1"))),
    "no input": (INFER, infer()),
    "the matrix twice": (INFER, infer(tensor(), tensor())),
    "the matrix and a column": (INFER, infer(tensor(), BY_COLUMN[0])),
    "a column twice": (INFER, infer(*BY_COLUMN, BY_COLUMN[0])),
    "a column missing": (INFER, infer(*BY_COLUMN[:3])),
    "parameters": (INFER, infer(tensor(), parameters={"priority": 1})),
    "parameters of a tensor": (INFER, infer(tensor(parameters={"content_type": "np"}))),
    "binary output": (INFER, infer(tensor(), outputs=[{"name": "predict", "parameters": {"binary_data": True}}])),
    "another output": (INFER, infer(tensor(), outputs=[{"name": "other"}])),
    "an id that is null": (INFER, infer(tensor(), id=7)),
    "a number of 400 digits": (INFER, infer(tensor(data=[10**400, *VALUES[1:]]))),
    "not JSON": (INFER, None),
    "another model": ("/v2/models/other/infer", infer(tensor())),
    "a version": ("/v2/models/iris/versions/1/infer", infer(tensor())),
}


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("routes"), fake) as running:
        with pytest.MonkeyPatch.context() as patch:
            running.routed = note_routed(running.app, patch)
            yield running


def comparable(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    return answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k not in APART}


async def both(app: Any, path: str, document: Any, **headers: str) -> tuple[Any, Any, list[str]]:
    """The response to a body over the network and by the application alone, and what the former sent to the router."""
    body = b"{" if document is None else json.dumps(document).encode()
    app.routed.clear()
    quick = await app.post_plainly(body, target=path, x_request_id="same", **headers)
    routed = list(app.routed)
    sent = {"x-request-id": "same", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    ordinary = await app.client.post(path, content=body, headers=sent)
    return comparable(quick), comparable(ordinary), routed


@pytest.mark.parametrize("name", FAST)
async def test_common_request_is_answered_as_by_its_route_without_it(one_app: Any, name: str) -> None:
    quick, ordinary, routed = await both(one_app, *FAST[name])
    assert quick == ordinary
    assert (quick[0], routed) == (200, [])


@pytest.mark.parametrize("name", ROUTED)
async def test_other_request_is_answered_by_its_route(one_app: Any, name: str) -> None:
    quick, ordinary, routed = await both(one_app, *ROUTED[name])
    assert quick == ordinary
    assert routed == [ROUTED[name][0]]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (INVOCATIONS, {"content_type": "application/json; charset=utf-8"}),
        (INVOCATIONS, {"content_type": "application/vnd.mine+json"}),
        (INVOCATIONS, {"content_type": "text/csv"}),
        (INVOCATIONS, {"content_encoding": "gzip"}),
        (INFER, {"content_type": "application/json; charset=utf-8"}),
        (INFER, {"content_type": "application/octet-stream"}),
        (INFER, {"inference_header_content_length": "30"}),
    ],
)
async def test_other_headers_are_left_to_the_route(one_app: Any, path: str, headers: dict[str, str]) -> None:
    document = split(NAMES, VALUES) if path == INVOCATIONS else infer(tensor())
    quick, ordinary, routed = await both(one_app, path, document, **headers)
    assert quick == ordinary
    assert routed == [path] or quick[0] == 415


@pytest.mark.parametrize(("path", "route"), [(INVOCATIONS, INVOCATIONS), (INFER, "/v2/models/{model_name}/infer")])
async def test_fast_request_is_counted_under_its_route(one_app: Any, path: str, route: str) -> None:
    async def counts() -> tuple[float, float]:
        requests = await one_app.metric("inference_http_requests_total", route=route, method="POST", status="200")
        rows = await one_app.metric("inference_predictions_total", **{"class": "setosa"})
        return requests, rows

    before = await counts()
    document = split(NAMES, VALUES) if path == INVOCATIONS else infer(tensor())
    await one_app.post_plainly(json.dumps(document).encode(), target=path)
    after = await counts()
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)
