"""A registered model may have any name that MLflow allows: every route answers with it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pytest

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA

pytestmark = pytest.mark.anyio

GOOD = json.dumps(SETOSA).encode()
NAMES = ("credit risk", "Kreditausfälle & <Risiken>, 100 % {a}", "\N{SLIGHTLY SMILING FACE} o'brien's #1?")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def served(serving: Any, tmp_path: Path, mlflow: FakeMlflow, name: str) -> Any:
    mlflow.model_name = name
    async with serving(tmp_path, mlflow, model_name=name) as running:
        yield running


async def test_answers_name_the_model(served: Any, name: str) -> None:
    path = f"/v2/models/{quote(name, safe='')}"
    client = served.client
    answers = [
        await served.post_plainly(GOOD),
        await client.post("/predict", json=[SETOSA]),
        await client.post("/invocations", json={"dataframe_records": [SETOSA]}),
        await client.get(f"{path}/ready"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {unquote(answer.headers["x-model-name"]) for answer in answers} == {name}
    assert answers[0].json()["model"]["name"] == answers[3].json()["name"] == name
    assert (await client.get(path)).json()["name"] == name


async def test_tables_metrics_page_and_document_name_the_model(served: Any, name: str) -> None:
    headers = {"Accept": "application/vnd.apache.arrow.stream"}
    table = await served.client.post("/predict/batch", json=[SETOSA], headers=headers)
    assert pa.ipc.open_stream(table.content).schema.metadata[b"model_name"].decode() == name
    assert await served.metric("inference_model_info", name=name, version="1", engine="onnx") == 1
    page = (await served.client.get("/")).text
    assert quote(name, safe="") in page
    assert "<Risiken>" not in page
    assert (await served.client.get("/docs")).status_code == 200
    document = (await served.client.get("/openapi.json")).json()
    assert document["info"]["title"] == f"{name} inference"


async def test_rollback_moves_the_aliases_of_the_model(served: Any) -> None:
    served.mlflow.aliases |= {"champion": "2", "previous": "1"}
    await served.look()
    assert (await served.client.post("/rollback", json={})).status_code == 200
    assert served.mlflow.aliases["champion"] == "1"
