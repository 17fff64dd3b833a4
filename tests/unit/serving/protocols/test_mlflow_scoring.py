import json
import math
from typing import Any

import pandas as pd
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.protocols.mlflow_scoring import decode_csv, decode_json
from src.serving.tables.parts import PART_ROWS
from src.serving.tables.problems import InvalidRecordError

SCHEMA = FeatureSchema((Column("a"), Column("b", ColumnType.STRING, required=False, mlflow_type="string")))
ONE = FeatureSchema.of_numbers("a")
RECORDS = [{"a": 1.5, "b": "x"}, {"a": 2, "b": None}]
COLUMNS = {"a": [1.5, 2], "b": ["x", None]}


def decoded(document: Any, schema: FeatureSchema = SCHEMA) -> list[tuple[Any, ...]]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return list(zip(*(column.tolist() for column in decode_json(schema, body).columns), strict=True))


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, "x"], [2, None]]}},
        {"dataframe_split": {"columns": ["b", "a"], "data": [["x", 1.5], [None, 2]], "index": [7, 8]}},
        {"dataframe_split": {"columns": ["a", 0, "b", "c"], "data": [[1.5, 0, "x", {}], [2, [], None, "y"]]}},
        {"dataframe_records": RECORDS},
        {"dataframe_records": [{"a": 1.5, "b": "x", "c": {"d": [1]}}, {"a": 2}]},
        {"dataframe_records": RECORDS, "params": {"x": 1}, "signature_name": "y"},
        {"instances": RECORDS},
        {"instances": COLUMNS},
        {"inputs": RECORDS},
        {"inputs": COLUMNS},
        b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, "x"], [2, NaN]]}}',
    ],
)
def test_every_form_is_the_same_table(document: Any) -> None:
    assert decoded(document) == [(1.5, "x"), (2.0, None)]


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_single_values_are_one_row(form: str) -> None:
    assert decoded({form: {"a": 1, "b": "x"}}) == [(1.0, "x")]


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_only_column_needs_no_name(form: str) -> None:
    assert decoded({form: [1, 2.5]}, ONE) == [(1.0,), (2.5,)]


def test_csv_is_the_same_table() -> None:
    for body in (b"a,b\n1.5,x\n2,\n", b",b,a\r\n0,x,1.5\r\n1,NaN,2\r\n", b"\xef\xbb\xbfb,a\nx,1.5\n,2\n"):
        table = decode_csv(SCHEMA, body)
        assert [column.tolist() for column in table.columns] == [[1.5, 2.0], ["x", None]]


@pytest.mark.parametrize(
    ("document", "kind", "row"),
    [
        (b"", "malformed", None),
        (b"{", "malformed", None),
        (b"[" * 100_000, "malformed", None),
        (b'{"inputs": ' + b'{"a":' * 100_000, "malformed", None),
        (b'{"inputs": {"a": ["\xff"]}}', "malformed", None),
        (b'{"inputs": {"a": [1], "b": ["\\ud800"]}}', "malformed", None),
        ('{"inputs": {"a": [1]}}'.encode("utf-16"), "malformed", None),
        (b'{"inputs": {"a": [1e999]}}', "not_finite", 0),
        (b'{"inputs": {"a": [-Infinity]}}', "not_finite", 0),
        (b'{"inputs": {"a": [%s]}}' % (b"9" * 400), "not_finite", 0),
        (b'{"inputs": {"a": [%s]}}' % (b"9" * 10_000), "not_finite", 0),
        (None, "malformed", None),
        (3, "malformed", None),
        ([{"a": 1}], "malformed", None),
        ({}, "malformed", None),
        ({"a": 1, "b": "x"}, "malformed", None),
        ({"inputs": COLUMNS, "instances": COLUMNS}, "malformed", None),
        ({"messages": []}, "malformed", None),
        ({"dataframe_split": [[1, "x"]]}, "malformed", None),
        ({"dataframe_split": {"data": [[1, "x"]]}}, "malformed", None),
        ({"dataframe_split": {"columns": ["a"]}}, "malformed", None),
        ({"dataframe_split": {"columns": ["a"], "data": [[1]], "other": 1}}, "malformed", None),
        ({"dataframe_split": {"columns": "ab", "data": [[1, "x"]]}}, "malformed", None),
        ({"dataframe_split": {"columns": ["a"], "data": {"a": 1}}}, "malformed", None),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}, "malformed", 1),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], 2]}}, "malformed", 1),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "malformed", None),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, "malformed", None),
        ({"dataframe_split": {"columns": ["b"], "data": [["x"]]}}, "missing", None),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], ["2"]]}}, "not_a_number", 1),
        ({"dataframe_records": {"a": 1}}, "malformed", None),
        ({"dataframe_records": []}, "malformed", None),
        ({"dataframe_records": [{"a": 1}, [1]]}, "malformed", 1),
        ({"dataframe_records": [{"a": 1}, {"b": "x"}]}, "missing", 1),
        ({"instances": []}, "malformed", None),
        ({"instances": [[1, "x"]]}, "malformed", 0),
        ({"instances": "x"}, "malformed", None),
        ({"instances": None}, "malformed", None),
        ({"inputs": {}}, "malformed", None),
        ({"inputs": {"a": []}}, "malformed", None),
        ({"inputs": {"a": [1, 2], "b": ["x"]}}, "malformed", None),
        ({"inputs": {"a": [1], "b": "x"}}, "malformed", None),
        ({"inputs": {"a": [[1]]}}, "not_a_number", 0),
        ({"inputs": {"a": {"0": 1}}}, "not_a_number", 0),
        ({"inputs": {"a": [True]}}, "not_a_number", 0),
        ({"inputs": {"a": [1], "b": [2]}}, "not_a_string", 0),
    ],
)
def test_body_of_another_form_is_refused(document: Any, kind: str, row: int | None) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decoded(document)
    assert (caught.value.kind, caught.value.row) == (kind, row)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"\xff", "malformed"), (b"a,b\nx,y\n", "not_a_number"), (b"a\n", "malformed"), (b"b\nx\n", "missing")],
)
def test_csv_of_another_form_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decode_csv(SCHEMA, body)
    assert caught.value.kind == kind


