"""The OpenAPI description of ``/predict/batch``."""

from typing import Any

from src.services.inference.openapi.document import MODEL_HEADERS
from src.services.inference.openapi.schemas import TEXT, Schema, extra_parameter, ref
from src.serving.protocols.answer_json import EXTRA
from src.serving.tables.formats import BINARY, Format


def _content(json: Schema, line: str, table: str) -> dict[str, Any]:
    """The body in each format: the schema of JSON, and a description of a line or a table."""
    binary = {"type": "string", "format": "binary", "description": f"A table: {table}."}
    return {
        Format.JSON.value: {"schema": json},
        Format.NDJSON.value: {"schema": {**TEXT, "description": f"JSON, {line} per line."}},
        Format.CSV.value: {"schema": {**TEXT, "description": f"UTF-8, with a header and commas: {table}."}},
        **{form.value: {"schema": binary} for form in Format if form in BINARY},
    }


PARAMETERS = [extra_parameter(f"in a JSON answer's member {EXTRA}, in other formats as columns before the prediction")]
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": _content(
        {"oneOf": [ref("Records"), ref("Columns")]},
        "one record",
        "the model's columns, in any order; cells of CSV mean what they mean in training data: empty, NA, NaN, null or "
        "None is a missing value, true, yes and 1 are true, dates are ISO 8601",
    ),
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answers in the rows' order, in the format that Accept names, else in the request's.",
        "content": _content(
            ref("PredictionList"), "one answer", "the columns prediction and, for each class, probability_<class>"
        ),
        "headers": MODEL_HEADERS,
    },
    406: {"description": "Accept names no supported format"},
    413: {"description": "The body or the number of rows is too large"},
    415: {"description": "The Content-Type is not supported, or the body is compressed"},
    422: {"description": "Invalid rows; at most 100 problems are reported"},
    503: {"description": "No model is loaded yet, or too many large batches are waiting"},
}
