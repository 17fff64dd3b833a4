"""The service's OpenAPI document, with the columns and classes of the model that is served now."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from src.services.inference.predictor import Predictor

REQUEST = "PredictRequest"
ANSWER = "PredictAnswer"
ERROR = "Error"


def document(app: FastAPI, current: Callable[[], Predictor | None]) -> Callable[[], dict[str, Any]]:
    """A function that builds the document anew, as columns may change with the model."""

    def build() -> dict[str, Any]:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        # FastAPI's own shapes of errors are not ours.
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        predictor = current()
        schemas |= {REQUEST: _request(predictor), ANSWER: _answer(predictor), ERROR: _error()}
        for path in schema["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    # Not being ready is told in the shape of being so.
                    if status.startswith(("4", "5")) and "/health" not in str(operation["operationId"]):
                        response["content"] = _json_of(ERROR)
        predict = schema["paths"]["/predict"]["post"]
        predict["requestBody"] = {"required": True, "content": _json_of(REQUEST)}
        predict["responses"]["200"]["content"] = _json_of(ANSWER)
        return schema

    return build


def _json_of(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _request(predictor: Predictor | None) -> dict[str, Any]:
    if predictor is None:
        return {"type": "object", "description": "No model is loaded yet: its columns are not known."}
    columns = predictor.schema.names
    return {
        "type": "object",
        "description": f"One record for {predictor.version.name} version {predictor.version.version}.",
        "properties": {column: {"type": "number", "format": "float"} for column in columns},
        "required": list(columns),
        "additionalProperties": False,
        "examples": [predictor.example],
        # Swagger UI reads this one.
        "example": predictor.example,
    }


def _answer(predictor: Predictor | None) -> dict[str, Any]:
    text = {"type": "string"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    classes = list(predictor.classes) if predictor is not None else []
    known = {"properties": dict.fromkeys(classes, share), "required": classes} if classes else {}
    return {
        "type": "object",
        "properties": {
            "prediction": {**text, "enum": classes} if classes else text,
            "probabilities": {"type": "object", "additionalProperties": share, **known},
            "model": {
                "type": "object",
                "properties": {"name": text, "version": text},
                "required": ["name", "version"],
            },
            "request_id": text,
        },
        "required": ["prediction", "probabilities", "model", "request_id"],
    }


def _error() -> dict[str, Any]:
    text = {"type": "string"}
    problem = {
        "type": "object",
        "properties": {"loc": {"type": "array", "items": {"type": ["string", "integer"]}}, "msg": text, "type": text},
        "required": ["loc", "msg", "type"],
    }
    return {
        "type": "object",
        "properties": {
            "detail": {"oneOf": [text, {"type": "array", "items": problem}]},
            "request_id": text,
        },
        "required": ["detail", "request_id"],
    }
