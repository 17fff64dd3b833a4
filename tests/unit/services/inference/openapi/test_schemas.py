import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from src.core.errors import ModelFailedError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.services.inference.openapi.model_schemas import schemas_of, static_components
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Cost, Predictor
from src.serving.protocols.encoders import EXTRA
from src.serving.protocols.infer_request import ALL_BINARY, BINARY_DATA, BINARY_SIZE
from src.serving.protocols.mlflow_scoring import FORMS
from src.serving.tables.parts import ExtraColumns
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError
from src.serving.tables.records import RecordDecoder
from tests.support.models import drift_reference

COLUMNS: list[dict[str, Any]] = [
    {"name": "length (cm)", "type": "double"},
    {"name": "width", "type": "float", "required": False},
    {"name": "rings", "type": "integer"},
    {"name": "born", "type": "long", "required": False},
    {"name": "wild", "type": "boolean"},
    {"name": 'sort of "leaf"', "type": "string", "required": False},
]
EXAMPLE: dict[str, Any] = {
    "length (cm)": 4.5,
    "width": None,
    "rings": 3,
    "born": 1_600_000_000_000,
    "wild": True,
    'sort of "leaf"': "oak",
}


class FakeEngine:
    """Answers every row alike."""

    name = "pyfunc"

    def __init__(self, value: Any, labels: tuple[Any, ...] = (), shares: list[float] | None = None) -> None:
        self.labels = labels
        self.classes = tuple(map(str, labels))
        self._value = value
        self._shares = shares
        self.gives_probabilities = shares is not None

    def predict(self, table: FeatureTable) -> Predictions:
        if self._value is None:
            raise ModelFailedError("not these rows")
        shares = self._shares and np.array([self._shares] * len(table))
        return Predictions([self._value] * len(table), shares, self.classes)


def predictor(engine: FakeEngine) -> Predictor:
    schema = FeatureSchema.from_signature(msgspec.json.encode(COLUMNS).decode())
    return Predictor(
        version=ModelVersion(name="trees", version="7", manifest_sha256="0" * 64),
        schema=schema,
        engine=engine,
        engine_reason="a test",
        decoder=RecordDecoder(schema),
        example=EXAMPLE,
        reference=drift_reference(("length (cm)", "rings", "wild"), [[4.3, 1, 0], [7.9, 1_234_567, 1]]),
        source="registry",
        loaded_at=datetime.now(UTC),
        cost=Cost(0, 0),
        gives_probabilities=engine.gives_probabilities,
    )


REGRESSION = predictor(FakeEngine(1.5))
BARE = predictor(FakeEngine("oak", ("oak", "elm")))
# It has no row that it can predict.
PICKY = predictor(FakeEngine(None, ("oak", "elm")))
FULL = predictor(FakeEngine("oak", ("oak", "elm"), [0.75, 0.25]))
NUMBERED = predictor(FakeEngine(1, (1, 2), [0.75, 0.25]))


def validator(predictor: Predictor | None, name: str) -> Draft202012Validator:
    schemas = schemas_of(predictor)
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})


def test_columns_have_their_types_formats_and_training_ranges() -> None:
    record = schemas_of(REGRESSION)["Record"]
    shown = {
        name: (column["type"], column.get("format"), column.get("description"))
        for name, column in record["properties"].items()
    }
    missing = "may be null or left out"
    assert shown == {
        "length (cm)": ("number", "double", "training values from 4.3 to 7.9"),
        "width": (["number", "null"], "float", missing),
        "rings": ("integer", "int32", "training values from 1 to 1234567"),
        "born": (["integer", "null"], "int64", missing),
        "wild": ("boolean", None, None),
        'sort of "leaf"': (["string", "null"], None, missing),
    }
    assert record["required"] == ["length (cm)", "rings", "wild"]


DATED = FeatureSchema(
    (
        Column("since", ColumnType.DATE),
        Column("until", ColumnType.DATE, required=False),
        Column("region", ColumnType.STRING, mlflow_type="string", values=("NA", "EU")),
        Column("code", ColumnType.STRING, required=False, mlflow_type="string", values=tuple(map(str, range(25)))),
        Column("count", ColumnType.INTEGER, required=False, mlflow_type="long"),
    )
)
DATED_EXAMPLE: dict[str, Any] = {"since": 19782.5, "until": None, "region": "EU", "code": "24", "count": 1}