def test_nan_is_a_missing_number_where_it_may_be() -> None:
    schema = FeatureSchema((Column("a", required=False),))
    ((value,),) = decoded(b'{"inputs": [NaN]}', schema)
    assert math.isnan(value)


def test_csv_of_pandas_is_read_with_its_index_left_out() -> None:
    frame = pd.DataFrame({"a": [1.5, 2.0], "b": ['say "hi", c\nd', None]})
    columns = decode_csv(SCHEMA, frame.to_csv().encode()).columns
    assert [column.tolist() for column in columns] == [[1.5, 2.0], ['say "hi", c\nd', None]]


def test_csv_beyond_a_part_follows_in_order_with_its_rows_numbers() -> None:
    lines = [f"{index},t{index}" for index in range(2 * PART_ROWS + 1)]
    table = decode_csv(SCHEMA, "\n".join(["a,b", *lines]).encode())
    assert table.columns[0].tolist() == list(range(2 * PART_ROWS + 1))
    assert table.columns[1].tolist() == [f"t{index}" for index in range(2 * PART_ROWS + 1)]
    lines[1], lines[2 * PART_ROWS] = "x,t", "1,t,more"
    with pytest.raises(InvalidRecordError) as caught:
        decode_csv(SCHEMA, "\n".join(["a,b", *lines]).encode())
    assert [(problem.row, problem.kind) for problem in caught.value.problems] == [
        (1, "not_a_number"),
        (2 * PART_ROWS, "malformed"),
    ]


def test_csv_with_many_problems_is_not_read_to_its_end() -> None:
    body = b"a,b\n" + b"x,y\n" * (2 * PART_ROWS) + b'"'
    with pytest.raises(InvalidRecordError) as caught:
        decode_csv(SCHEMA, body)
    assert [problem.kind for problem in caught.value.problems] == ["not_a_number"] * 100


def test_csv_without_a_column_that_may_be_missing() -> None:
    assert [column.tolist() for column in decode_csv(SCHEMA, b"a,id\n1,7\n").columns] == [[1.0], [None]]


@pytest.mark.timeout(30)  # a rule that tries again from each digit takes minutes, and holds up the whole process
@pytest.mark.parametrize("cell", ["1" * 100_000 + "x", "." + "1" * 100_000 + "x", "1e" + "1" * 100_000 + "x"])
def test_long_row_of_digits_that_is_no_number_is_reported_at_once(cell: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decode_csv(ONE, f"a\n{cell}\n".encode())
    assert caught.value.kind == "not_a_number"


OPTIONAL = FeatureSchema((Column("a", required=False), Column("b", required=False)))


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}},
        {"dataframe_records": [{"x": 1}, {}]},
        {"instances": [{"x": 1}]},
        {"inputs": {"x": [1]}},
        {"inputs": {"x": 1}},
    ],
)
def test_rows_without_any_column_of_the_model_are_refused(document: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"no column of the model is in the body; its columns are a, b$"):
        decoded(document, OPTIONAL)


def test_csv_with_other_separators_is_refused_where_all_columns_may_be_missing() -> None:
    with pytest.raises(InvalidRecordError, match=r"one cell, which has ';' in it; cells are separated by commas$"):
        decode_csv(OPTIONAL, b"a;b\n1;2\n")


@pytest.mark.parametrize("records", [[{"b": None}, {"x": 1}], [{"x": 1}, {"b": 2}]])
def test_one_column_of_the_model_is_enough(records: Any) -> None:
    assert len(decoded({"dataframe_records": records}, OPTIONAL)) == 2


def test_no_records_are_refused_as_such_where_all_columns_may_be_missing() -> None:
    with pytest.raises(InvalidRecordError, match="there are no rows; send at least one"):
        decoded({"dataframe_records": []}, OPTIONAL)


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_list_of_values_is_the_first_column_where_the_others_are_optional(form: str) -> None:
    assert decoded({form: [1.5, 2]}) == [(1.5, None), (2.0, None)]
    with pytest.raises(InvalidRecordError, match="must be an object with the fields a, b"):
        decoded({form: [1.5, 2]}, FeatureSchema.of_numbers("a", "b"))
    with pytest.raises(InvalidRecordError, match="must be an object with the fields a, b"):
        decoded({form: [[1.5, "x"]]})
