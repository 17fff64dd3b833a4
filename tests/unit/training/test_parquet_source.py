import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from src.core.errors import DataError
from src.core.typed_cells import boolean_cell, text_cell
from src.training.cells import Cells, dates, integers, numbers, objects
from src.training.data_files import TableFile
from src.training.parquet_source import read_parquet

DAYS = (dt.date(2026, 1, 31), dt.date(2026, 2, 1))


def plain(cells: Cells) -> list[Any]:
    """Values, with "missing" and "wrong" where there is none."""
    states = zip(cells.values.tolist(), cells.missing, cells.wrong, strict=True)
    return ["missing" if missing else "wrong" if wrong else value for value, missing, wrong in states]


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


@pytest.mark.parametrize("index", [pa.uint8(), pa.uint64(), pa.int32()])
def test_dictionaries_are_read_by_value(tmp_path: Path, index: pa.DataType) -> None:
    def dictionary(*values: object) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array([1, 0, None], index), pa.array(values))

    table = pa.table({"text": dictionary("a", "b"), "number": dictionary(7, 8), "date": dictionary(*DAYS)})
    frame = read_parquet(written(tmp_path, table), table.column_names)
    assert frame.iloc[:2].to_numpy().tolist() == [["b", 8, DAYS[1]], ["a", 7, DAYS[0]]]
    assert frame.iloc[2].isna().all()


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms", "Europe/Berlin"), pa.date32()], ids=str)
def test_dates_after_the_year_9999_are_no_dates(tmp_path: Path, kind: pa.DataType) -> None:
    days = pa.array([1, None, 10_000_000], pa.int32())
    moments = days if pa.types.is_date(kind) else pc.multiply_checked(days.cast(pa.int64()), 86_400)
    table = pa.table({"day": moments.cast(kind if pa.types.is_date(kind) else pa.timestamp("s")).cast(kind)})
    assert plain(dates(read_parquet(written(tmp_path, table), ["day"])["day"])) == [1.0, "missing", "wrong"]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([b"a", None]),
        pa.array([[1], None]),
        pa.array([{"a": 1}, None]),
        pa.array([2**62, None], pa.duration("s")),
        pa.array([1, None], pa.time64("us")),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, None], pa.binary(16))),
    ],
    ids=lambda cells: str(cells.type),
)
def test_cells_of_types_without_a_meaning_are_wrong(tmp_path: Path, cells: pa.Array) -> None:
    raw = read_parquet(written(tmp_path, pa.table({"x": cells})), ["x"])["x"]
    for found in (numbers(raw), integers(raw), dates(raw), objects(raw, text_cell), objects(raw, boolean_cell)):
        assert plain(found) == ["wrong", "missing"]
    assert raw.duplicated().to_list() == [False, False]


def test_small_floats_and_views_of_texts_are_read(tmp_path: Path) -> None:
    columns = {"x": pa.array(np.array([0.5, 2.0], dtype=np.float16)), "c": pa.array(["a", "b"], pa.string_view())}
    frame = read_parquet(written(tmp_path, pa.table(columns)), ["x", "c"])
    assert frame.to_numpy().tolist() == [[0.5, "a"], [2.0, "b"]]
    assert not frame.duplicated().any()


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    cells = pa.array([b"\xff", b"a"])
    text = pa.Array.from_buffers(pa.string(), 2, cells.buffers())
    with pytest.raises(DataError, match=r"data\.parquet: c cannot be read: .*UTF8"):
        read_parquet(written(tmp_path, pa.table({"c": text})), ["c"])


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
