"""MLflow's own clients of a running service, and its own scoring server's answers to the same requests."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.types import ColSpec, Schema

from src.training.package_model import Flavours
from tests.support import typed_model
from tests.support.inference_process import without_mlflow
from tests.support.models import COLUMNS, SETOSA, VIRGINICA
from tests.support.training import iris_package, iris_parts
from tests.support.typed_model import FLAT, HOUSE

pytestmark = pytest.mark.integration

JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
LINE = ",".join(COLUMNS)
ROWS = [list(SETOSA.values()), list(VIRGINICA.values())]


class MlflowsServer:
    """The application that ``mlflow models serve`` runs, without its process and environment."""

    def __init__(self, directory: Path) -> None:
        app = scoring_server.init(mlflow.pyfunc.load_model(str(directory)))
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://mlflow") as client:
                return await client.request(method, path, **options)

        return asyncio.run(request())


@dataclass
class Pair:
    """One model behind two servers."""

    ours: httpx.Client
    mlflows: MlflowsServer
    port: int

    def both(self, path: str, method: str = "GET", **options: Any) -> tuple[httpx.Response, httpx.Response]:
        """Our answer, and MLflow's."""
        return self.ours.request(method, path, **options), self.mlflows.request(method, path, **options)

    def invocations(self, body: Any, headers: dict[str, str]) -> tuple[httpx.Response, httpx.Response]:
        content = body if isinstance(body, str) else json.dumps(body)
        return self.both("/invocations", "POST", content=content, headers=headers)

    def same(self, body: Any, headers: dict[str, str]) -> Any:
        """The predictions on which both agree."""
        ours, theirs = self.invocations(body, headers)
        assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
        assert ours.json() == theirs.json()
        return ours.json()["predictions"]


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """What training registers, in both flavours."""

    def build(directory: Path) -> str:
        flavours = Flavours(iris_package())
        flavours.save_model(str(directory), mlflow_model=Model())
        return flavours.manifest_sha256

    folder = tmp_path_factory.mktemp("iris")
    inference = without_mlflow(folder, build)
    with inference.serving(), httpx.Client(base_url=inference.url) as ours:
        yield Pair(ours, MlflowsServer(folder / "model"), inference.port)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A model of columns of every type."""
    folder = tmp_path_factory.mktemp("typed")
    inputs = Schema([ColSpec(item["type"], item["name"], bool(item["required"])) for item in typed_model.INPUTS])
    outputs = Schema([ColSpec("string")])
    mlflow.sklearn.save_model(
        typed_model.pipeline()[0],
        str(folder / "sklearn"),
        serialization_format="cloudpickle",
        signature=ModelSignature(inputs=inputs, outputs=outputs),
        pip_requirements=[],
    )
    inference = without_mlflow(folder, typed_model.build_typed_model)
    with inference.serving(), httpx.Client(base_url=inference.url) as ours:
        yield Pair(ours, MlflowsServer(folder / "sklearn"), inference.port)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"dataframe_split": {"columns": COLUMNS, "data": ROWS}}, JSON),
        ({"dataframe_split": {"columns": COLUMNS[::-1], "data": [row[::-1] for row in ROWS], "index": [1, 2]}}, JSON),
        ({"dataframe_split": {"columns": [*COLUMNS, "x", 7], "data": [[*row, "y", None] for row in ROWS]}}, JSON),
        ({"dataframe_records": [SETOSA, VIRGINICA]}, JSON),
        ({"dataframe_records": [{**SETOSA, "x": {"y": [1]}}, VIRGINICA], "params": {"a": 1}}, JSON),
        ({"instances": [SETOSA, VIRGINICA]}, JSON),
        ({"instances": {name: [SETOSA[name], VIRGINICA[name]] for name in COLUMNS}}, JSON),
        ({"inputs": [SETOSA, VIRGINICA], "params": None}, JSON),
        ({"inputs": {name: [SETOSA[name], VIRGINICA[name]] for name in COLUMNS}}, JSON),
        (f"{LINE}\n5.1,3.5,1.4,.2\n 6.3,3.3 ,6,2.5e0\n", CSV),
        (f"\ufeff{LINE}\r\n\r\n5.1,3.5,1.4,.2\r\n6.3,3.3,6,2.5\r\n", CSV),
        (pd.DataFrame([SETOSA, VIRGINICA]).to_csv(), {"Content-Type": "text/csv; charset=utf-8"}),
    ],
)
def test_every_form_is_answered_as_by_mlflows_server(iris: Pair, body: Any, headers: dict[str, str]) -> None:
    assert iris.same(body, headers) == ["setosa", "virginica"]


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_single_values_are_one_row_as_with_mlflows_server(iris: Pair, form: str) -> None:
    assert iris.same({form: SETOSA}, JSON) == ["setosa"]


def test_holdout_is_answered_as_by_mlflows_server(iris: Pair) -> None:
    frame = iris_parts()[1].drop(columns="species")
    assert len(iris.same({"dataframe_split": frame.to_dict(orient="split")}, JSON)) == len(frame)
    assert len(iris.same(frame.to_csv(index=False), CSV)) == len(frame)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("{", JSON),
        ("[1]", JSON),
        ({}, JSON),
        ({"inputs": [SETOSA], "instances": [SETOSA]}, JSON),
        ({"instances": ROWS}, JSON),
        ({"inputs": {name: [[SETOSA[name]]] for name in COLUMNS}}, JSON),
        ({"dataframe_split": {"columns": COLUMNS, "data": ROWS, "other": 1}}, JSON),
        ({"dataframe_split": {"columns": COLUMNS, "data": []}}, JSON),
        ({"dataframe_split": {"columns": [*COLUMNS, COLUMNS[0]], "data": [[*ROWS[0], 1]]}}, JSON),
        ({"dataframe_records": [{"sepal_length": 1}]}, JSON),
        (f"{LINE}\nx,3.5,1.4,.2\n", CSV),
        ("", CSV),
        (LINE, CSV),
        ("x", {"Content-Type": "text/plain"}),
        ("x", {"Content-Type": "application/json; format=pandas-split"}),
        ("x", {"Content-Type": "text/csv; charset=latin-1"}),
    ],
)
def test_what_mlflows_server_refuses_is_refused_with_its_status(iris: Pair, body: Any, headers: dict[str, str]) -> None:
    ours, theirs = iris.invocations(body, headers)
    assert ours.status_code == theirs.status_code
    if theirs.status_code == 400:
        assert {"error_code", "message"} == ours.json().keys() & theirs.json().keys()
        assert ours.json()["error_code"] in {"BAD_REQUEST", "INVALID_PARAMETER_VALUE"}


def test_every_type_and_missing_values_are_answered_as_by_mlflows_server(typed: Pair) -> None:
    records = [FLAT, HOUSE, {**FLAT, "city": "Bonn", "heating": ""}]
    frame = pd.DataFrame(records)
    split = json.dumps({"dataframe_split": frame.to_dict(orient="split")})
    assert "NaN" in split
    assert typed.same(split, JSON) == typed.same({"dataframe_records": records}, JSON)
    whole = typed_model.pipeline()[1]
    assert len(typed.same({"dataframe_records": whole.to_dict(orient="records")}, JSON)) == len(whole)
    assert typed.same(whole.to_csv(), CSV) == typed.same({"inputs": whole.to_dict(orient="list")}, JSON)
    gaps = whole.assign(**{"area (m²)": whole["area (m²)"].where(whole["rooms"] > 3)})
    typed.same(gaps.to_csv(index=False), CSV)


def test_mlflows_own_client_is_served(iris: Pair, typed: Pair) -> None:
    client = ScoringServerClient("127.0.0.1", iris.port)
    client.wait_server_ready(timeout=10)
    assert client.get_version() == mlflow.__version__
    frame = pd.DataFrame([SETOSA, VIRGINICA])
    answer = client.invoke(frame, params={"ignored": 1})
    np.testing.assert_array_equal(answer.get_predictions("ndarray"), ["setosa", "virginica"])
    assert client.invoke([SETOSA]).get_predictions().iloc[0, 0] == "setosa"
    with pytest.raises(Exception, match=r"error code 400.*petal_width is required"):
        client.invoke(frame.drop(columns="petal_width"))
    other = ScoringServerClient("127.0.0.1", typed.port)
    assert other.invoke(pd.DataFrame([FLAT, HOUSE]))["predictions"] == ["cheap", "dear"]


def test_version_is_that_of_the_server_it_was_compared_with(iris: Pair) -> None:
    for path in ("/version", "/ping"):
        ours, theirs = iris.both(path)
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
