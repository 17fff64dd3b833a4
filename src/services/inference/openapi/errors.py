"""The schemas of the service's errors in the OpenAPI document."""

from collections.abc import Callable, Mapping
from typing import Any

from src.services.inference.openapi.schemas import REQUEST_ID, TEXT, Schema
from src.serving.models.predictor import Predictor
from src.serving.tables.problems import MAX_TOLD, MISSING


def _error(_: Predictor | None) -> Schema:
    example = {"detail": "no model is loaded yet; GET /health says why", "request_id": REQUEST_ID}
    return _refusal({**TEXT, "description": "What is wrong and what to do."}, example)


def _invalid_input(predictor: Predictor | None) -> Schema:
    problem = {
        "type": "object",
        "properties": {
            "loc": {
                "type": "array",
                "description": "Where: body, query or path; then the row in a list, from 0; then the field.",
                "items": {"type": ["string", "integer"]},
            },
            "msg": {**TEXT, "description": "What is wrong and what to do, without the value that was sent."},
            "type": {**TEXT, "description": "The kind of problem, for programs."},
        },
        "required": ["loc", "msg", "type"],
    }
    column = predictor.schema.columns[0].name if predictor is not None else "column"
    example = {"loc": ["body", column], "msg": f"{column} is required", "type": MISSING}
    detail = {"type": "array", "items": problem, "minItems": 1, "maxItems": MAX_TOLD}
    return _refusal(detail, {"detail": [example], "request_id": REQUEST_ID})


def _refusal(detail: Schema, example: dict[str, Any]) -> Schema:
    return {
        "type": "object",
        "properties": {"detail": detail, "request_id": TEXT},
        "required": ["detail", "request_id"],
        "examples": [example],
    }


ERROR_SCHEMAS: Mapping[str, Callable[[Predictor | None], Schema]] = {
    "Error": _error,
    "InvalidInput": _invalid_input,
}
