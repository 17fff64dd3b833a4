from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.typed_cells import text_cell
from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.parts import MAX_PIECE_BYTES, PART_ROWS, ExtraColumns, Format
from src.serving.tables.problems import InvalidRecordError
from src.training.cells import objects
from tests.support.batches import stream_of

NUMBER = FeatureSchema.of_numbers("a")
INTEGER = FeatureSchema((Column("a", ColumnType.INTEGER, mlflow_type="long"),))
SMALL_INTEGER = FeatureSchema((Column("a", ColumnType.INTEGER, mlflow_type="integer"),))
BOOLEAN = FeatureSchema((Column("a", ColumnType.BOOLEAN),))
STRING = FeatureSchema((Column("a", ColumnType.STRING),))
OPTIONAL = FeatureSchema((Column("a", required=False),))
OPTIONAL_B = FeatureSchema((Column("b", required=False),))


def parts(schema: FeatureSchema, table: pa.Table) -> Iterator[Any]:
    return arrow_parts(Format.ARROW_STREAM, schema, stream_of(table), ExtraColumns.REFUSE)


def values(schema: FeatureSchema, array: Any) -> list[Any]:
    found = []
    for part in parts(schema, pa.table({"a": array})):
        assert not isinstance(part, InvalidRecordError), part.problems
        found += part.table.columns[0].tolist()
    return found


def problems(schema: FeatureSchema, table: pa.Table) -> list[tuple[Any, ...]]:
    try:
        found = [part for part in parts(schema, table) if isinstance(part, InvalidRecordError)]
    except InvalidRecordError as error:
        found = [error]
    return [(problem.row, problem.field, problem.kind) for error in found for problem in error.problems]


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int64(), pa.uint16(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()], ids=str
)
def test_numbers_of_every_width(kind: pa.DataType) -> None:
    array = pa.array([1, 0, 100], kind)
    assert values(NUMBER, array) == [1.0, 0.0, 100.0]
    assert values(INTEGER, array) == [1, 0, 100]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_texts_of_every_kind(kind: pa.DataType) -> None:
    array = pa.array(["ß", "", "ab"], kind)
    assert values(STRING, array) == ["ß", "", "ab"]


def test_dictionaries() -> None:
    assert values(STRING, pa.array(["x", "y", "x"]).dictionary_encode()) == ["x", "y", "x"]
    assert values(NUMBER, pa.array([1.5, 2.5, 1.5]).dictionary_encode()) == [1.5, 2.5, 1.5]
    optional = FeatureSchema((Column("a", ColumnType.STRING, required=False),))
    assert values(optional, pa.array(["x", None, "x"]).dictionary_encode()) == ["x", None, "x"]


def test_nulls_are_missing_values() -> None:
    array = pa.array([1.5, None])
    np.testing.assert_equal(values(OPTIONAL, array), [1.5, np.nan])
    np.testing.assert_equal(values(OPTIONAL, pa.nulls(2)), [np.nan, np.nan])
    assert problems(NUMBER, pa.table({"a": array})) == [(1, "a", "missing")]
    assert problems(BOOLEAN, pa.table({"a": pa.nulls(2)})) == [(0, "a", "missing"), (1, "a", "missing")]


def test_batches_of_any_length_become_parts_of_about_one_length() -> None:
    whole = np.arange(3 * PART_ROWS, dtype=np.float64)
    for rows in (1, 7, PART_ROWS - 1, len(whole)):
        table = pa.Table.from_batches(pa.table({"a": whole}).to_batches(max_chunksize=rows))
        found = list(parts(NUMBER, table))
        assert np.concatenate([part.table.columns[0] for part in found]).tolist() == whole.tolist()
        assert all(PART_ROWS / 2 <= len(part.table) < 2 * PART_ROWS for part in found[:-1])


def test_slices_begin_where_they_say() -> None:
    assert values(NUMBER, pa.array([1.0, 2.0, 3.0, 4.0])[1:3]) == [2.0, 3.0]


