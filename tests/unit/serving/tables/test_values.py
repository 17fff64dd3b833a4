"""A value means the same in every format: dates, known categories, booleans and whole numbers."""

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from src.core.column_rules import days_of
from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.protocols.batches import READERS
from src.serving.protocols.infer_request import decode_infer
from src.serving.protocols.mlflow_scoring import decode_csv, decode_json
from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.columns import convert, convert_cell
from src.serving.tables.parts import ExtraColumns, Format
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.records import RecordDecoder
from tests.support.batches import FORMS, listed, stream_of

DATE = Column("x", ColumnType.DATE)
OPTIONAL_DATE = Column("x", ColumnType.DATE, required=False)
REGION = Column("x", ColumnType.STRING, required=False, mlflow_type="string", values=("NA", "EU", " Y"))
FREE_TEXT = Column("x", ColumnType.STRING, required=False, mlflow_type="string")
BOOLEAN = Column("x", ColumnType.BOOLEAN, required=False, mlflow_type="boolean")
LONG = Column("x", ColumnType.INTEGER, mlflow_type="long")
OPTIONAL_LONG = Column("x", ColumnType.INTEGER, required=False, mlflow_type="long")
AT_NOON = datetime.fromisoformat("2024-02-29T12:00")
NOON = days_of("2024-02-29T12:00")


def by_every_json_way(column: Column, value: Any) -> list[Any]:
    """What the value is after each way in that takes JSON: one value of the table, or the kind of the problem."""
    schema = FeatureSchema((column,))
    record = json.dumps({"x": value}).encode()
    split = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[value]]}}).encode()
    return [
        _outcome(lambda: RecordDecoder(schema).decode(record)[0]),
        _outcome(lambda: listed(schema, b"[" + record + b"]").row(0)[0]),
        _outcome(lambda: _batch(schema, Format.NDJSON, record)),
        _outcome(lambda: _batch(schema, Format.JSON, b'{"x": [' + json.dumps(value).encode() + b"]}")),
        _outcome(lambda: decode_json(schema, split).row(0)[0]),
    ]


def by_every_csv_way(column: Column, cell: str) -> list[Any]:
    schema, body = FeatureSchema((column, Column("y"))), f'x,y\n"{cell}",1\n'.encode()
    return [
        _outcome(lambda: _batch(schema, Format.CSV, body)),
        _outcome(lambda: decode_csv(schema, body).row(0)[0]),
        # Without quotes, with a space behind the comma.
        _outcome(lambda: decode_csv(schema, f"y,x\n1, {cell}\n".encode()).row(0)[0]),
    ]


def by_arrow(column: Column, array: pa.Array) -> list[Any]:
    parts = arrow_parts(
        Format.ARROW_STREAM, FeatureSchema((column,)), stream_of(pa.table({"x": array})), ExtraColumns.REFUSE
    )

    def values() -> list[Any]:
        found: list[Any] = []
        for part in parts:
            if isinstance(part, InvalidRecordError):
                raise part
            found += [part.table.row(index)[0] for index in range(len(part.table))]
        return found

    return _outcome(values)  # type: ignore[no-any-return] # a list, or a kind


def _batch(schema: FeatureSchema, form: Format, body: bytes) -> Any:
    for part in READERS[form](schema, bytearray(body), ExtraColumns.REFUSE):
        if isinstance(part, InvalidRecordError):
            raise part
        if not isinstance(part, int):
            return part.table.row(0)[0]
    raise AssertionError


def _outcome(read: Any) -> Any:
    try:
        return read()
    except InvalidInputError as error:
        return error.kind


def the_one(outcomes: list[Any]) -> Any:
    assert all((type(item), item) == (type(outcomes[0]), outcomes[0]) for item in outcomes), outcomes
    return outcomes[0]


@pytest.mark.parametrize("text", ["2024-02-29", " 2024-02-29T12:00:00Z", "2024-02-29 12:00"])
def test_date_as_iso_text_is_days_on_every_way_in(text: str) -> None:
    days = days_of(text.strip())
    assert the_one(by_every_json_way(DATE, text)) == days
    assert the_one(by_every_csv_way(DATE, text)) == days
    assert by_arrow(DATE, pa.array([text])) == [days]
    assert convert(DATE, text) == convert_cell(DATE, text) == days


