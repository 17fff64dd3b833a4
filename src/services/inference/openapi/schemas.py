"""The OpenAPI schemas that depend on the served model."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from src.core.column_rules import FIRST_DAY, LAST_DAY, date_text
from src.core.feature_schema import Column, ColumnType
from src.serving.models.predictor import Predictor
from src.serving.protocols.answer_json import EXTRA
from src.serving.tables.extra_columns import ExtraColumns
from src.serving.tables.values import FLOAT32_MAX

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
# JSON types of column types whose names differ.
TYPES: Mapping[ColumnType, list[str]] = {ColumnType.DATE: ["string", "number"]}
# JSON types of the labels of classes.
LABEL_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
NUMBERS: Schema = {"minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
# OpenAPI formats of MLflow's types, and limits that do not depend on the column.
FORMATS: Mapping[tuple[ColumnType, str], Schema] = {
    (ColumnType.NUMBER, "double"): {"format": "double", **NUMBERS},
    (ColumnType.NUMBER, "float"): {"format": "float", **NUMBERS},
    (ColumnType.INTEGER, "long"): {"format": "int64"},
    (ColumnType.INTEGER, "integer"): {"format": "int32"},
    (ColumnType.DATE, "double"): {"format": "date", "minimum": FIRST_DAY, "maximum": LAST_DAY},
}
DATE_NOTE = "an ISO 8601 date, or date and time (UTC without a zone), or a number of days since 1970-01-01"
# At most so many known values of a text column are listed.
MAX_VALUES = 20
REQUEST_ID = "0199c2f4-8e1b-7d3a-9c55-4b1f0a6e2d77"


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


# Members of every answer in the service's own shape.
TOLD_BY = {"model": ref("Model"), "request_id": TEXT}


def _record(predictor: Predictor | None) -> Schema:
    if predictor is None:
        return {"type": "object", "description": "No model is loaded yet: its columns are not known."}
    version, columns = predictor.version, predictor.schema.columns
    return {
        "type": "object",
        "description": f"One row for {version.name} version {version.version}.",
        "properties": {column.name: column_schema(column, predictor) for column in columns},
        "required": [column.name for column in columns if column.required],
        "additionalProperties": False,
        "examples": [predictor.shown_example],
    }


def column_schema(column: Column, predictor: Predictor) -> Schema:
    """The values that the decoder accepts, and a description of the training rows' values."""
    types = TYPES.get(column.type, [str(column.type)])
    found: Schema = {"type": types[0] if len(types) == 1 and column.required else types}
    if not column.required:
        found["type"] = [*types, "null"]
    found |= FORMATS.get((column.type, column.mlflow_type), {})
    if column.type is ColumnType.INTEGER:
        found["minimum"], found["maximum"] = column.limits
    notes = [
        DATE_NOTE if column.type is ColumnType.DATE else "",
        _training_values(column, predictor),
        "" if column.required else "may be null or left out",
    ]
    if any(notes):
        found["description"] = "; ".join(filter(None, notes))
    examples = dict.fromkeys([predictor.shown_example[column.name], *column.values[:MAX_VALUES]])
    if shown_values := [value for value in examples if value is not None]:
        found["examples"] = shown_values
    return found


def _training_values(column: Column, predictor: Predictor) -> str:
    if column.values:
        more = len(column.values) - MAX_VALUES
        return f"training values {', '.join(column.values[:MAX_VALUES])}" + (f" and {more} more" if more > 0 else "")
    reference = predictor.reference
    if reference is None or column.name not in reference.minimum or column.type is ColumnType.BOOLEAN:
        return ""
    low, high = reference.minimum[column.name], reference.maximum[column.name]
    if column.type is ColumnType.DATE:
        return f"training values from {date_text(low)} to {date_text(high)}"
    # Ten digits, because the last ones of a float are noise.
    return f"training values from {low:.10g} to {high:.10g}"


def _records(predictor: Predictor | None) -> Schema:
    found: Schema = {"type": "array", "items": ref("Record"), "minItems": 1}
    if predictor is not None and predictor.schema.ids:
        ids = ", ".join(predictor.schema.ids)
        found["description"] = f"/predict/batch?extra_columns=keep returns what identifies a row, such as {ids}."
    return found if predictor is None else {**found, "examples": [[predictor.shown_example]]}


