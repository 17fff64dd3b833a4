import io
import json
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.onnx
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import scoring_server
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from src.core.model_registry import CHAMPION, TAG_MANIFEST_SHA256, TAG_PARITY
from src.services.local.processes import REPOSITORY
from src.training.package_model import log_package
from tests.support.inference_process import NOWHERE, Inference
from tests.support.mlflow_models import (
    QUICKLY,
    TRUSTED,
    as_numbers,
    boosting,
    forest,
    iris,
    quietly,
    typed_binary,
    typed_regression,
)
from tests.support.models import COLUMNS, SETOSA, build_model, register_model
from tests.support.running import wait_until
from tests.support.training import inexact_package

pytestmark = pytest.mark.integration


@pytest.fixture
def inference(mlflow_url: str, tmp_path: Path) -> Inference:
    mlflow.set_tracking_uri(mlflow_url)
    return Inference(tmp_path, mlflow_url, f"users-{uuid.uuid4().hex[:8]}")


def register(inference: Inference, model: Any, frame: pd.DataFrame, **options: Any) -> str:
    """What a user writes in a notebook; return the version."""
    with quietly():
        chosen = {"signature": infer_signature(frame, model.predict(as_numbers(frame))), **QUICKLY, **options}
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=inference.model_name,
            input_example=frame.head(3),
            skops_trusted_types=TRUSTED,
            **chosen,
        )
    return str(info.registered_model_version)


def promote(inference: Inference, version: str) -> None:
    mlflow.MlflowClient(inference.mlflow_url).set_registered_model_alias(inference.model_name, CHAMPION, version)


def follow(inference: Inference, version: str) -> dict[str, Any]:
    """Promote a version; what /health says once it is served."""
    promote(inference, version)
    wait_until(f"version {version} is served", lambda: inference.served() == version)
    return inference.health()["model"]  # type: ignore[no-any-return]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]


def predict(inference: Inference, frame: pd.DataFrame) -> list[dict[str, Any]]:
    answer = httpx.post(f"{inference.url}/predict", json=records(frame), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [forest, boosting, typed_binary])
def test_classifier_of_a_user_is_served_from_its_signature(
    inference: Inference, make: Callable[[], tuple[Any, pd.DataFrame]]
) -> None:
    model, frame = make()
    promote(inference, register(inference, model, frame))
    with inference.serving():
        told = inference.health()["model"]
        assert (told["engine"], told["verified"], told["task"]) == ("pyfunc", False, "classification")
        found = predict(inference, frame)
    assert [answer["prediction"] for answer in found] == model.predict(as_numbers(frame)).tolist()
    shares = np.array([list(answer["probabilities"].values()) for answer in found])
    assert np.allclose(shares, model.predict_proba(as_numbers(frame)), atol=1e-5)
    assert "unverified" in inference.log()


@pytest.mark.parametrize(
    ("labels", "datatype"), [([3, 1, 2], "INT64"), ([True, False, True], "BOOL"), (["b", "a", "b"], "BYTES")]
)
def test_labels_keep_their_type_on_every_route(inference: Inference, labels: list[Any], datatype: str) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    promote(inference, register(inference, DecisionTreeClassifier().fit(frame, labels), frame))
    rows = {"dataframe_split": {"columns": ["x"], "data": frame.to_numpy().tolist()}}
    tensor = {"name": "x", "datatype": "FP64", "shape": [3, 1], "data": [1.0, 2.0, 3.0]}
    mlflows = io.StringIO()
    loaded = mlflow.pyfunc.load_model(f"models:/{inference.model_name}@{CHAMPION}")
    scoring_server.predictions_to_json(loaded.predict(frame), mlflows)
    with inference.serving(), httpx.Client(base_url=inference.url, timeout=30) as client:
        answered = client.post("/invocations", json=rows).text
        assert json.dumps(json.loads(answered)) == json.dumps(json.loads(mlflows.getvalue()))
        (output, _) = client.post(f"/v2/models/{inference.model_name}/infer", json={"inputs": [tensor]}).json()[
            "outputs"
        ]
        assert (output["datatype"], output["data"]) == (datatype, labels)
        told = client.get(f"/v2/models/{inference.model_name}").json()["outputs"][0]
        assert told["datatype"] == datatype
        assert client.post("/predict", json={"x": 2.0}).json()["prediction"] == labels[1]
        assert [answer["prediction"] for answer in predict(inference, frame)] == labels
        for accept, read in (
            ("text/csv", lambda content: pd.read_csv(io.BytesIO(content))),
            ("application/vnd.apache.parquet", lambda content: pd.read_parquet(io.BytesIO(content))),
        ):
            answer = client.post("/predict/batch", json=records(frame), headers={"Accept": accept})
            assert read(answer.content)["prediction"].tolist() == labels
        counted = client.get("/metrics").text
    assert f'inference_predictions_total{{class="{labels[0]}"}}' in counted
    assert 'inference_predictions_total{class=""}' not in counted


def test_graph_of_a_user_is_served_as_skl2onnx_converts_it(inference: Inference) -> None:
    rows, names = iris()
    model = LogisticRegression(max_iter=500).fit(rows.to_numpy(), names)
    graph = to_onnx(model, rows.to_numpy(dtype=np.float32)[:1])
    with quietly():
        mlflow.onnx.log_model(
            graph,
            name="model",
            registered_model_name=inference.model_name,
            signature=infer_signature(rows, names),
            input_example=rows.head(3),
            **QUICKLY,
        )
    promote(inference, "1")
    with inference.serving():
        assert inference.health()["model"]["engine"] == "onnx"
        found = predict(inference, rows)
    assert [answer["prediction"] for answer in found] == model.predict(rows.to_numpy()).tolist()
    assert list(found[0]["probabilities"]) == ["setosa", "versicolor", "virginica"]