@pytest.mark.parametrize("form", FORMS)
def test_dates_and_missing_ones_in_a_batch(form: str) -> None:
    kind, write = FORMS[form]
    schema, body = (
        FeatureSchema((OPTIONAL_DATE, Column("y"))),
        write([{"x": "1970-01-11", "y": 1}, {"x": None, "y": 2}]),
    )
    if kind in READERS:
        (rows,) = [
            part for part in READERS[kind](schema, bytearray(body), ExtraColumns.REFUSE) if not isinstance(part, int)
        ]
    else:
        (rows,) = arrow_parts(kind, schema, body, ExtraColumns.REFUSE)
    assert not isinstance(rows, InvalidRecordError)
    np.testing.assert_equal(rows.table.columns[0], [10.0, np.nan])


@pytest.mark.parametrize("days", [19782, 19782.5, -719163, 0, 2932898])
def test_date_as_a_number_is_days_where_numbers_have_a_type(days: float) -> None:
    assert the_one(by_every_json_way(DATE, days)) == float(days)
    assert by_arrow(DATE, pa.array([days])) == [days]


@pytest.mark.parametrize("number", [20240229, 1_709_164_800, 1e300, -719163.5, 2932898.5])
def test_number_that_is_no_day_of_the_calendar_is_refused(number: float) -> None:
    assert the_one(by_every_json_way(DATE, number)) == "not_a_date"
    assert by_arrow(DATE, pa.array([number])) == "not_a_date"


@pytest.mark.parametrize("value", [True, "yesterday", "19782", "2024-02-30", "20240229"])
def test_what_is_no_date_is_refused(value: Any) -> None:
    assert the_one(by_every_json_way(DATE, value)) == "not_a_date"
    if isinstance(value, str):
        assert the_one(by_every_csv_way(DATE, value)) == "not_a_date"
        assert by_arrow(DATE, pa.array([value])) == "not_a_date"


@pytest.mark.parametrize("value", ["", "NA", " null "])
def test_text_that_means_a_missing_date(value: str) -> None:
    for column, expected in ((DATE, "missing"), (OPTIONAL_DATE, None)):
        assert the_one([*by_every_json_way(column, value)[:1], *by_every_csv_way(column, value)]) == expected
    assert the_one(by_every_json_way(DATE, value)) == "missing"
    assert by_arrow(DATE, pa.array([value])) == "missing"


@pytest.mark.parametrize(
    "array",
    [
        pa.array([AT_NOON], pa.timestamp("s")),
        pa.array([AT_NOON], pa.timestamp("ms")),
        pa.array([AT_NOON], pa.timestamp("us")),
        pa.array([AT_NOON], pa.timestamp("ns")),
        pa.array([AT_NOON.replace(tzinfo=UTC)], pa.timestamp("ms", "Asia/Tokyo")),
    ],
    ids=lambda array: str(array.type),
)
def test_timestamps_of_every_unit(array: pa.Array) -> None:
    assert by_arrow(DATE, array) == [NOON]
    assert by_arrow(OPTIONAL_DATE, pa.concat_arrays([array, pa.nulls(1, array.type)])) == [NOON, None]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
def test_dates_of_arrow(kind: pa.DataType) -> None:
    assert by_arrow(OPTIONAL_DATE, pa.array([date(2024, 2, 29), None, date(1969, 12, 31)], kind)) == [19782.0, None, -1]


def test_dates_in_tensors() -> None:
    def tensor(datatype: str, data: list[Any], name: str = "x", shape: Any = None) -> list[Any]:
        item = {"name": name, "datatype": datatype, "shape": shape or [len(data), 1], "data": data}
        body = json.dumps({"inputs": [item]}).encode()
        return decode_infer(FeatureSchema((DATE,)), [], body, None).table.columns[0].tolist()  # type: ignore[no-any-return]

    assert tensor("BYTES", ["2024-02-29", "1970-01-02"]) == [19782.0, 1.0]
    assert tensor("FP64", [19782.5]) == [19782.5]
    assert tensor("INT64", [19782]) == [19782.0]
    assert tensor("FP64", [19782.5], "features", [1, 1]) == [19782.5]
    with pytest.raises(InvalidRecordError) as caught:
        tensor("FP64", [20240229.0])
    assert caught.value.kind == "not_a_date"
    with pytest.raises(InvalidRecordError) as caught:
        tensor("BOOL", [True])
    assert caught.value.kind == "not_a_date"


@pytest.mark.parametrize(
    ("text", "value"),
    [("NA", "NA"), (" NA", "NA"), ("EU ", "EU"), (" Y", " Y"), ("None", None), ("", None), ("US ", "US")],
)
def test_known_category_is_a_value_on_every_way_in(text: str, value: str | None) -> None:
    assert the_one(by_every_json_way(REGION, text)) == value
    assert the_one(by_every_csv_way(REGION, text)[:2]) == value
    assert by_arrow(REGION, pa.array([text])) == [value]
    assert by_arrow(REGION, pa.array([text, text]).dictionary_encode()) == [value, value]


