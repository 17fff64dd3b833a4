import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import CLASSES, COLUMNS, SETOSA, VIRGINICA
from tests.support.typed_model import CLASSES as PRICES
from tests.support.typed_model import build_typed_model

pytestmark = pytest.mark.anyio

MARKER = "zq7marker"
ROWS = [list(SETOSA.values()), list(VIRGINICA.values())]
INFER = "/v2/models/iris/infer"
MATRIX = {"inputs": [{"name": "features", "shape": [2, 4], "datatype": "FP64", "data": ROWS}]}
BY_COLUMN = {
    "inputs": [
        {"name": name, "shape": [2, 1], "datatype": "FP32", "data": [SETOSA[name], VIRGINICA[name]]} for name in COLUMNS
    ]
}


@pytest.fixture(scope="module")
async def one_app(serving: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """One application for all: no request may harm the next."""
    fake = FakeMlflow()
    fake.add("1", *models["first"])
    fake.promote("1")
    async with serving(tmp_path_factory.mktemp("open-inference"), fake) as running:
        yield running


async def test_server_names_itself_and_the_extension(one_app: Any) -> None:
    told = (await one_app.client.get("/v2")).json()
    assert told == {"name": "iris inference", "version": one_app.app.version, "extensions": ["binary_tensor_data"]}


@pytest.mark.parametrize("path", ["/v2/models/iris", "/v2/models/iris/versions/1"])
async def test_metadata_reports_inputs_and_outputs(one_app: Any, path: str) -> None:
    answer = await one_app.client.get(path)
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")
    assert answer.json() == {
        "name": "iris",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in COLUMNS],
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [-1, 1]},
            {
                "name": "predict_proba",
                "datatype": "FP64",
                "shape": [-1, 3],
                "parameters": {"classes": '["setosa","versicolor","virginica"]'},
            },
        ],
        "parameters": {"matrix_input": "features"},
    }
    assert (await one_app.client.get(path + "/ready")).json() == {"name": "iris", "ready": True}


@pytest.mark.parametrize("document", [MATRIX, BY_COLUMN])
@pytest.mark.parametrize("path", [INFER, "/v2/models/iris/versions/1/infer"])
async def test_infer_answers_as_predict_does(one_app: Any, path: str, document: Any) -> None:
    answer = await one_app.client.post(path, json=document, headers={"X-Request-ID": "abc"})
    assert (answer.headers["x-model-name"], answer.headers["x-model-version"]) == ("iris", "1")
    told = answer.json()
    predict, shares = told.pop("outputs")
    assert told == {"model_name": "iris", "model_version": "1", "id": "abc"}
    assert predict == {"name": "predict", "datatype": "BYTES", "shape": [2, 1], "data": ["setosa", "virginica"]}
    by_record = (await one_app.client.post("/predict", json=[SETOSA, VIRGINICA])).json()["predictions"]
    assert shares["shape"] == [2, 3]
    assert shares["data"] == [item["probabilities"][name] for item in by_record for name in CLASSES]


async def test_id_of_the_client_comes_back(one_app: Any) -> None:
    answer = await one_app.client.post(INFER, json={**MATRIX, "id": "mine/1"}, headers={"X-Request-ID": "abc"})
    assert (answer.json()["id"], answer.headers["x-request-id"]) == ("mine/1", "abc")


@pytest.mark.parametrize("content_type", ["application/octet-stream", None])
async def test_binary_goes_both_ways(one_app: Any, content_type: str | None) -> None:
    data = np.array(ROWS, dtype="<f4").tobytes()
    tensor = {"name": "features", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    outputs = [{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "predict"}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    if content_type:
        headers["Content-Type"] = content_type
    answer = await one_app.client.post(INFER, content=header + data, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    shares, predict = json.loads(answer.content[:length])["outputs"]
    assert shares == {
        "name": "predict_proba",
        "datatype": "FP64",
        "shape": [2, 3],
        "parameters": {"binary_data_size": 48},
    }
    assert np.frombuffer(answer.content[length:], "<f8").reshape(2, 3).argmax(axis=1).tolist() == [0, 2]
    assert predict["data"] == ["setosa", "virginica"]


# name -> (body, headers, status)
BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "empty": (b"", {}, 400),
    "no JSON": (MARKER.encode(), {}, 400),
    "deep": (b'{"inputs":' * 50_000, {}, 400),
    "unknown input": (json.dumps(MATRIX).replace("features", MARKER * 10).encode(), {}, 400),
    "unknown output": (json.dumps({**MATRIX, "outputs": [{"name": MARKER}]}).encode(), {}, 400),
    "text": (json.dumps(MATRIX).replace("0.2", f'"{MARKER}"').encode(), {}, 400),
    "1e999": (json.dumps(MATRIX).replace("0.2", "1e999").encode(), {}, 400),
    "length too large": (json.dumps(MATRIX).encode(), {"Inference-Header-Content-Length": "99999"}, 400),
    "length negative": (json.dumps(MATRIX).encode(), {"Inference-Header-Content-Length": "-1"}, 400),
    "length no number": (json.dumps(MATRIX).encode(), {"Inference-Header-Content-Length": MARKER}, 400),
    "length endless": (json.dumps(MATRIX).encode(), {"Inference-Header-Content-Length": "9" * 5000}, 400),
    "length superscript": (
        json.dumps(MATRIX).encode(),
        {"Inference-Header-Content-Length": b"\xb2".decode("latin-1")},
        400,
    ),
    "other type": (json.dumps(MATRIX).encode(), {"Content-Type": MARKER}, 415),
    "compressed": (json.dumps(MATRIX).encode(), {"Content-Encoding": "gzip"}, 415),
    "too large": (b" " * 1_000_001, {}, 413),
}


@pytest.mark.parametrize("name", BODIES)
async def test_refusal_has_the_protocols_shape_and_repeats_nothing(one_app: Any, name: str) -> None:
    content, headers, status = BODIES[name]
    raw = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    answer = await one_app.client.post(INFER, content=content, headers=raw)
    assert answer.status_code == status
    assert MARKER not in answer.text
    assert set(answer.json()) == {"error"}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/v2/models/zq7marker", "/v2/models/iris/versions/2", "/v2/models/iris/versions/zq7marker"]
)
async def test_other_model_or_version_is_not_found(one_app: Any, path: str) -> None:
    for method, page in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        answer = await one_app.client.request(method, path + page, json=MATRIX)
        assert (answer.status_code, set(answer.json())) == (404, {"error"}), page
        assert MARKER not in answer.text
    answer = await one_app.client.get("/v2/zq7marker")
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


async def test_without_a_model_nothing_is_ready(unready: Any) -> None:
    for method, page in (("GET", "/v2/models/iris"), ("GET", "/v2/models/iris/ready"), ("POST", INFER)):
        answer = await unready.client.request(method, page, json=MATRIX)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), page
        assert "no model" in answer.json()["error"]
    assert (await unready.client.get("/v2")).status_code == 200