def test_dates_and_known_categories_are_described() -> None:
    reference = REGRESSION.reference
    assert reference is not None
    reference = reference.model_copy(update={"minimum": {"since": 19782.0}, "maximum": {"since": 19783.0}})
    dated = dataclasses.replace(REGRESSION, schema=DATED, example=DATED_EXAMPLE, reference=reference)
    columns = schemas_of(dated)["Record"]["properties"]
    date = "an ISO 8601 date, or date and time (UTC without a zone), or a number of days since 1970-01-01"
    assert columns["since"] == {
        "type": ["string", "number"],
        "format": "date",
        "minimum": -719_163,
        "maximum": 2_932_898,
        "description": f"{date}; training values from 2024-02-29 to 2024-03-01",
        "examples": ["2024-02-29T12:00:00Z"],
    }
    assert columns["until"]["type"] == ["string", "number", "null"]
    assert columns["until"]["description"] == f"{date}; may be null or left out"
    assert "examples" not in columns["until"]
    assert columns["region"] == {"type": "string", "description": "training values NA, EU", "examples": ["EU", "NA"]}
    listed = ", ".join(map(str, range(20)))
    assert columns["code"]["description"] == f"training values {listed} and 5 more; may be null or left out"
    assert columns["code"]["examples"] == ["24", *map(str, range(20))]
    assert (columns["count"]["minimum"], columns["count"]["maximum"]) == (1 - 2**53, 2**53 - 1)


@pytest.mark.parametrize(
    "change",
    [
        *({}, {"since": "2024-02-29"}, {"since": -719163}, {"since": 2932899}, {"since": None}, {"since": True}),
        *({"until": None}, {"until": 19782.5}, {"region": "elsewhere"}, {"region": 1}, {"count": 2**53 - 1}),
    ],
)
def test_dated_record_fits_the_schema_where_the_decoder_takes_it(change: dict[str, Any]) -> None:
    dated = dataclasses.replace(REGRESSION, schema=DATED, example=DATED_EXAMPLE)
    record = {**dated.shown_example, **change}
    try:
        RecordDecoder(DATED).decode(msgspec.json.encode(record))
        taken = True
    except InvalidRecordError:
        taken = False
    assert validator(dated, "Record").is_valid(record) == taken
    assert taken == (change not in [{"since": 2932899}, {"since": None}, {"since": True}, {"region": 1}])


def test_columns_that_identify_rows_are_named() -> None:
    named = dataclasses.replace(REGRESSION, schema=dataclasses.replace(REGRESSION.schema, ids=("tree", "wood")))
    assert schemas_of(named)["Records"]["description"].endswith("returns what identifies a row, such as tree, wood.")
    assert "description" not in schemas_of(REGRESSION)["Records"]


def test_examples_that_people_see_have_dates_as_texts() -> None:
    dated = dataclasses.replace(REGRESSION, schema=DATED, example=DATED_EXAMPLE)
    shown = {**DATED_EXAMPLE, "since": "2024-02-29T12:00:00Z"}
    assert dated.shown_example == shown
    assert schemas_of(dated)["Record"]["examples"] == schemas_of(dated)["Records"]["examples"][0] == [shown]
    assert schemas_of(dated)["PredictRequest"]["example"] == shown
    assert schemas_of(dated)["Columns"]["examples"][0]["since"] == ["2024-02-29T12:00:00Z"]
    split, records = schemas_of(dated)["InvocationsRequest"]["examples"]
    assert split["dataframe_split"]["data"] == [list(shown.values())]
    assert records == {"dataframe_records": [shown]}
    # A tensor's datatype is that of its column in the signature.
    tensor = schemas_of(dated)["InferRequest"]["examples"][0]["inputs"][0]
    assert (tensor["datatype"], tensor["data"]) == ("FP64", [19782.5])