def test_numbers_that_the_column_cannot_hold() -> None:
    table = pa.table({"a": [1.0, float("nan"), float("inf"), -1e300, 0.5]})
    assert problems(NUMBER, table) == [(1, "a", "not_finite"), (2, "a", "not_finite"), (3, "a", "not_finite")]
    assert problems(INTEGER, table) == [
        (1, "a", "not_an_integer"),
        (2, "a", "not_an_integer"),
        (3, "a", "not_finite"),
        (4, "a", "not_an_integer"),
    ]


def test_integers_at_their_limits() -> None:
    assert values(INTEGER, pa.array([2**63 - 1, -(2**63)])) == [2**63 - 1, -(2**63)]
    assert problems(INTEGER, pa.table({"a": pa.array([2**63 - 1, 2**63], pa.uint64())})) == [(1, "a", "not_finite")]
    # A float beyond may have been another number.
    assert values(INTEGER, pa.array([2.0**53 - 1, 1 - 2.0**53])) == [2**53 - 1, 1 - 2**53]
    assert problems(INTEGER, pa.table({"a": [2.0**53 + 2, -(2.0**63)]})) == [
        (0, "a", "not_finite"),
        (1, "a", "not_finite"),
    ]
    assert values(SMALL_INTEGER, pa.array([2**31 - 1, -(2**31)])) == [2**31 - 1, -(2**31)]
    assert problems(SMALL_INTEGER, pa.table({"a": [2**31, -(2**31) - 1]})) == [
        (0, "a", "not_finite"),
        (1, "a", "not_finite"),
    ]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1], pa.timestamp("us")),
        pa.array([1], pa.date32()),
        pa.array([[1]]),
        pa.array([{"x": 1}]),
        pa.array([b"x"]),
    ],
    ids=lambda array: str(array.type),
)
def test_other_types_are_refused(array: pa.Array) -> None:
    table = pa.table({"a": array})
    assert problems(NUMBER, table) == [(None, "a", "not_a_number")]
    assert problems(INTEGER, table) == [(None, "a", "not_an_integer")]
    assert problems(BOOLEAN, table) == [(None, "a", "not_a_boolean")]
    assert problems(STRING, table) == [(None, "a", "not_a_string")]


def test_a_boolean_is_no_number_and_a_number_no_text() -> None:
    assert problems(NUMBER, pa.table({"a": [True]})) == [(None, "a", "not_a_number")]
    assert problems(STRING, pa.table({"a": [1]})) == [(None, "a", "not_a_string")]
    assert problems(BOOLEAN, pa.table({"a": [1, 2]})) == [(1, "a", "not_a_boolean")]


def test_numbers_for_booleans_as_in_training() -> None:
    assert values(BOOLEAN, pa.array([1, 0])) == [True, False]
    assert values(BOOLEAN, pa.array([1.0, 0.0])) == [True, False]
    assert problems(BOOLEAN, pa.table({"a": [1.0, 0.5]})) == [(1, "a", "not_a_boolean")]


def test_decimals_are_numbers() -> None:
    array = pa.array([Decimal("1.50"), Decimal("2.00")], pa.decimal128(20, 2))
    assert values(NUMBER, array) == [1.5, 2.0]
    assert values(INTEGER, array[1:]) == [2]
    assert problems(INTEGER, pa.table({"a": array})) == [(0, "a", "not_an_integer")]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, 7]), ["1", "7"]),
        (pa.array([1.0, 2.5]), ["1", "2.5"]),
        (pa.array([True, False]), ["yes", "false"]),
        (pa.array([19782, 0], pa.int32()).cast(pa.date32()), ["2024-02-29", "1970-01-01"]),
        (pa.array([1, None]), ["1", None]),
        (pa.array([float("nan"), 1]), [None, "1"]),
    ],
    ids=str,
)
def test_category_that_is_no_text_has_its_text_as_in_training(array: pa.Array, expected: list[str | None]) -> None:
    schema = FeatureSchema((Column("a", ColumnType.STRING, required=False, values=("yes", "1")),))
    assert values(schema, array) == expected


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2]),
        pa.array([0.1, 2, None], pa.float32()),
        pa.array([0.1, 2.5]),
        pa.array([Decimal("0.10"), Decimal("2.00")]),
        pa.array([True, False]),
        pa.array([19782, 0], pa.date32()),
        pa.array([19782 * 86_400, 3600, 0], pa.timestamp("s")),
        pa.array([19782 * 86_400, 3600, 0], pa.timestamp("s", "UTC")),
        pa.array([19782 * 86_400_000, 3_600_000, 0], pa.timestamp("ms", "Europe/Berlin")),
    ],
    ids=lambda array: str(array.type),
)
@pytest.mark.parametrize(
    "known",
    [("none",), ("1.0", "0.10", "2.0", "2.50"), ("True", "False"), ("2024-02-29 00:00:00", "1970-01-01T01:00:00Z")],
    ids=lambda known: known[0],
)
def test_category_means_in_a_batch_what_it_means_in_training(array: pa.Array, known: tuple[str, ...]) -> None:
    schema = FeatureSchema((Column("a", ColumnType.STRING, required=False, values=known),))
    raw = pd.Series(array, dtype=pd.ArrowDtype(array.type))
    trained = objects(raw, partial(text_cell, known=known), known)
    assert values(schema, array) == [None if none else text for text, none in zip(*trained[:2], strict=True)]


