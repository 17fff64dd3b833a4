import json

import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.records import RecordDecoder
from tests.support.batches import listed

STRANGE = ("sepal length (cm)", "class", "2nd", "", "é\n", 'say "hi"', "a`- at `$.b", "column_0")


def test_decoder_returns_values_in_the_schemas_order() -> None:
    decoder = RecordDecoder(FeatureSchema.of_numbers("b", "a"))
    assert decoder.decode(b'{"a": 1, "b": 2.5}') == (2.5, 1.0)


def test_decoder_takes_columns_of_any_name() -> None:
    decoder = RecordDecoder(FeatureSchema.of_numbers(*STRANGE))
    record = {name: float(index) for index, name in enumerate(STRANGE)}
    assert decoder.decode(json.dumps(record).encode()) == tuple(record.values())
    for name in STRANGE:
        with pytest.raises(InvalidRecordError) as caught:
            decoder.decode(json.dumps({**record, name: "x"}).encode())
        assert (caught.value.field, caught.value.kind) == (name, "not_a_number")


def test_decoder_with_many_columns() -> None:
    names = tuple(f"c{index}" for index in range(500))
    body = "{" + ", ".join(f'"{name}": 1' for name in names) + "}"
    assert RecordDecoder(FeatureSchema.of_numbers(*names)).decode(body.encode()) == (1.0,) * 500


def test_error_carries_every_problem_and_its_first_as_its_own() -> None:
    decoder = RecordDecoder(FeatureSchema.of_numbers("a", "b"))
    with pytest.raises(InvalidRecordError) as caught:
        decoder.decode(b'{"b": null}')
    assert [(item.field, item.kind) for item in caught.value.problems] == [("a", "missing"), ("b", "missing")]
    assert (caught.value.field, caught.value.kind) == ("a", "missing")


def test_value_with_white_space_is_explained_by_its_text() -> None:
    decoder = RecordDecoder(FeatureSchema.of_numbers("a", "b"))
    with pytest.raises(InvalidRecordError) as caught:
        decoder.decode(b'{"a":  1 , "b" : \n "x" }')
    assert [(item.field, item.kind) for item in caught.value.problems] == [("b", "not_a_number")]


TYPED = FeatureSchema(
    (
        Column("size", required=False),
        Column("floors", ColumnType.INTEGER, mlflow_type="integer"),
        Column("garden", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
        Column("town", ColumnType.STRING, mlflow_type="string"),
    )
)
HOUSE = {"size": 1.5, "floors": 2, "garden": True, "town": "Köln"}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({}, (1.5, 2, True, "Köln")),
        ({"size": None, "garden": None}, (None, 2, None, "Köln")),
        ({"size": 1, "floors": 2.0, "town": ""}, (1.0, 2, True, "")),
        ({"floors": -(2**31)}, (1.5, -(2**31), True, "Köln")),
    ],
)
def test_decoder_takes_each_column_s_type(change: dict[str, object], row: tuple[object, ...]) -> None:
    found = RecordDecoder(TYPED).decode(json.dumps({**HOUSE, **change}).encode())
    assert found == row
    assert [type(value) for value in found] == [type(value) for value in row]


def test_column_that_may_be_missing_may_be_absent() -> None:
    assert RecordDecoder(TYPED).decode(b'{"floors": 1, "town": "x"}') == (None, 1, None, "x")


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"size": True}, "size", "not_a_number"),
        ({"size": 1e39}, "size", "not_finite"),
        ({"floors": True}, "floors", "not_an_integer"),
        ({"floors": 2.5}, "floors", "not_an_integer"),
        ({"floors": "2"}, "floors", "not_an_integer"),
        ({"floors": 2**31}, "floors", "not_finite"),
        ({"floors": 10**400}, "floors", "not_finite"),
        ({"floors": None}, "floors", "missing"),
        ({"garden": 1}, "garden", "not_a_boolean"),
        ({"garden": "true"}, "garden", "not_a_boolean"),
        ({"town": 1}, "town", "not_a_string"),
        ({"town": ["x"]}, "town", "not_a_string"),
        ({"town": None}, "town", "missing"),
        ({"other": 1}, None, "unknown_field"),
    ],
)
def test_decoder_refuses_another_type(change: dict[str, object], field: str | None, kind: str) -> None:
    decoder = RecordDecoder(TYPED)
    for decode in (decoder.decode, lambda body: listed(TYPED, b"[" + body + b"]")):
        with pytest.raises(InvalidRecordError) as caught:
            decode(json.dumps({**HOUSE, **change}).encode())
        assert [(item.field, item.kind) for item in caught.value.problems] == [(field, kind)]


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_empty_body_is_reported_as_one(body: bytes) -> None:
    with pytest.raises(InvalidRecordError, match="the body is empty; send one object with the fields a") as caught:
        RecordDecoder(FeatureSchema.of_numbers("a")).decode(body)
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"a": True}, "a", "not_a_number"),
        ({"a": 1e39}, "a", "not_finite"),
        ({"b": -1e39}, "b", "not_finite"),
        ({"b": None}, "b", "missing"),
        ({"c": 1.0}, None, "unknown_field"),
    ],
)
def test_list_of_numbers_is_refused_for_one_record(change: dict[str, object], field: str | None, kind: str) -> None:
    records = [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0, **change}]
    with pytest.raises(InvalidRecordError) as caught:
        listed(FeatureSchema.of_numbers("a", "b"), json.dumps(records).encode())
    assert [(item.row, item.field, item.kind) for item in caught.value.problems] == [(1, field, kind)]


def test_list_of_numbers_is_read_in_the_schema_s_order() -> None:
    table = listed(FeatureSchema.of_numbers("a", "b"), b'[{"b":2,"a":1.5},{"a":-3.0e38,"b":0}]')
    assert [column.tolist() for column in table.columns] == [[1.5, -3.0e38], [2.0, 0.0]]