async def test_big_requests_are_answered_as_small_ones(one_app: Any) -> None:
    tensor = {"name": "features", "shape": [6000, 4], "datatype": "FP64", "data": ROWS * 3000}
    answer = await one_app.client.post(INFER, json={"inputs": [tensor]})
    assert len(answer.request.content) > 1 << 16
    assert answer.json()["outputs"][0]["data"] == ["setosa", "virginica"] * 3000


async def test_predictions_and_errors_are_counted(served: Any) -> None:
    await served.client.post(INFER, json=MATRIX)
    await served.client.post(INFER, content=json.dumps(MATRIX).replace("0.2", "true"))
    await served.client.post("/v2/models/other/infer", json=MATRIX)
    await served.client.get("/v2/models/other")
    counts = [await served.metric("inference_predictions_total", **{"class": name}) for name in CLASSES]
    assert counts == [1, 0, 1]
    for reason in ("not_a_number", "unknown_model"):
        assert await served.metric("inference_prediction_errors_total", reason=reason) == 1
    labels = {"route": "/v2/models/{model_name}/infer", "method": "POST"}
    for status, count in (("200", 1), ("400", 1), ("404", 1), ("413", 0), ("415", 0), ("503", 0), ("500", 0)):
        assert await served.metric("inference_http_requests_total", **labels, status=status) == count


async def test_columns_of_every_type(serving: Any, tmp_path: Any) -> None:
    fake = FakeMlflow()
    fake.add("1", tmp_path / "model", build_typed_model(tmp_path / "model"))
    fake.promote("1")
    async with serving(tmp_path, fake) as running:
        told = (await running.client.get("/v2/models/iris")).json()
        assert told["parameters"] == {}
        assert [(item["name"], item["datatype"], item.get("parameters")) for item in told["inputs"]] == [
            ("city", "BYTES", None),
            ("rooms", "INT64", None),
            ("furnished", "BOOL", None),
            ("area (m²)", "FP64", {"optional": True}),
            ("heating", "BYTES", {"optional": True}),
        ]
        assert json.loads(told["outputs"][1]["parameters"]["classes"]) == list(PRICES)
        values = [["Köln", "Ulm"], [7, 2], [True, False]]
        inputs = [
            {"name": item["name"], "datatype": item["datatype"], "shape": [2], "data": data}
            for item, data in zip(told["inputs"], values, strict=False)
        ]
        answer = await running.client.post(INFER, json={"inputs": inputs})
        assert answer.json()["outputs"][0]["data"] == ["dear", "cheap"]


IDS = {"name": "id", "shape": [2], "datatype": "INT64", "data": [7, 8]}


async def test_id_column_comes_back_where_it_is_kept(one_app: Any) -> None:
    document = {"inputs": [IDS, *MATRIX["inputs"]]}
    plain = (await one_app.client.post(INFER, json=MATRIX)).json()["outputs"]
    kept = await one_app.client.post(f"{INFER}?extra_columns=keep", json=document)
    assert kept.json()["outputs"] == [*plain, {**IDS, "datatype": "INT64"}]
    ignored = await one_app.client.post(f"{INFER}?extra_columns=ignore", json=document)
    assert ignored.json()["outputs"] == plain
    assert (await one_app.client.post(INFER, json=document)).status_code == 400
    other = await one_app.client.post(f"{INFER}?extra_columns={MARKER}", json=document)
    assert other.json() == {"error": "extra_columns must be one of refuse, ignore, keep"}
    assert other.status_code == 400


async def test_kept_column_comes_back_in_binary(one_app: Any) -> None:
    document = {"inputs": [IDS, *MATRIX["inputs"]], "parameters": {"binary_data_output": True}}
    answer = await one_app.client.post(f"{INFER}?extra_columns=keep", json=document)
    outputs = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])["outputs"]
    assert outputs[-1] == {"name": "id", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}}
    assert np.frombuffer(answer.content[-16:], "<i8").tolist() == [7, 8]