@pytest.mark.parametrize(
    ("array", "known", "expected"),
    [
        (pa.array([1.0, 2.0, 4.0]), ("1.0", "2.0"), ["1.0", "2.0", "4"]),
        (pa.array([0.1, 1.5], pa.float32()), ("0.1",), ["0.1", "1.5"]),
        (pa.array([0.5, 1.5], pa.float16()), ("0.5",), ["0.5", "1.5"]),
        (pa.array([19782 * 86_400], pa.timestamp("s")), ("2024-02-29",), ["2024-02-29"]),
        (pa.array([19782 * 86_400], pa.timestamp("s")), ("2024-02-29T00:00:00",), ["2024-02-29T00:00:00"]),
    ],
    ids=str,
)
def test_category_is_the_known_text_of_equal_value(
    array: pa.Array, known: tuple[str, ...], expected: list[str]
) -> None:
    assert values(FeatureSchema((Column("a", ColumnType.STRING, values=known),)), array) == expected


def test_category_is_no_list() -> None:
    schema = FeatureSchema((Column("a", ColumnType.STRING, values=("1",)),))
    assert problems(schema, pa.table({"a": [[1]]})) == [(None, "a", "not_a_string")]
    assert problems(schema, pa.table({"a": pa.array([1, None])})) == [(1, "a", "missing")]


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.DATE])
def test_nan_is_a_missing_value_where_there_may_be_one(kind: ColumnType) -> None:
    schema = FeatureSchema((Column("a", kind, required=False, mlflow_type="long" if kind == "integer" else "double"),))
    np.testing.assert_equal(values(schema, pa.array([1.0, float("nan"), None, 2.0])), [1, np.nan, np.nan, 2])
    np.testing.assert_equal(values(schema, pa.array([1.0, float("nan")])), [1, np.nan])


def test_columns_that_are_missing_unknown_or_given_twice() -> None:
    assert problems(NUMBER, pa.table({"b": [1]})) == [(None, "a", "missing"), (None, None, "unknown_field")]
    assert problems(NUMBER, pa.table([[1], [2]], ["a", "a"])) == [(None, None, "malformed")]
    assert problems(NUMBER, pa.table({"a": pa.array([], pa.int64())})) == [(None, None, "malformed")]


def test_rows_of_long_texts_come_in_small_parts() -> None:
    texts = [f"{index} {'ß' * 2000}" for index in range(PART_ROWS + 1)]
    schema = FeatureSchema((*STRING.columns, *OPTIONAL_B.columns))
    found = list(parts(schema, pa.table({"a": texts, "b": np.arange(PART_ROWS + 1.0)})))
    assert max(part.text_bytes for part in found) <= MAX_PIECE_BYTES * 1.01
    assert [part.table.row(index) for part in found for index in range(len(part.table))] == list(
        zip(texts, range(PART_ROWS + 1), strict=True)
    )


def test_text_that_is_longer_than_a_part_is_one() -> None:
    texts = ["x" * (MAX_PIECE_BYTES + 1), "y" * (MAX_PIECE_BYTES + 1)]
    assert [len(part.table) for part in parts(STRING, pa.table({"a": texts}))] == [1, 1]
