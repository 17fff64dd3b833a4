"""The OpenAPI schemas of the Open Inference Protocol for the served model."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from src.services.inference.openapi.schemas import TEXT, Schema, extra_parameter, ref
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_answer import (
    InferResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
    outputs_of,
)
from src.serving.protocols.infer_request import ALL_BINARY, BINARY_DATA, BINARY_SIZE, matrix_of
from src.serving.protocols.tensors import ACCEPTED, datatype_of

FLAG: Schema = {"type": "boolean"}
EXTRA_TENSORS = extra_parameter("as outputs with the names, datatypes and shapes of the inputs")
OBJECT = ["object", "null"]
JSON_LENGTH = "Inference-Header-Content-Length"
JSON_LENGTH_HEADER: dict[str, Any] = {
    "description": "The length of the JSON before binary tensors, in bytes; absent if all is JSON",
    "schema": {"type": "integer", "minimum": 0},
}
OCTETS: Schema = {"type": "string", "format": "binary", "description": "JSON, then the binary tensors' data."}
MODEL_PARAMETERS = [{"name": "model_name", "in": "path", "required": True, "schema": ref("ModelName")}]
VERSION_PARAMETERS = [
    *MODEL_PARAMETERS,
    {"name": "model_version", "in": "path", "required": True, "schema": ref("ModelVersion")},
]
INFER_BODY: dict[str, Any] = {
    "application/json": {"schema": ref("InferRequest")},
    "application/octet-stream": {"schema": OCTETS},
}
INFER_ANSWER: dict[str, Any] = {
    "application/json": {"schema": ref("InferResponse")},
    "application/octet-stream": {"schema": OCTETS},
}


def _protocol_error(_: Predictor | None) -> Schema:
    return {"type": "object", "properties": {"error": TEXT}, "required": ["error"], "additionalProperties": False}


def _model_name(predictor: Predictor | None) -> Schema:
    return TEXT if predictor is None else {**TEXT, "enum": [predictor.version.name]}


def _model_version(predictor: Predictor | None) -> Schema:
    return TEXT if predictor is None else {**TEXT, "enum": [predictor.version.version]}


def _infer_input(predictor: Predictor | None) -> Schema:
    name: Schema = dict(TEXT)
    if predictor is not None:
        matrix = matrix_of(predictor.schema)
        name["enum"] = list(dict.fromkeys([*predictor.schema.names, *([matrix] if matrix else [])]))
    return {
        "type": "object",
        "properties": {
            "name": name,
            "shape": {
                "type": "array",
                "description": "[n] or [n, 1] for a column, [n, k] for the matrix of the first k columns.",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 2,
            },
            "datatype": {**TEXT, "enum": sorted(set().union(*(accepted for accepted, _ in ACCEPTED.values())))},
            "data": {"type": "array", "description": "In row-major order, flat or nested.", "minItems": 1},
            "parameters": {"type": OBJECT, "properties": {BINARY_SIZE: {"type": "integer", "minimum": 0}}},
        },
        "required": ["name", "shape", "datatype"],
    }


def _infer_request(predictor: Predictor | None) -> Schema:
    names: Schema = TEXT if predictor is None else {**TEXT, "enum": [item.name for item in outputs_of(predictor)]}
    wish = {
        "type": "object",
        "properties": {"name": names, "parameters": {"type": OBJECT, "properties": {BINARY_DATA: FLAG}}},
        "required": ["name"],
    }
    found: Schema = {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"], "description": "Returned with the response."},
            "inputs": {"type": "array", "items": ref("InferInput"), "minItems": 1},
            "outputs": {"type": ["array", "null"], "items": wish, "description": "Requested outputs; default: all."},
            "parameters": {"type": OBJECT, "properties": {ALL_BINARY: FLAG}},
        },
        "required": ["inputs"],
    }
    if predictor is not None:
        found["examples"] = [{"inputs": _example_inputs(predictor)}]
    return found


def _example_inputs(predictor: Predictor) -> list[dict[str, Any]]:
    return [
        {"name": column.name, "shape": [1, 1], "datatype": datatype_of(column), "data": [value]}
        for column, value in zip(predictor.schema.columns, predictor.example.values(), strict=True)
        if value is not None
    ]


def _server_metadata(_: Predictor | None) -> Schema:
    return {
        "type": "object",
        "properties": {"name": TEXT, "version": TEXT, "extensions": {"type": "array", "items": TEXT}},
        "required": ["name", "version", "extensions"],
    }


def _model_ready(_: Predictor | None) -> Schema:
    return {
        "type": "object",
        "properties": {"name": TEXT, "ready": FLAG},
        "required": ["name", "ready"],
    }


def _of_struct(struct: type[msgspec.Struct]) -> Callable[[Predictor | None], Schema]:
    """A struct's schema, which does not depend on the model; nested structs are separate schemas in the document."""

    def make(_: Predictor | None) -> Schema:
        schemas: Mapping[str, Schema] = msgspec.json.schema_components(
            [struct], ref_template="#/components/schemas/{name}"
        )[1]
        return schemas[struct.__name__]

    return make


# name in the document -> function that builds the schema
INFER_SCHEMAS: Mapping[str, Callable[[Predictor | None], Schema]] = {
    "ModelName": _model_name,
    "ModelVersion": _model_version,
    "ServerMetadata": _server_metadata,
    "ModelReady": _model_ready,
    "InferInput": _infer_input,
    "InferRequest": _infer_request,
    "ProtocolError": _protocol_error,
    **{struct.__name__: _of_struct(struct) for struct in (ModelMetadata, TensorMetadata, InferResponse, OutputTensor)},
}
