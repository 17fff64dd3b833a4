import math
from typing import Any

import numpy as np
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.tables.parts import table_of_columns
from src.serving.tables.problems import InvalidRecordError

NUMBER = Column("x")
MAYBE = Column("x", required=False)
INTEGER = Column("x", ColumnType.INTEGER, mlflow_type="long")
SMALL = Column("x", ColumnType.INTEGER, mlflow_type="integer")
MAYBE_INTEGER = Column("x", ColumnType.INTEGER, required=False, mlflow_type="long")
BOOLEAN = Column("x", ColumnType.BOOLEAN, mlflow_type="boolean")
STRING = Column("x", ColumnType.STRING, mlflow_type="string")
MAYBE_STRING = Column("x", ColumnType.STRING, required=False, mlflow_type="string")
NAN = math.nan


def checked(column: Column, values: Any) -> Any:
    table = table_of_columns(FeatureSchema((column,)), {"x": values, "other": "not looked at"}, len(values))
    return table.columns[0]


@pytest.mark.parametrize(
    ("column", "values", "expected", "dtype"),
    [
        (NUMBER, [1.5, -2.0], [1.5, -2.0], np.float64),
        (NUMBER, [1, 2.5], [1.0, 2.5], np.float64),
        (NUMBER, (1, 2), [1.0, 2.0], np.float64),
        (NUMBER, np.array([1, 255], np.uint8), [1.0, 255.0], np.float64),
        (NUMBER, np.array([0.5], np.float16), [0.5], np.float64),
        (MAYBE, [1.5, None, NAN], [1.5, NAN, NAN], np.float64),
        (MAYBE, [None], [NAN], np.float64),
        (MAYBE, np.array([NAN, 2.0]), [NAN, 2.0], np.float64),
        (INTEGER, [1, -(2**63), 2**63 - 1], [1, -(2**63), 2**63 - 1], np.int64),
        (INTEGER, [1, 2.0], [1, 2], np.int64),
        (INTEGER, np.array([7], np.uint64), [7], np.int64),
        (INTEGER, np.array([7.0]), [7], np.int64),
        (SMALL, [2**31 - 1], [2**31 - 1], np.int64),
        (MAYBE_INTEGER, [5.0, NAN], [5.0, NAN], np.float64),
        (BOOLEAN, [True, False], [True, False], np.bool_),
        (BOOLEAN, np.array([True]), [True], np.bool_),
        (STRING, ["a", "ü"], ["a", "ü"], np.object_),
        (STRING, np.array(["a"], object), ["a"], np.object_),
        (MAYBE_STRING, ["a", None, NAN], ["a", None, None], np.object_),
    ],
)
def test_column_that_fits_is_an_array_of_its_type(column: Column, values: Any, expected: Any, dtype: Any) -> None:
    found = checked(column, values)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(expected, dtype=dtype))


@pytest.mark.parametrize(
    ("column", "values", "kind", "row"),
    [
        (NUMBER, [1.0, "2"], "not_a_number", 1),
        (NUMBER, [1.0, True], "not_a_number", 1),
        (NUMBER, [True, True], "not_a_number", 0),
        (NUMBER, [1.0, [2]], "not_a_number", 1),
        (NUMBER, [None], "missing", 0),
        (NUMBER, [1.0, NAN], "not_finite", 1),
        (NUMBER, [1.0, math.inf], "not_finite", 1),
        (NUMBER, [1.0, 1e300], "not_finite", 1),
        (NUMBER, [1, 10**400], "not_finite", 1),
        (NUMBER, np.array([1.0, NAN]), "not_finite", 1),
        (NUMBER, np.array([False]), "not_a_number", 0),
        (NUMBER, np.array(["a"], object), "not_a_number", 0),
        (MAYBE, [NAN, -math.inf], "not_finite", 1),
        (MAYBE, np.array([NAN, 1e300]), "not_finite", 1),
        (INTEGER, [1, 2.5], "not_an_integer", 1),
        (INTEGER, [1, 2**63], "not_finite", 1),
        (INTEGER, np.array([1, 2**63], np.uint64), "not_finite", 1),
        (INTEGER, [NAN], "missing", 0),
        (SMALL, [1, 2**31], "not_finite", 1),
        (SMALL, np.array([-(2**31) - 1]), "not_finite", 0),
        (BOOLEAN, [1], "not_a_boolean", 0),
        (BOOLEAN, np.array([1]), "not_a_boolean", 0),
        (STRING, ["a", 1], "not_a_string", 1),
        (STRING, np.array([1.0]), "not_a_string", 0),
        (STRING, ["a", None], "missing", 1),
    ],
)
def test_value_that_does_not_fit_is_reported_with_its_row(column: Column, values: Any, kind: str, row: int) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        checked(column, values)
    assert (caught.value.kind, caught.value.field, caught.value.row) == (kind, "x", row)


def test_problems_of_all_columns_are_reported_up_to_a_hundred() -> None:
    schema = FeatureSchema.of_numbers("x", "y", "z")
    with pytest.raises(InvalidRecordError) as caught:
        table_of_columns(schema, {"x": ["a"], "z": [True]}, 1)
    assert [(item.field, item.kind, item.row) for item in caught.value.problems] == [
        ("x", "not_a_number", 0),
        ("y", "missing", None),
        ("z", "not_a_number", 0),
    ]
    with pytest.raises(InvalidRecordError) as caught:
        checked(NUMBER, ["a"] * 5000)
    assert len(caught.value.problems) == 100


def test_column_that_may_be_missing_may_be_absent() -> None:
    table = table_of_columns(FeatureSchema((NUMBER, Column("y", required=False))), {"x": [1.0, 2.0]}, 2)
    np.testing.assert_array_equal(table.columns[1], [NAN, NAN])


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidRecordError, match="at least one"):
        table_of_columns(FeatureSchema.of_numbers("x"), {"x": []}, 0)
