import json

import pytest

from src.core.feature_schema import FeatureSchema
from src.services.inference.schemas import InvalidRecordError, RecordDecoder

STRANGE = ("sepal length (cm)", "class", "2nd", "", "é\n", 'say "hi"', "a`- at `$.b", "column_0")


def test_decoder_returns_values_in_the_schemas_order() -> None:
    decoder = RecordDecoder(FeatureSchema(("b", "a")))
    assert decoder.decode(b'{"a": 1, "b": 2.5}') == (2.5, 1.0)


def test_decoder_takes_columns_of_any_name() -> None:
    decoder = RecordDecoder(FeatureSchema(STRANGE))
    record = {name: float(index) for index, name in enumerate(STRANGE)}
    assert decoder.decode(json.dumps(record).encode()) == tuple(record.values())
    for name in STRANGE:
        with pytest.raises(InvalidRecordError) as caught:
            decoder.decode(json.dumps({**record, name: "x"}).encode())
        assert (caught.value.field, caught.value.kind) == (name, "not_a_number")


def test_decoder_with_many_columns() -> None:
    names = tuple(f"c{index}" for index in range(500))
    body = "{" + ", ".join(f'"{name}": 1' for name in names) + "}"
    assert RecordDecoder(FeatureSchema(names)).decode(body.encode()) == (1.0,) * 500


def test_error_carries_every_problem_and_its_first_as_its_own() -> None:
    decoder = RecordDecoder(FeatureSchema(("a", "b")))
    with pytest.raises(InvalidRecordError) as caught:
        decoder.decode(b'{"b": null}')
    assert [(item.field, item.kind) for item in caught.value.problems] == [("a", "missing"), ("b", "not_a_number")]
    assert (caught.value.field, caught.value.kind) == ("a", "missing")


def test_value_with_white_space_is_explained_by_its_text() -> None:
    decoder = RecordDecoder(FeatureSchema(("a", "b")))
    with pytest.raises(InvalidRecordError) as caught:
        decoder.decode(b'{"a":  1 , "b" : \n "x" }')
    assert [(item.field, item.kind) for item in caught.value.problems] == [("b", "not_a_number")]
