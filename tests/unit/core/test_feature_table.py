"""Rows and columns are two forms of one table."""

import numpy as np
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable

SCHEMA = FeatureSchema(
    (
        Column("size", required=False),
        Column("floors", ColumnType.INTEGER, required=False, mlflow_type="long"),
        Column("garden", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
        Column("town", ColumnType.STRING, required=False, mlflow_type="string"),
        Column("built", ColumnType.DATE, required=False),
    )
)
WHOLE = [(1.0, 1, True, "Ulm", -1.5), (2.0, 2, False, "Bonn", 19782.0)]
MISSING = [(1.0, 1, True, "Ulm", -1.5), (None, None, None, None, None)]


def test_columns_have_the_types_of_the_schema() -> None:
    assert [column.dtype.kind for column in FeatureTable.from_rows(SCHEMA, WHOLE).columns] == ["f", "i", "b", "O", "f"]


def test_missing_values_are_nan_or_none() -> None:
    size, floors, garden, town, built = FeatureTable.from_rows(SCHEMA, MISSING).columns
    assert (floors.dtype.kind, garden.dtype.kind) == ("f", "O")
    assert np.isnan([size[1], floors[1], built[1]]).all()
    assert (garden[1], town[1]) == (None, None)


@pytest.mark.parametrize("rows", [WHOLE, MISSING])
def test_a_part_has_some_of_the_rows_in_either_form(rows: list[tuple[object, ...]]) -> None:
    by_row = FeatureTable.from_rows(SCHEMA, rows)  # type: ignore[arg-type] # cases of every type
    by_column = FeatureTable.from_columns(SCHEMA, by_row.columns)
    for table in (by_row, by_column):
        part = table.part(1, 2)
        assert (len(table), len(part)) == (2, 1)
        np.testing.assert_array_equal(part.columns[3], by_row.columns[3][1:])


@pytest.mark.parametrize("rows", [WHOLE, MISSING])
def test_a_row_is_the_same_in_either_form(rows: list[tuple[object, ...]]) -> None:
    by_row = FeatureTable.from_rows(SCHEMA, rows)  # type: ignore[arg-type] # cases of every type
    by_column = FeatureTable.from_columns(SCHEMA, by_row.columns)
    for index, row in enumerate(rows):
        assert by_row.row(index) == by_column.row(index) == row
        assert [type(value) for value in by_column.row(index)] == [type(value) for value in row]


def test_matrix_is_the_same_in_either_form() -> None:
    schema = FeatureSchema(SCHEMA.columns[:3])
    rows = [(1.5, 1, True), (None, 2, None)]
    by_row = FeatureTable.from_rows(schema, rows)
    by_column = FeatureTable.from_columns(schema, by_row.columns)
    expected = np.array([[1.5, 1, 1], [np.nan, 2, np.nan]], dtype=np.float32)
    for table in (by_row, by_column):
        np.testing.assert_array_equal(table.matrix(np.float32), expected)
        assert table.matrix(np.float64).dtype == np.float64
