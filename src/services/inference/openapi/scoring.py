"""The OpenAPI schemas of MLflow's scoring protocol for the served model."""

from collections.abc import Callable, Mapping
from typing import Any

from src.services.inference.openapi.schemas import TEXT, Schema, column_schema, label_schema, ref
from src.serving.models.predictor import Predictor
from src.serving.protocols.mlflow_scoring import FORMS, INPUTS, INSTANCES, RECORDS, SPLIT

# The ``content`` of a request with rows.
SCORING_BODY: dict[str, Any] = {
    "application/json": {"schema": ref("InvocationsRequest")},
    "text/csv": {"schema": {**TEXT, "description": "UTF-8, a header with the columns' names, commas between cells."}},
}


def _scoring_row(predictor: Predictor | None) -> Schema:
    """A record; unlike ``Record``, it may have other fields."""
    if predictor is None:
        return {"type": "object"}
    columns = predictor.schema.columns
    return {
        "type": "object",
        "description": "Fields that the model does not have are ignored.",
        "properties": {column.name: column_schema(column, predictor) for column in columns},
        "required": [column.name for column in columns if column.required],
    }


def _scoring_columns(predictor: Predictor | None) -> Schema:
    if predictor is None:
        return {"type": "object"}
    columns = predictor.schema.columns
    return {
        "type": "object",
        "description": "Columns of the same length.",
        "properties": {
            column.name: {"type": "array", "items": column_schema(column, predictor), "minItems": 1}
            for column in columns
        },
        "required": [column.name for column in columns if column.required],
    }


def _scoring_split(_: Predictor | None) -> Schema:
    return {
        "type": "object",
        "description": "As pandas writes a frame with orient='split': each row of data has a value for each column.",
        "properties": {
            "columns": {"type": "array", "items": {}, "minItems": 1},
            "data": {"type": "array", "items": {"type": "array"}, "minItems": 1},
            "index": {"description": "Is left out."},
        },
        "required": ["columns", "data"],
        "additionalProperties": False,
    }


def _invocations_request(predictor: Predictor | None) -> Schema:
    rows = {"type": "array", "items": ref("ScoringRow"), "minItems": 1}
    either = {"oneOf": [rows, ref("ScoringColumns"), ref("ScoringRow")]}
    forms = {SPLIT: ref("ScoringSplit"), RECORDS: rows, INSTANCES: either, INPUTS: either}
    found: Schema = {
        "type": "object",
        "description": "Exactly one of the forms; params and other fields are ignored.",
        "properties": {**forms, "params": {}},
        "oneOf": [{"required": [form]} for form in FORMS],
    }
    if predictor is not None:
        names, row = list(predictor.shown_example), list(predictor.shown_example.values())
        found["examples"] = [{SPLIT: {"columns": names, "data": [row]}}, {RECORDS: [predictor.shown_example]}]
    return found


def _invocations_answer(predictor: Predictor | None) -> Schema:
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": label_schema(predictor), "minItems": 1}},
        "required": ["predictions"],
    }


def _mlflow_error(_: Predictor | None) -> Schema:
    return {
        "type": "object",
        "properties": {"error_code": TEXT, "message": TEXT},
        "required": ["error_code", "message"],
        "additionalProperties": False,
    }


# name in the document -> function that builds the schema
SCORING_SCHEMAS: Mapping[str, Callable[[Predictor | None], Schema]] = {
    "ScoringRow": _scoring_row,
    "ScoringColumns": _scoring_columns,
    "ScoringSplit": _scoring_split,
    "InvocationsRequest": _invocations_request,
    "InvocationsAnswer": _invocations_answer,
    "MlflowError": _mlflow_error,
}