@pytest.mark.parametrize("text", ["NA", " gas ", "", "None"])
def test_text_of_a_model_without_known_categories_is_kept_where_it_has_a_type(text: str) -> None:
    assert the_one(by_every_json_way(FREE_TEXT, text)) == text
    assert by_arrow(FREE_TEXT, pa.array([text])) == [text]


@pytest.mark.parametrize(("text", "value"), [("NA", None), (" gas ", "gas"), ("", None), ("None", None), ("7", "7")])
def test_cell_of_a_model_without_known_categories_is_read_as_pandas_reads_it(text: str, value: str | None) -> None:
    assert the_one(by_every_csv_way(FREE_TEXT, text)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), (" No", False), ("1", True), ("0.0", False), ("TRUE", True), ("NA", None)]
)
def test_boolean_as_text(text: str, value: object) -> None:
    assert the_one(by_every_csv_way(BOOLEAN, text)) is value
    assert by_arrow(BOOLEAN, pa.array([text])) == [value]


@pytest.mark.parametrize("text", ["2", "on", "y"])
def test_text_that_is_no_boolean(text: str) -> None:
    assert the_one(by_every_csv_way(BOOLEAN, text)) == "not_a_boolean"
    assert by_arrow(BOOLEAN, pa.array([text])) == "not_a_boolean"


@pytest.mark.parametrize("value", ["yes", "true", 1, 0])
def test_json_has_booleans_of_its_own(value: Any) -> None:
    assert the_one(by_every_json_way(BOOLEAN, value)) == "not_a_boolean"


@pytest.mark.parametrize("whole", [2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_whole_number_is_exact_or_refused(whole: int) -> None:
    assert the_one(by_every_json_way(LONG, whole)) == whole
    assert the_one(by_every_csv_way(LONG, str(whole))) == whole
    assert by_arrow(LONG, pa.array([whole])) == [whole]
    # With a missing value beside it only a float could hold it.
    assert the_one(by_every_json_way(OPTIONAL_LONG, whole)) == "not_finite"
    assert the_one(by_every_csv_way(OPTIONAL_LONG, str(whole))) == "not_finite"
    assert by_arrow(OPTIONAL_LONG, pa.array([whole])) == "not_finite"


@pytest.mark.parametrize(("value", "whole"), [(3.0, 3), (2.0**53 - 1, 2**53 - 1), (1 - 2.0**53, 1 - 2**53)])
def test_float_that_is_whole_is_one_as_far_as_floats_are_exact(value: float, whole: int) -> None:
    assert the_one(by_every_json_way(LONG, value)) == whole
    assert by_arrow(LONG, pa.array([value])) == [whole]


@pytest.mark.parametrize("value", [2.0**53, 2.0**53 + 2, -(2.0**62)])
def test_float_beyond_may_have_been_another_number(value: float) -> None:
    assert the_one(by_every_json_way(LONG, value)) == "not_finite"
    assert by_arrow(LONG, pa.array([value])) == "not_finite"


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (LONG, "3.5", "x must be a whole number"),
        (LONG, "9223372036854775808", f"x must be from {-(2**63)} to {2**63 - 1}"),
        (LONG, "inf", "x must be a whole number"),
        (DATE, "x", "x must be an ISO 8601 date, such as 2024-02-29 or 2024-02-29T12:30:00Z"),
        (BOOLEAN, "x", "x must be true or false, yes or no, 1 or 0"),
        (Column("x"), "1,5", "x must be a finite number, with a point for decimals"),
        (Column("x"), "", "x is required"),
        (REGION, [1], "x must be a text, a number or a date"),
    ],
)
def test_message_says_what_a_cell_must_be(column: Column, cell: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        convert_cell(column, cell)
    assert (str(caught.value), caught.value.field) == (message, "x")


@pytest.mark.parametrize("column", [Column("x"), LONG, BOOLEAN, DATE], ids=lambda column: column.type)
def test_arrow_texts_are_read_like_cells(column: Column) -> None:
    good = {"number": "1.5", "integer": "9007199254740993", "boolean": "yes", "date": "1970-01-02"}[column.type]
    array = pa.array([f" {good}"])
    assert by_arrow(column, array) == [convert_cell(column, good)]
    assert by_arrow(column, pa.array([good, None])) == ("missing" if column.required else [True, None])