def _columns(predictor: Predictor | None) -> Schema:
    found: Schema = {"type": "object", "description": "Lists of values by column, of the same length."}
    if predictor is None:
        return found
    columns = {column.name: column_schema(column, predictor) for column in predictor.schema.columns}
    return {
        **found,
        "properties": {name: {"type": "array", "items": column, "minItems": 1} for name, column in columns.items()},
        "required": [column.name for column in predictor.schema.columns if column.required],
        "additionalProperties": False,
        "examples": [{name: [value] for name, value in predictor.shown_example.items()}],
    }


def _request(predictor: Predictor | None) -> Schema:
    found: Schema = {"oneOf": [ref("Record"), ref("Records")]}
    # In addition to "examples", because Swagger UI fills its form with it.
    return found if predictor is None else {**found, "example": predictor.shown_example}


def _answer_to_example(predictor: Predictor) -> dict[str, Any] | None:
    """The prediction for the model's example row; None if it fails, as it may for a generated row."""
    try:
        (answer,) = predictor.answer([tuple(predictor.example.values())])
    except Exception:  # noqa: BLE001 - a model may raise any error; requests count and log them
        return None
    return dict(msgspec.to_builtins(answer))


def _answer(predictor: Predictor | None) -> Schema:
    if predictor is None:
        properties: Schema = {"prediction": label_schema(None), "probabilities": {"type": "object"}}
        return {"type": "object", "properties": properties, "required": ["prediction"]}
    example = _answer_to_example(predictor)
    properties = {"prediction": label_schema(predictor)}
    if predictor.classes and (example is None or "probabilities" in example):
        properties["probabilities"] = _probabilities(list(predictor.classes))
    found = {"type": "object", "properties": properties, "required": list(example or ("prediction",))}
    return found if example is None else {**found, "examples": [example]}


def label_schema(predictor: Predictor | None) -> Schema:
    """A prediction: a class's label, or a number."""
    if predictor is None:
        return {"type": ["string", "number", "boolean"]}
    if not predictor.labels:
        return {"type": "number"}
    return {"type": LABEL_TYPES[type(predictor.labels[0])], "enum": list(predictor.labels)}


def _probabilities(classes: list[str]) -> Schema:
    return {
        "type": "object",
        "description": "Each class's probability; they sum to 1 up to rounding.",
        "properties": dict.fromkeys(classes, SHARE),
        "required": classes,
        "additionalProperties": False,
    }


def _prediction(predictor: Predictor | None) -> Schema:
    answer = _answer(predictor)
    return {
        "type": "object",
        "properties": {**answer["properties"], **TOLD_BY},
        "required": [*answer["required"], *TOLD_BY],
        **_examples(predictor, answer.get("examples", [])),
    }


def _prediction_list(predictor: Predictor | None) -> Schema:
    answers = _answer(predictor).get("examples")
    return {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": ref("Answer"), "minItems": 1}, **TOLD_BY},
        "required": ["predictions", *TOLD_BY],
        **_examples(predictor, [{"predictions": answers}] if answers else []),
    }


def _examples(predictor: Predictor | None, answers: list[dict[str, Any]]) -> Schema:
    """The ``examples`` of answers, with the model and the request's id."""
    if predictor is None or not answers:
        return {}
    source = {
        "model": {"name": predictor.version.name, "version": predictor.version.version},
        "request_id": REQUEST_ID,
    }
    return {"examples": [answer | source for answer in answers]}


def _predict_answer(_: Predictor | None) -> Schema:
    return {"oneOf": [ref("Prediction"), ref("PredictionList")]}


def _model(_: Predictor | None) -> Schema:
    return {
        "type": "object",
        "description": "The model that predicted.",
        "properties": {"name": TEXT, "version": TEXT},
        "required": ["name", "version"],
    }


# name in the document -> function that builds the schema for the served model
SCHEMAS: Mapping[str, Callable[[Predictor | None], Schema]] = {
    "Record": _record,
    "Records": _records,
    "Columns": _columns,
    "PredictRequest": _request,
    "Answer": _answer,
    "Prediction": _prediction,
    "PredictionList": _prediction_list,
    "PredictAnswer": _predict_answer,
    "Model": _model,
}


def extra_parameter(keep: str) -> dict[str, Any]:
    """The query parameter for columns that the model does not take; ``keep`` says how they are returned."""
    return {
        "name": EXTRA,
        "in": "query",
        "required": False,
        "description": (
            "What to do with columns that the model does not take, such as an id or the target of a training file: "
            f"refuse them, ignore them, or keep them, that is return them with each row's prediction: {keep}."
        ),
        "schema": {**TEXT, "enum": [str(item) for item in ExtraColumns], "default": str(ExtraColumns.REFUSE)},
    }
