from pathlib import Path
from typing import Any

import pytest

from tests.support.models import CLASSES, COLUMNS, SETOSA, build_model

pytestmark = pytest.mark.anyio


async def schemas(served: Any) -> Any:
    document = (await served.client.get("/openapi.json")).json()
    predict = document["paths"]["/predict"]["post"]
    reference = predict["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/PredictRequest"
    return document["components"]["schemas"]


async def test_openapi_shows_the_models_columns_and_an_example_that_works(served: Any) -> None:
    request = (await schemas(served))["PredictRequest"]
    assert request["required"] == list(request["properties"]) == list(COLUMNS)
    assert request["additionalProperties"] is False
    assert (await served.client.post("/predict", json=request["example"])).status_code == 200


async def test_openapi_shows_the_models_classes(served: Any) -> None:
    answer = (await schemas(served))["PredictAnswer"]
    assert answer["properties"]["prediction"]["enum"] == list(CLASSES)
    told = (await served.client.post("/predict", json=SETOSA)).json()
    assert set(answer["required"]) == set(told)


async def test_openapi_follows_the_model(served: Any, tmp_path: Path) -> None:
    columns = ("a", "b", "c", "d")
    served.mlflow.add("4", tmp_path / "model", build_model(tmp_path / "model", columns=columns))
    served.mlflow.promote("4")
    await schemas(served)
    await served.look()
    assert (await schemas(served))["PredictRequest"]["required"] == list(columns)


async def test_openapi_without_a_model_still_answers(unready: Any) -> None:
    assert "properties" not in (await schemas(unready))["PredictRequest"]


async def test_openapi_shows_one_shape_of_errors(served: Any) -> None:
    document = (await served.client.get("/openapi.json")).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status[0] in "45" and "/health" not in path:
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Error"), (path, status)


async def test_references_all_lead_somewhere(served: Any) -> None:
    text = (await served.client.get("/openapi.json")).text
    names = set(await schemas(served))
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= names


async def test_page_points_to_pages_that_exist(served: Any) -> None:
    pages = (await served.client.get("/")).json()
    assert set(pages.values()) == {"/docs", "/health", "/predict", "/retrain", "/metrics"}
    for path in pages.values():
        assert (await served.client.get(path)).status_code == (405 if path == "/predict" else 200)
