import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.fake_mlflow import FakeMlflow
from tests.support.models import SETOSA
from tests.support.typed_model import FLAT, HOUSE, build_typed_model

pytestmark = pytest.mark.anyio

INFER = "/v2/models/iris/infer"
NUMBERS = {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": list(SETOSA.values())}


async def document_of(served: Any) -> Any:
    return (await served.client.get("/openapi.json")).json()


def check(document: Any, schema: Any, content: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(content)


def documented(document: Any, route: str, method: str, status: int) -> Any:
    return document["paths"][route][method.lower()]["responses"][str(status)]


@pytest.mark.parametrize(
    ("request_line", "route", "options", "status"),
    [
        ("POST /invocations", "/invocations", {"json": {"inputs": [SETOSA]}}, 200),
        ("POST /invocations", "/invocations", {"json": {"inputs": [{}]}}, 400),
        ("POST /invocations", "/invocations", {"content": b" " * 1_000_001}, 413),
        ("POST /invocations", "/invocations", {"content": b"", "headers": {"Content-Type": "x/y"}}, 415),
        ("GET /v2", "/v2", {}, 200),
        ("GET /v2/models/iris", "/v2/models/{model_name}", {}, 200),
        ("GET /v2/models/other", "/v2/models/{model_name}", {}, 404),
        ("GET /v2/models/iris/versions/1", "/v2/models/{model_name}/versions/{model_version}", {}, 200),
        ("GET /v2/models/iris/ready", "/v2/models/{model_name}/ready", {}, 200),
        ("POST " + INFER, "/v2/models/{model_name}/infer", {"json": {"inputs": [NUMBERS]}}, 200),
        ("POST " + INFER, "/v2/models/{model_name}/infer", {"json": {"inputs": []}}, 400),
        ("POST " + INFER, "/v2/models/{model_name}/infer", {"headers": {"Content-Encoding": "br"}}, 415),
        ("GET /v2/health/live", "/v2/health/live", {}, 200),
        ("GET /v2/health/ready", "/v2/health/ready", {}, 200),
    ],
)
async def test_answers_are_as_documented(served: Any, request_line: str, route: str, options: Any, status: int) -> None:
    method, path = request_line.split()
    document = await document_of(served)
    answer = await served.client.request(method, path, **options)
    assert answer.status_code == status
    told = documented(document, route, method, status)
    check(document, told["content"]["application/json"]["schema"], answer.json())
    required = {name.lower() for name in told["headers"]} - {"inference-header-content-length", "x-model-role"}
    assert required <= set(answer.headers)


async def test_errors_without_a_model_are_as_documented(unready: Any) -> None:
    document = await document_of(unready)
    OpenAPIV31SpecValidator(document).validate()
    for method, route, path in (
        ("POST", "/invocations", "/invocations"),
        ("POST", "/v2/models/{model_name}/infer", INFER),
        ("GET", "/v2/models/{model_name}/ready", "/v2/models/iris/ready"),
        ("GET", "/v2/health/ready", "/v2/health/ready"),
    ):
        answer = await unready.client.request(method, path)
        told = documented(document, route, method, 503)
        check(document, told["content"]["application/json"]["schema"], answer.json())
    assert "text/plain" in documented(document, "/ping", "GET", 503)["content"]


async def test_binary_is_documented(served: Any) -> None:
    document = await document_of(served)
    for route in ("/v2/models/{model_name}/infer", "/v2/models/{model_name}/versions/{model_version}/infer"):
        operation = document["paths"][route]["post"]
        assert set(operation["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
        assert "application/octet-stream" in operation["responses"]["200"]["content"]
        assert "inference-header-content-length" in operation["responses"]["200"]["headers"]
        names = [item["$ref"].rpartition("/")[2] for item in operation["parameters"]]
        parameters = [document["components"]["parameters"][name]["name"] for name in names]
        assert "Inference-Header-Content-Length" in parameters


async def test_examples_of_any_model_work(served: Any, serving: Any, tmp_path: Path) -> None:
    fake = FakeMlflow()
    fake.add("1", tmp_path / "model", build_typed_model(tmp_path / "model"))
    fake.promote("1")
    async with serving(tmp_path, fake) as typed:
        for running in (served, typed):
            document = await document_of(running)
            OpenAPIV31SpecValidator(document).validate()
            for name, path in (("InvocationsRequest", "/invocations"), ("InferRequest", INFER)):
                schema = document["components"]["schemas"][name]
                for example in schema["examples"]:
                    check(document, schema, example)
                    assert (await running.client.post(path, json=example)).status_code == 200
        for body in (
            {"dataframe_records": [FLAT, HOUSE]},
            {"inputs": {name: [FLAT[name], HOUSE[name]] for name in FLAT}},
            {"instances": {**FLAT, "other": []}, "params": {}},
        ):
            check(document, document["components"]["schemas"]["InvocationsRequest"], body)
            assert (await typed.client.post("/invocations", json=body)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": [SETOSA], "instances": [SETOSA]},
        {"inputs": []},
        {"inputs": [{**SETOSA, "petal_width": "1"}]},
        {"inputs": {"petal_width": [1]}},
        {"dataframe_records": {}},
        {"dataframe_split": {"columns": [], "data": []}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "other": 1}},
    ],
)
async def test_schema_and_route_refuse_the_same_invocations(served: Any, body: Any) -> None:
    document = await document_of(served)
    validator = Draft202012Validator(
        {"$ref": "#/components/schemas/InvocationsRequest", "components": document["components"]}
    )
    assert not validator.is_valid(body)
    assert (await served.client.post("/invocations", content=json.dumps(body))).status_code == 400