def test_a_model_without_a_reference_has_no_ranges() -> None:
    bare = dataclasses.replace(REGRESSION, reference=None)
    assert "description" not in schemas_of(bare)["Record"]["properties"]["rings"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"length (cm)": 4},
        {"length (cm)": -3.4028234663852886e38},
        {"length (cm)": 3.5e38},
        {"length (cm)": None},
        {"length (cm)": "4"},
        {"length (cm)": True},
        {"width": 2.5},
        {"rings": 2.0},
        {"rings": 2.5},
        {"rings": None},
        {"rings": 2**31 - 1},
        {"rings": 2**31},
        {"rings": -(2**31)},
        {"rings": -(2**31) - 1},
        {"rings": True},
        {"born": None},
        {"born": 2**63 - 1},
        {"born": 2**63},
        {"wild": 1},
        {"wild": "true"},
        {'sort of "leaf"': None},
        {'sort of "leaf"': ""},
        {'sort of "leaf"': 1},
        {"other": 1},
    ],
)
def test_schema_takes_what_the_decoder_takes(change: dict[str, Any]) -> None:
    record = {**EXAMPLE, **change}
    taken = True
    try:
        REGRESSION.decoder.decode(msgspec.json.encode(record))
    except InvalidRecordError:
        taken = False
    assert validator(REGRESSION, "PredictRequest").is_valid(record) is taken
    assert validator(REGRESSION, "PredictRequest").is_valid([EXAMPLE, record]) is taken


@pytest.mark.parametrize("left_out", EXAMPLE)
def test_a_column_may_be_left_out_as_the_schema_says(left_out: str) -> None:
    record = {name: value for name, value in EXAMPLE.items() if name != left_out}
    taken = left_out not in schemas_of(REGRESSION)["Record"]["required"]
    if taken:
        assert REGRESSION.decoder.decode(msgspec.json.encode(record))
    else:
        with pytest.raises(InvalidRecordError):
            REGRESSION.decoder.decode(msgspec.json.encode(record))
    assert validator(REGRESSION, "PredictRequest").is_valid(record) is taken


def test_no_record_is_no_list() -> None:
    assert not validator(REGRESSION, "PredictRequest").is_valid([])


@pytest.mark.parametrize(
    ("served", "answer"),
    [
        (REGRESSION, {"prediction": 1.5}),
        (BARE, {"prediction": "oak"}),
        (FULL, {"prediction": "oak", "probabilities": {"oak": 0.75, "elm": 0.25}}),
        (NUMBERED, {"prediction": 1, "probabilities": {"1": 0.75, "2": 0.25}}),
    ],
)
def test_answers_of_each_task_are_documented(served: Predictor, answer: dict[str, Any]) -> None:
    source = {"model": {"name": "trees", "version": "7"}, "request_id": "x"}
    for body in (answer | source, {"predictions": [answer, answer], **source}):
        for documented in (served, None):  # a document without a model says less, and nothing wrong
            validator(documented, "PredictAnswer").validate(body)


@pytest.mark.parametrize(
    ("served", "wrong"),
    [
        (REGRESSION, {"prediction": "oak"}),
        (BARE, {"prediction": "ash"}),
        (FULL, {"prediction": "oak"}),
        (NUMBERED, {"prediction": "1", "probabilities": {"1": 0.75, "2": 0.25}}),
        (FULL, {"prediction": "oak", "probabilities": {"oak": 1}}),
        (FULL, {"prediction": "oak", "probabilities": {"oak": 1.5, "elm": -0.5}}),
    ],
)
def test_another_tasks_answer_is_not_what_is_documented(served: Predictor, wrong: dict[str, Any]) -> None:
    assert not validator(served, "Answer").is_valid(wrong)


@pytest.mark.parametrize("served", [None, REGRESSION, BARE, FULL, NUMBERED, PICKY])
def test_examples_fit_their_schemas(served: Predictor | None) -> None:
    for name, schema in schemas_of(served).items():
        check = validator(served, name)
        Draft202012Validator.check_schema(check.schema)
        for example in (*schema.get("examples", ()), *([schema["example"]] if "example" in schema else ())):
            check.validate(example)


def test_static_schemas_have_the_names_and_limits_of_the_code() -> None:
    components = static_components()
    extra, schemas = components["parameters"]["extra-columns"], components["schemas"]
    assert (extra["name"], extra["schema"]["enum"]) == (EXTRA, [str(item) for item in ExtraColumns])
    assert schemas["InvalidInput"]["properties"]["detail"]["maxItems"] == MAX_TOLD
    assert {form for way in schemas["InvocationsRequest"]["oneOf"] for form in way["required"]} == set(FORMS)
    request, tensor = schemas["InferRequest"]["properties"], schemas["InferInput"]["properties"]
    options = [request, request["outputs"]["items"]["properties"], tensor]
    named = [name for given in options for name in given["parameters"]["properties"]]
    assert named == [ALL_BINARY, BINARY_DATA, BINARY_SIZE]
