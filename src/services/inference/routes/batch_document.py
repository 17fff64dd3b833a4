"""What the OpenAPI document says of ``/predict/batch``."""

from typing import Any

from src.services.inference.formats.media_types import Format
from src.services.inference.openapi import MODEL_HEADERS, json_of
from src.services.inference.openapi_schemas import TEXT, ref

NOTES = {
    Format.NDJSON: "One record a line, as JSON.",
    Format.CSV: "UTF-8, a header with the model's columns in any order, commas; an empty cell is a missing value.",
}
ANSWER_NOTES = {
    Format.NDJSON: "One answer a line, as JSON.",
    Format.CSV: "The columns prediction and, for each class, probability_<class>.",
}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        Format.JSON.value: {"schema": {"oneOf": [ref("Records"), ref("Columns")]}},
        **{kind.value: {"schema": {**TEXT, "description": note}} for kind, note in NOTES.items()},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answers, in the rows' order, in the format that Accept asks for or the one that came in.",
        "content": {
            **json_of("PredictionList"),
            **{kind.value: {"schema": {**TEXT, "description": note}} for kind, note in ANSWER_NOTES.items()},
        },
        "headers": MODEL_HEADERS,
    },
    406: {"description": "No format that Accept names is one of ours"},
    413: {"description": "The body or the number of rows is too large"},
    415: {"description": "The Content-Type is none of ours, or the body is compressed"},
    422: {"description": "Rows do not fit the model's columns; at most 100 problems are told"},
    503: {"description": "No model is loaded yet, or too many large batches wait"},
}
