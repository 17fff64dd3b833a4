"""The official client of the Open Inference Protocol, as Triton's users have it, served by a running service."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.support import typed_model
from tests.support.inference_process import NOWHERE, Inference, without_mlflow
from tests.support.models import COLUMNS, SETOSA, VIRGINICA
from tests.support.running import wait_until
from tests.support.typed_model import FLAT, HOUSE

pytestmark = pytest.mark.integration

ROWS = np.array([list(SETOSA.values()), list(VIRGINICA.values())])


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    inference = without_mlflow(tmp_path_factory.mktemp("iris"))
    with inference.serving():
        yield inference


@pytest.fixture
def client(iris: Inference) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{iris.port}") as client:
        yield client


def tensor(name: str, values: np.ndarray, datatype: str, *, binary: bool) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")
    assert not client.is_model_ready("iris", "2")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    for version in ("", "1"):
        told = client.get_model_metadata("iris", version)
        assert (told["name"], told["versions"]) == ("iris", ["1"])
        assert [item["name"] for item in told["inputs"]] == list(COLUMNS)
        assert [item["name"] for item in told["outputs"]] == ["predict", "predict_proba"]
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_metadata("iris", "2")
    assert caught.value.status() == "404"
    assert "not served" in caught.value.message()


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_infer_with_json_and_binary_both_ways(
    iris: Inference,
    client: triton.InferenceServerClient,
    *,
    binary_in: bool,
    binary_out: bool | None,
    datatype: str,
) -> None:
    dtype = {"FP64": np.float64, "FP32": np.float32}[datatype]
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_out)
        for name in ("predict", "predict_proba")
        if binary_out is not None
    ]
    by_column = [
        tensor(name, ROWS[:, [place]].astype(dtype), datatype, binary=binary_in) for place, name in enumerate(COLUMNS)
    ]
    matrix = [tensor("features", ROWS.astype(dtype), datatype, binary=binary_in)]
    records = [SETOSA, VIRGINICA]
    expected = httpx.post(f"{iris.url}/predict", json=records).json()["predictions"]
    for inputs in (by_column, matrix):
        result = client.infer("iris", inputs, model_version="1", outputs=outputs or None, request_id="my id")
        response = result.get_response()
        assert (response["model_name"], response["model_version"], response["id"]) == ("iris", "1", "my id")
        labels = [item.decode() if isinstance(item, bytes) else item for item in result.as_numpy("predict").reshape(-1)]
        assert labels == [item["prediction"] for item in expected]
        np.testing.assert_array_equal(
            result.as_numpy("predict_proba"), [list(item["probabilities"].values()) for item in expected]
        )


def test_errors_are_told_in_the_protocols_words(client: triton.InferenceServerClient) -> None:
    wrong = [tensor("features", np.array([[1.0, 2.0, 3.0, math.nan]]), "FP64", binary=False)]
    with pytest.raises(InferenceServerException) as caught:
        client.infer("iris", wrong)
    assert caught.value.status() == "400"
    assert caught.value.message() == "row 0: petal_width must be a finite number that float32 can hold"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("iris", [tensor("features", ROWS, "FP64", binary=True)], request_compression_algorithm="gzip")
    assert caught.value.status() == "415"


def test_many_rows(client: triton.InferenceServerClient) -> None:
    rows = np.tile(ROWS.astype(np.float32), (10_000, 1))
    result = client.infer("iris", [tensor("features", rows, "FP32", binary=True)])
    assert result.as_numpy("predict_proba").shape == (20_000, 3)
    assert (result.as_numpy("predict").reshape(-1, 2) == [b"setosa", b"virginica"]).all()


@pytest.mark.parametrize("binary", [True, False])
def test_columns_of_every_type(tmp_path: Path, *, binary: bool) -> None:
    inference = without_mlflow(tmp_path, typed_model.build_typed_model)
    kinds = {"BYTES": object, "INT64": np.int64, "BOOL": np.bool_, "FP64": np.float64}
    with inference.serving(), triton.InferenceServerClient(f"127.0.0.1:{inference.port}") as client:
        told = client.get_model_metadata("iris")
        inputs = []
        for item in told["inputs"]:
            name, datatype = item["name"], item["datatype"]
            if item.get("parameters", {}).get("optional") and datatype == "BYTES":
                continue  # a string has no form for a missing value, but its tensor may be absent
            values = np.array([FLAT[name], HOUSE[name]], dtype=kinds[datatype])
            inputs.append(tensor(name, values, datatype, binary=binary))
        result = client.infer("iris", inputs)
        assert result.as_numpy("predict").reshape(-1).tolist() == [b"cheap", b"dear"]
        classes = json.loads(told["outputs"][1]["parameters"]["classes"])
        assert [classes[place] for place in result.as_numpy("predict_proba").argmax(axis=1)] == ["cheap", "dear"]


def test_server_without_a_model_is_live_and_not_ready(tmp_path: Path) -> None:
    inference = Inference(tmp_path, NOWHERE, "iris")
    with inference.started(), triton.InferenceServerClient(f"127.0.0.1:{inference.port}") as client:
        wait_until("the service answers", inference.health)
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("iris")
