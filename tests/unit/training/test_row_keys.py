"""Rows with the same values have the same hash, whatever their format."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.training.row_keys import cell_codes, days, row_hashes

LARGE = 2**53


def code(cell: Any, dtype: Any = object) -> int:
    return int(cell_codes(pd.Series([cell], dtype=dtype))[0])


@pytest.mark.parametrize(
    "same",
    [
        [1, 1.0, "1", "1.0", " 1 ", "1e0", "01", True, "true", "Yes", np.int8(1), np.float32(1)],
        [0, -0.0, "-0", "0.0", False, "no", "FALSE"],
        [None, np.nan, pd.NA, "", " ", "NA", "null", float("-nan")],
        [0.1, "0.1", np.float32(0.1), float(np.float32(0.1)), 0.1 + 1e-12, "0.10", "1e-1"],
        [LARGE + 1, str(LARGE + 1), np.int64(LARGE + 1)],
        [-LARGE, float(-LARGE), str(-LARGE)],
        [1e23, "1e23", int(1e23)],
        [10**40 + 1, str(10**40 + 1)],
        [19724.0, "2024-01-02", "2024-01-02T00:00:00Z"],
        [19724.5, "2024-01-02T13:00:00+01:00", "2024-01-02 12:00"],
        ["ä", " ä"],
        [float("inf"), np.float32("inf")],
    ],
)
def test_cells_that_mean_the_same_have_one_code(same: list[Any]) -> None:
    assert len({code(cell) for cell in same}) == 1


def test_cells_that_mean_something_else_have_codes_of_their_own() -> None:
    cells = [None, 0, 1, -1, 0.5, 0.50001, "a", "A", "2024-01-02", "2024-01-02T01:00", float("inf"), "\ud800"]
    cells += [LARGE - 1, LARGE, LARGE + 1, LARGE + 2, 10**40, 10**40 + 1, "9" * 500, "8" * 500, "a b", "ab"]
    assert len({code(cell) for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("dtype", "cells"),
    [
        ("int64", [3, -4, LARGE + 1]),
        ("uint8", [0, 255]),
        ("float64", [0.25, -0.0, np.nan, -np.nan, 3.0, 1e300, float(LARGE)]),
        ("float32", [0.1, np.nan]),
        ("bool", [True, False]),
        ("Int64", [LARGE + 1, None]),
        ("boolean", [True, None]),
        ("Float64", [0.1, None]),
        ("str", ["a", None, "7"]),
        ("category", ["a", None, "7"]),
    ],
)
def test_a_columns_type_does_not_change_its_codes(dtype: str, cells: list[Any]) -> None:
    typed = cell_codes(pd.Series(cells, dtype=dtype))
    assert typed.tolist() == [code(cell) for cell in pd.Series(cells, dtype=dtype).tolist()]


def test_hashes_survive_csv_parquet_and_sql(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(50) + LARGE,
            "x": random.normal(size=50) * 10.0 ** random.integers(-9, 9, 50),
            "single": random.normal(size=50).astype(np.float32),
            "name": ["", "Å", "NA", "12", "1e5"] * 10,
            "yes": random.random(50) < 0.5,
        }
    )
    frame.to_csv(tmp_path / "f.csv", index=False)
    frame.to_parquet(tmp_path / "f.parquet")
    with sqlite3.connect(tmp_path / "f.db") as database:
        frame.to_sql("f", database, index=False)
        from_sql = pd.read_sql("select * from f", database)
    expected = row_hashes(frame, list(frame), 1).tolist()
    carried = {
        "text": pd.read_csv(tmp_path / "f.csv", dtype=str, keep_default_na=False),
        "typed": pd.read_csv(tmp_path / "f.csv"),
        "parquet": pd.read_parquet(tmp_path / "f.parquet"),
        "arrow": pd.read_parquet(tmp_path / "f.parquet", dtype_backend="pyarrow"),
        "sql": from_sql,
    }
    assert {name: row_hashes(rows, list(frame), 1).tolist() == expected for name, rows in carried.items()} == (
        dict.fromkeys(carried, True)
    )


def test_a_rows_hash_does_not_depend_on_other_rows_and_does_on_each_column_their_order_and_the_seed() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", None]})
    whole = row_hashes(frame, ["a", "b"], 7)
    assert row_hashes(frame.iloc[[2, 0]], ["a", "b"], 7).tolist() == [whole[2], whole[0]]
    others = [row_hashes(frame, *key) for key in ((["b", "a"], 7), (["a"], 7), (["a", "b"], 8))]
    assert len({whole[0], *(int(other[0]) for other in others)}) == 4
    assert whole.dtype == np.uint64
    assert row_hashes(frame.head(0), ["a"], 7).shape == (0,)


def test_hashes_are_these_on_every_machine() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert row_hashes(frame, ["a", "b"], 42).tolist() == [9512813744017098975, 2668924045909558310]


def test_hashes_are_uniform() -> None:
    positions = row_hashes(pd.DataFrame({"a": np.arange(20_000)}), ["a"], 3) / 2.0**64
    assert abs(np.histogram(positions, bins=10, range=(0, 1))[0] - 2000).max() < 200


def test_days_are_those_of_numbers_and_texts() -> None:
    for column in (
        pd.Series([1.5, np.nan]),
        pd.Series(["1970-01-02T12:00", None], dtype="str"),
        pd.Series([" 1970-01-02 12:00", "soon"], dtype=object),
        pd.Series([1.5, None], dtype=object),
    ):
        found = days(column)
        assert found[0] == 1.5
        assert np.isnan(found[1])