def test_regression_of_a_user_is_served_and_starts_from_the_cache_without_mlflow(inference: Inference) -> None:
    model, frame = typed_regression()
    promote(inference, register(inference, model, frame))
    expected = model.predict(as_numbers(frame)).tolist()
    for environment in ({}, {"MLFLOW_TRACKING_URI": NOWHERE}):
        with inference.serving(**environment):
            told = inference.health()["model"]
            assert (told["engine"], told["task"]) == ("pyfunc", "regression")
            assert told["source"] == ("cache" if environment else "registry")
            assert [answer["prediction"] for answer in predict(inference, frame)] == expected
            metrics = httpx.get(f"{inference.url}/metrics").text
            assert f'inference_model_info{{engine="pyfunc",name="{inference.model_name}",version="1"}} 1.0' in metrics


def test_model_of_our_pipeline_without_onnx_is_served_verified(inference: Inference) -> None:
    package = inexact_package()
    with mlflow.start_run():
        version, digest = log_package(package, inference.model_name)
    client = mlflow.MlflowClient()
    for tag, value in ((TAG_MANIFEST_SHA256, digest), (TAG_PARITY, package.parity)):
        client.set_model_version_tag(inference.model_name, version, tag, value)
    promote(inference, version)
    with inference.serving():
        told = inference.health()["model"]
        assert (told["engine"], told["verified"]) == ("pyfunc", True)
        assert told["engine_reason"] == f"the model has no ONNX flavour: {package.parity}"
        rows = pd.DataFrame(package.golden.rows, columns=list(package.example.columns))
        assert [answer["prediction"] for answer in predict(inference, rows)] == package.golden.labels
    assert "unverified" not in inference.log()


def test_swaps_between_engines_fail_no_request(inference: Inference, tmp_path: Path) -> None:
    build_model(tmp_path / "ours", seed=1)
    ours = register_model(inference.mlflow_url, inference.model_name, tmp_path / "ours")
    rows, names = iris()
    rows = rows.set_axis(list(COLUMNS), axis="columns")
    theirs = register(inference, boosting()[0].fit(rows, names), rows)
    promote(inference, ours)
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=inference.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/predict", json=SETOSA)
                answers[answer.status_code, answer.headers.get("x-model-version", "-")] += 1

    with inference.serving():
        load = [threading.Thread(target=ask) for _ in range(3)]
        for thread in load:
            thread.start()
        try:
            engines = [follow(inference, version)["engine"] for version in (theirs, ours, theirs, ours)]
        finally:
            stop.set()
            for thread in load:
                thread.join()
    assert engines == ["pyfunc", "onnx", "pyfunc", "onnx"]
    assert set(answers) == {(200, ours), (200, theirs)}


def test_readme_shows_how_to_register_a_model(inference: Inference) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    given = script.replace("http://localhost:5000", inference.mlflow_url).replace('"iris"', repr(inference.model_name))
    subprocess.run([sys.executable, "-W", "ignore", "-c", given], check=True, cwd=inference.folder, timeout=250)
    with inference.serving():
        told = inference.health()
        assert (told["model"]["engine"], told["last_error"]) == ("pyfunc", None)
        flower = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}
        assert predict(inference, pd.DataFrame([flower]))[0]["prediction"] == "setosa"


def test_python_model_that_reads_its_files_late_and_fails_on_some_rows(inference: Inference, tmp_path: Path) -> None:
    (tmp_path / "factor.txt").write_text("3")
    (tmp_path / "late_model.py").write_text(
        "import mlflow.pyfunc, mlflow.models, pathlib\n"
        "class Late(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        if (model_input['x'] < 0).any():\n"
        "            raise ValueError(f'negative: {model_input.to_dict()}')\n"
        "        return model_input['x'] * int(pathlib.Path(context.artifacts['factor']).read_text())\n"
        "mlflow.models.set_model(Late())\n"
    )
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    with quietly():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(tmp_path / "late_model.py"),
            artifacts={"factor": str(tmp_path / "factor.txt")},
            registered_model_name=inference.model_name,
            signature=infer_signature(frame, np.array([3.0])),
            **QUICKLY,
        )
    promote(inference, "1")
    with inference.serving():
        assert [answer["prediction"] for answer in predict(inference, frame)] == [3.0, 6.0]
        wrong = httpx.post(f"{inference.url}/predict", json={"x": -777.5}, timeout=30)
        assert wrong.status_code == 500
        assert "ValueError" in wrong.json()["detail"]
        assert [answer["prediction"] for answer in predict(inference, frame)] == [3.0, 6.0]
    assert "777" not in wrong.text + inference.log()
    assert "late_model.py:5 in predict" in inference.log()


def test_model_without_a_signature_is_refused_with_what_to_do(inference: Inference) -> None:
    model, frame = forest()
    with quietly():
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name=inference.model_name, skops_trusted_types=TRUSTED, **QUICKLY
        )
    matrix = register(inference, model, frame, signature=infer_signature(frame.to_numpy(), model.predict(frame)))
    with inference.started():
        for version, says in (("1", "no signature"), (matrix, "named columns")):
            promote(inference, version)
            wait_until("it is refused", lambda s=says: s in str((inference.health() or {}).get("last_error")))
            assert "infer_signature" in inference.health()["last_error"]
