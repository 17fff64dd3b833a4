from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.errors import DataError
from src.training.data_files import TableFile
from src.training.parquet_source import read_parquet


def written(folder: Path, table: pa.Table) -> TableFile:
    pq.write_table(table, folder / "data.parquet")
    return TableFile("data.parquet", folder / "data.parquet", "parquet")


def test_cells_keep_their_types_in_the_requested_order(tmp_path: Path) -> None:
    columns = {
        "number": pa.array([1.5, None]),
        "id": pa.array([2**53 + 1, None]),
        "name": pa.array(["a", None]),
        "long": pa.array(["b", None], pa.large_string()),
        "more": pa.array([1, 2]),
    }
    frame = read_parquet(written(tmp_path, pa.table(columns)), ["name", "id", "long", "number"])
    assert frame.dtypes.astype(str).to_dict() == {
        "name": "str",
        "id": "int64[pyarrow]",
        "long": "str",
        "number": "double[pyarrow]",
    }
    assert frame["id"].to_list() == [2**53 + 1, pd.NA]
    assert frame["name"].isna().to_list() == [False, True]


def test_index_that_pandas_has_stored_is_a_column_like_others(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index([7, 9], name="key"))
    frame.to_parquet(tmp_path / "data.parquet")
    file = TableFile("data.parquet", tmp_path / "data.parquet", "parquet")
    found = read_parquet(file, ["x", "key"])
    assert (list(found.index), found["key"].to_list()) == ([0, 1], [7, 9])


def test_columns_that_are_lacking_or_there_twice_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, pa.table([[1], [2], [3]], names=["a", "a", "b"]))
    assert read_parquet(file, ["b"]).shape == (1, 1)
    with pytest.raises(DataError, match=r"data\.parquet has the columns a more than once; rename one of them"):
        read_parquet(file, ["b", "a"])
    with pytest.raises(DataError, match=r"data\.parquet lacks the columns c \(it has a, a, b\)"):
        read_parquet(file, ["b", "c"])


def test_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"x is not a Parquet file: "):
        read_parquet(TableFile("x", tmp_path / "x", "parquet"), ["a"])
