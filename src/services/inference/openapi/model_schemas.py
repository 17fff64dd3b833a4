"""What the OpenAPI schemas in ``schemas.yaml`` additionally say of the served model."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from src.core.column_rules import FIRST_DAY, LAST_DAY
from src.core.feature_schema import Column, ColumnType
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_answer import InferResponse, ModelMetadata, output_names
from src.serving.protocols.infer_request import matrix_of
from src.serving.protocols.tensors import ACCEPTED, datatype_of
from src.serving.tables.columns import FLOAT32_MAX
from src.serving.watch.references import training_range

Schema = dict[str, Any]

STATIC = Path(__file__).with_name("schemas.yaml")
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
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
REQUEST_ID = "0199c2f4-8e1b-7d3a-9c55-4b1f0a6e2d77"
# At most so many known values of a text column are listed.
MAX_VALUES = 20


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component of the document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def content_of(schemas: Mapping[str, str]) -> dict[str, Any]:
    """The ``content`` of a body: schemas of the document by media type."""
    return {media_type: {"schema": ref(name)} for media_type, name in schemas.items()}


@functools.cache
def static_components() -> dict[str, Schema]:
    """The components that do not depend on the model; they must not be changed."""
    components: dict[str, Schema] = yaml.safe_load(STATIC.read_text(encoding="utf-8"))
    structs = (ModelMetadata, InferResponse)
    components["schemas"] |= msgspec.json.schema_components(structs, ref_template=ref("{name}")["$ref"])[1]
    datatypes: set[str] = set().union(*ACCEPTED.values())
    components["schemas"]["Datatype"] = {"type": "string", "enum": sorted(datatypes)}
    return components


def schemas_of(predictor: Predictor | None) -> dict[str, Schema]:
    """All schemas by name; without a model they say less."""
    schemas = static_components()["schemas"]
    if predictor is None:
        return schemas
    added = _tables(predictor) | _requests(predictor) | _answers(predictor) | _names(predictor)
    added |= _feedback(predictor)
    return schemas | {name: schemas[name] | more for name, more in added.items()}


def _tables(predictor: Predictor) -> dict[str, Schema]:
    """A row, and a table of columns; MLflow's protocol ignores other columns."""
    row, title = predictor.shown_example, f"One row for {predictor.version.name} version {predictor.version.version}."
    columns = {column.name: _column(column, predictor) for column in predictor.schema.columns}
    lists = {name: {"type": "array", "items": column, "minItems": 1} for name, column in columns.items()}
    required = [column.name for column in predictor.schema.columns if column.required]
    strict = {"required": required, "additionalProperties": False}
    return {
        "Record": {"description": title, "properties": columns, **strict, "examples": [row]},
        "Columns": {"properties": lists, **strict, "examples": [{name: [value] for name, value in row.items()}]},
        "ScoringRow": {"properties": columns, "required": required},
        "ScoringColumns": {"properties": lists, "required": required},
    }


def _column(column: Column, predictor: Predictor) -> Schema:
    """The values that the decoder accepts, and a description of the training rows' values."""
    is_date, known = column.type is ColumnType.DATE, column.values[:MAX_VALUES]
    types = ["string", "number"] if is_date else [str(column.type)]
    notes = [DATE_NOTE] if is_date else []
    if known:
        more = len(column.values) - len(known)
        notes.append(f"training values {', '.join(known)}" + (f" and {more} more" if more else ""))
    # Ten digits, because the last ones of a float are noise.
    elif limits := training_range(column, predictor.reference, digits=10):
        notes.append(f"training values from {limits}")
    if not column.required:
        types.append("null")
        notes.append("may be null or left out")
    found: Schema = {"type": types if len(types) > 1 else types[0]}
    found |= FORMATS.get((column.type, column.mlflow_type), {})
    if column.type is ColumnType.INTEGER:
        found["minimum"], found["maximum"] = column.limits
    if notes:
        found["description"] = "; ".join(notes)
    examples = dict.fromkeys([predictor.shown_example[column.name], *known])
    if shown_values := [value for value in examples if value is not None]:
        found["examples"] = shown_values
    return found


def _requests(predictor: Predictor) -> dict[str, Schema]:
    """Examples of requests, and the columns that identify a row."""
    row, example = predictor.shown_example, predictor.example
    inputs = [
        {"name": column.name, "shape": [1, 1], "datatype": datatype_of(column), "data": [example[column.name]]}
        for column in predictor.schema.columns
        if example[column.name] is not None
    ]
    split = {"columns": list(row), "data": [list(row.values())]}
    records: Schema = {"examples": [[row]]}
    if ids := ", ".join(predictor.schema.ids):
        records["description"] = f"/predict/batch?extra_columns=keep returns what identifies a row, such as {ids}."
    return {
        "Records": records,
        "PredictRequest": {"example": row},  # Swagger UI fills its form with it
        "InvocationsRequest": {"examples": [{"dataframe_split": split}, {"dataframe_records": [row]}]},
        "InferRequest": {"examples": [{"inputs": inputs}]},
    }


def _answers(predictor: Predictor) -> dict[str, Schema]:
    labels, classes = predictor.engine.labels, list(predictor.classes)
    label = msgspec.json.schema(type(labels[0])) | {"enum": list(labels)} if labels else {"type": "number"}
    found: dict[str, Schema] = {"Label": label}
    properties = {"prediction": ref("Label")}
    if classes and predictor.gives_probabilities:
        properties["probabilities"] = ref("Probabilities")
        shares = {"properties": dict.fromkeys(classes, SHARE), "required": classes, "additionalProperties": False}
        found["Probabilities"] = shares
    return found | {"Answer": {"properties": properties, "required": list(properties)}}


def _feedback(predictor: Predictor) -> dict[str, Schema]:
    """Examples of true labels."""
    label = next(iter(predictor.engine.labels), 1.5)
    ids = ({"request_id": REQUEST_ID, "time": "2026-01-31T12:00:00Z"}, {"request_id": f"{REQUEST_ID}/1"}, {"id": "A-7"})
    lines = f"request_id,label\n{REQUEST_ID},{label}\n{REQUEST_ID}/1,{label}\n"
    return {
        "TrueLabel": {"examples": [{**given, "label": label} for given in ids]},
        "FeedbackCsv": {"examples": [lines]},
    }


def _names(predictor: Predictor) -> dict[str, Schema]:
    """The names that the Open Inference Protocol takes."""
    matrix = matrix_of(predictor.schema)
    names: dict[str, Iterable[str]] = {
        "ModelName": [predictor.version.name],
        "ModelVersion": [predictor.version.version],
        # A column may be called like the matrix.
        "InputName": dict.fromkeys([*predictor.schema.names, *([matrix] if matrix else [])]),
        "OutputName": output_names(predictor),
    }
    return {name: {"enum": list(values)} for name, values in names.items()}
