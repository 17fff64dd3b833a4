import json
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.models import CLASSES, COLUMNS, SETOSA, build_model
from tests.support.predict_bodies import BODIES

pytestmark = pytest.mark.anyio

ODD = ("sepal length (cm)", 'a "quoted" <name>', "it's", "{x}/~1%20")


async def document_of(served: Any) -> Any:
    answer = await served.client.get("/openapi.json")
    assert answer.headers["Cache-Control"] == "no-cache"
    return answer.json()


def validator(document: Any, name: str) -> Draft202012Validator:
    """Of one of the document's schemas."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def strict(body: bytes) -> Any:
    """JSON without Python's extensions; ValueError for anything else."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(body.decode(), parse_constant=refuse)


async def serve(served: Any, folder: Path, columns: tuple[str, ...]) -> None:
    served.mlflow.add("4", folder / "model", build_model(folder / "model", columns=columns))
    served.mlflow.promote("4")
    await served.look()


async def test_document_is_valid_openapi(served: Any, unready: Any, tmp_path: Path) -> None:
    OpenAPIV31SpecValidator(await document_of(unready)).validate()
    OpenAPIV31SpecValidator(await document_of(served)).validate()
    await serve(served, tmp_path, ODD)
    OpenAPIV31SpecValidator(await document_of(served)).validate()


@pytest.mark.parametrize("columns", [COLUMNS, ODD])
async def test_examples_work(served: Any, tmp_path: Path, columns: tuple[str, ...]) -> None:
    await serve(served, tmp_path, columns)
    schemas = (await document_of(served))["components"]["schemas"]
    for example in (
        schemas["PredictRequest"]["example"],
        *schemas["Record"]["examples"],
        *schemas["Records"]["examples"],
    ):
        answer = await served.client.post("/predict", json=example)
        assert answer.status_code == 200


async def test_document_follows_the_model(served: Any, tmp_path: Path) -> None:
    before = await document_of(served)
    assert list(before["components"]["schemas"]["Record"]["properties"]) == list(COLUMNS)
    assert await document_of(served) == before
    await serve(served, tmp_path, ODD)
    record = (await document_of(served))["components"]["schemas"]["Record"]
    assert list(record["properties"]) == record["required"] == list(record["examples"][0]) == list(ODD)
    assert "version 4" in record["description"]


async def test_document_is_made_once_per_model(served: Any, tmp_path: Path) -> None:
    assert served.app.openapi() is served.app.openapi()
    first = served.app.openapi()
    await serve(served, tmp_path, COLUMNS)
    assert served.app.openapi() is not first
    assert served.app.openapi()["paths"] is first["paths"]


async def test_former_model_is_freed_at_the_swap_though_it_was_documented(served: Any, tmp_path: Path) -> None:
    await document_of(served)
    former = weakref.ref(served.service.store.current)
    await serve(served, tmp_path, COLUMNS)
    assert former() is None


async def test_servers_are_relative_to_the_document(served: Any) -> None:
    assert [server["url"] for server in (await document_of(served))["servers"]] == ["."]


@pytest.mark.parametrize("name", BODIES)
async def test_schema_takes_what_predict_takes(served: Any, name: str) -> None:
    body, status, _ = BODIES[name]
    try:
        record = strict(body)
    except (ValueError, RecursionError):
        assert status != 200
        return
    if status == 413 or name == "duplicate key, first wrong":  # which no schema can tell
        return
    assert validator(await document_of(served), "PredictRequest").is_valid(record) is (status == 200)


@pytest.mark.parametrize("request_body", [SETOSA, [SETOSA, SETOSA]])
async def test_answers_are_as_documented(served: Any, request_body: Any) -> None:
    document = await document_of(served)
    answer = await served.client.post("/predict", json=request_body)
    validator(document, "PredictAnswer").validate(answer.json())
    documented = document["paths"]["/predict"]["post"]["responses"]["200"]
    assert documented["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/PredictAnswer"}
    always = {"x-request-id", "x-model-name", "x-model-version"}
    assert set(documented["headers"]) == always | {"x-model-role"}
    assert always <= set(answer.headers)
    assert "x-model-role" not in answer.headers
    assert document["components"]["schemas"]["Label"]["enum"] == list(CLASSES)


@pytest.mark.parametrize(
    ("method", "path", "extra", "status"),
    [
        ("POST", "/predict", {"json": {}}, 422),
        ("POST", "/predict", {"json": [SETOSA, {"x": 1}]}, 422),
        ("POST", "/predict", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/predict", {"content": b" " * 1_000_001}, 413),
        ("POST", "/predict/batch", {"json": [], "headers": {"Content-Encoding": "gzip"}}, 415),
        ("GET", "/retrain/x", {}, 404),
        ("GET", "/retrain?limit=x", {}, 422),
    ],
)
async def test_errors_are_as_documented(served: Any, method: str, path: str, extra: Any, status: int) -> None:
    document = await document_of(served)
    answer = await served.client.request(method, path, **extra)
    assert answer.status_code == status
    route = path.partition("?")[0].replace("/x", "/{request_id}")
    documented = document["paths"][route][method.lower()]["responses"][str(status)]
    name = documented["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    validator(document, name).validate(answer.json())
    assert set(documented["headers"]) - {"x-model-role"} <= set(answer.headers)


async def test_batches_take_their_examples_and_answer_as_documented(served: Any) -> None:
    document = await document_of(served)
    schemas = document["components"]["schemas"]
    operation = document["paths"]["/predict/batch"]["post"]
    for request_body in (schemas["Records"]["examples"][0], schemas["Columns"]["examples"][0]):
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator({**body, "components": document["components"]}).validate(request_body)
        answer = await served.client.post("/predict/batch", json=request_body)
        assert answer.status_code == 200
        documented = operation["responses"]["200"]
        assert documented["content"]["application/json"]["schema"]["$ref"].endswith("/PredictionList")
        validator(document, "PredictionList").validate(answer.json())
        assert set(documented["headers"]) - {"x-model-role"} <= set(answer.headers)


async def test_wrong_method_reports_all_that_the_document_has(served: Any) -> None:
    for path, operations in (await document_of(served))["paths"].items():
        answer = await served.client.request("PATCH", re.sub("{.*?}", "x", path))
        assert answer.status_code == 405
        documented = {*operations, *(["head"] if "get" in operations else [])}
        assert set(answer.headers["Allow"].lower().split(", ")) == documented


async def test_no_model_is_as_documented(unready: Any) -> None:
    document = await document_of(unready)
    answer = await unready.client.post("/predict", json=SETOSA)
    validator(document, "Error").validate(answer.json())
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert set(responses["503"]["headers"]) == {"x-request-id", "retry-after"} <= set(answer.headers)
    assert "properties" not in document["components"]["schemas"]["Record"]
    health = await unready.client.get("/health")
    assert health.status_code == 503
    assert document["paths"]["/health"]["get"]["responses"]["503"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Health"
    }
    validator(document, "Health").validate(health.json())


async def test_every_route_documents_failure_and_no_shape_of_fastapis(served: Any) -> None:
    document = await document_of(served)
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "500" in operation["responses"]
            assert all("x-request-id" in response["headers"] for response in operation["responses"].values())


async def test_page_points_to_pages_that_exist(served: Any) -> None:
    links = re.findall(r'(?:href|src)="([a-z/.]+)"', (await served.client.get("/")).text)
    assert {"docs", "metrics", "page/assets/page.js"} <= set(links)
    for path in links:
        assert (await served.client.get(f"/{path}")).status_code == 200
