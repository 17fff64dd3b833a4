import datetime as dt
import decimal
import gzip
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError
from src.training.check_rows import check_rows
from src.training.sources import RawData, read

NOW = 4e9


def dataset(source: Path | str, **changes: Any) -> DatasetConfig:
    values: dict[str, Any] = {
        "source": str(source),
        "target": "y",
        "features": {"x": {}, "c": {"type": "category", "missing": True}},
        "target_range": {},
        "duplicates": "keep",
    }
    return DatasetConfig.model_validate(values | changes)


def read_now(config: DatasetConfig) -> RawData:
    return read(config, clock=lambda: NOW)


def test_files_of_a_folder_are_one_table_whatever_their_columns_order(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("c,extra,x,y\nred,-,3,30\n")
    (tmp_path / "a.csv").write_text("x,c,y\n1,NA,10\n2,blue,20\n")
    (tmp_path / "c.tsv").write_text("y\tx\tc\n40\t4\t\n")
    raw = read_now(dataset(tmp_path))
    assert raw.frame.to_numpy().tolist() == [
        ["1", "NA", "10"],
        ["2", "blue", "20"],
        ["3", "red", "30"],
        ["4", "", "40"],
    ]
    assert raw.frame.index.to_list() == [0, 1, 2, 3]
    files = [(Path(file.name).name, file.rows) for file in raw.files]
    assert files == [("a.csv", 2), ("b.csv", 1), ("c.tsv", 1)]
    places = [(Path(name).name, row) for name, row in map(raw.place, range(4))]
    assert places == [("a.csv", 1), ("a.csv", 2), ("b.csv", 1), ("c.tsv", 1)]


def test_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,c,y\n1,red,10\n")
    (tmp_path / "b.csv").write_text("c,y\nred,10\n")
    with pytest.raises(DataError, match=r"b\.csv lacks the columns x \(it has c, y\)"):
        read_now(dataset(tmp_path))


def test_optional_column_that_only_newer_csv_files_have_is_missing_in_the_older_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("y,x\n10,1\n20,2\n")
    (tmp_path / "b.csv").write_text("x,c,y\n3,red,30\n")
    config = dataset(tmp_path)
    raw = read_now(config)
    assert raw.frame.columns.to_list() == ["x", "c", "y"]
    assert check_rows(raw, config).frame.to_numpy().tolist() == [[1, None, 10], [2, None, 20], [3, "red", 30]]


def test_optional_column_that_no_file_has_or_one_has_misspelt_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,10\n")
    with pytest.raises(DataError, match=r"a\.csv lacks the columns c \(it has x, y\)"):
        read_now(dataset(tmp_path))
    (tmp_path / "b.csv").write_text("x,y\n2,20\n")
    with pytest.raises(DataError, match=r"no file of \S+ has the columns c; fix the names"):
        read_now(dataset(tmp_path))
    (tmp_path / "c.csv").write_text("x,c,y\n3,red,30\n")
    (tmp_path / "b.csv").write_text("x,y, C\n2,20,red\n")
    with pytest.raises(DataError, match=r"b\.csv lacks the columns c .*did you mean 'C'"):
        read_now(dataset(tmp_path))


def test_id_time_and_group_are_read_with_the_features(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,t,g,x,c,y,z\n7,2026-01-01,A,1,red,10,0\n")
    raw = read_now(dataset(tmp_path / "a.csv", id=["k"], time="t", group="g", ignored=["z"]))
    assert raw.frame.columns.to_list() == ["x", "c", "y", "k", "t", "g"]


def test_csv_and_parquet_files_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,c,y\n1,red,10\n")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"has csv and parquet files; select one format with a glob such as \*\.csv"):
        read_now(dataset(tmp_path))


TYPED = pa.table(
    {
        "y": pa.array([1, None, 2**53 + 1], pa.int64()),
        "x": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")]),
        "c": pa.array(["red", None, "blue"]).dictionary_encode(),
        "when": pa.array(
            [dt.datetime(1970, 1, 2, 12, tzinfo=dt.UTC), None, dt.datetime(1970, 1, 3, tzinfo=dt.UTC)],
            pa.timestamp("ns", "UTC"),
        ),
        "day": pa.array([dt.date(1970, 1, 2), None, dt.date(1970, 1, 3)]),
        "yes.no": pa.array([True, None, False]),
        "small": pa.array([1, None, 255], pa.uint8()),
        "zip": pa.array([1234, None, 7], pa.int32()),
        "other": pa.array([[1], [2], [3]]),
    }
)
OPTIONAL = {"missing": True}


def test_parquet_s_types_are_read_exactly(tmp_path: Path) -> None:
    pq.write_table(TYPED, tmp_path / "typed.parquet")
    features = {
        "x": OPTIONAL,
        "c": {"type": "category", **OPTIONAL},
        "when": {"type": "date", **OPTIONAL},
        "day": {"type": "date", **OPTIONAL},
        "yes.no": {"type": "boolean", **OPTIONAL},
        "small": {"type": "integer", **OPTIONAL},
        "zip": {"type": "category", **OPTIONAL},
    }
    config = dataset(
        tmp_path / "typed.parquet",
        features=features,
        id=["y"],
        target="row",
        invalid_rows={"policy": "drop", "max_share": 1.0},
    )
    pq.write_table(TYPED.append_column("row", pa.array([0.5, 1.5, 2.5], pa.float32())), tmp_path / "typed.parquet")
    rows = check_rows(read_now(config), config)
    assert rows.report.problems == ["y: missing: 1 row (2)"]
    assert rows.frame.to_numpy().tolist() == [
        [1.5, "red", 1.5, 1.0, True, 1, "1234", 0.5, "1"],
        [-2.25, "blue", 2.0, 2.0, False, 255, "7", 2.5, "9007199254740993"],
    ]
    assert rows.frame["small"].dtype == "int64"


def test_missing_values_of_parquet_are_missing_values(tmp_path: Path) -> None:
    table = TYPED.set_column(0, "y", pa.array([1.0, 2.0, 3.0]))
    pq.write_table(table, tmp_path / "typed.parquet")
    names = ["x", "c", "when", "yes.no", "small"]
    kinds = ["number", "category", "date", "boolean", "integer"]
    config = dataset(
        tmp_path / "typed.parquet",
        features={name: {"type": kind, **OPTIONAL} for name, kind in zip(names, kinds, strict=True)},
    )
    rows = check_rows(read_now(config), config)
    assert rows.frame.isna().sum().to_list() == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("name", ["x", "c", "when", "day", "yes.no", "small", "zip"])
def test_optional_column_that_only_some_parquet_files_have_is_missing_in_the_others(tmp_path: Path, name: str) -> None:
    table = TYPED.set_column(0, "y", pa.array([1.0, 2.0, 3.0]))
    for file, part in (("a", table.drop_columns([name])), ("b", table), ("c", table.drop_columns([name]))):
        pq.write_table(part, tmp_path / f"{file}.parquet")
    kinds = {"when": "date", "day": "date", "yes.no": "boolean", "small": "integer", "x": "number"}
    config = dataset(tmp_path, features={name: {"type": kinds.get(name, "category"), **OPTIONAL}})
    frame = check_rows(read_now(config), config).frame
    alone = config.model_copy(update={"source": str(tmp_path / "b.parquet")})
    expected = check_rows(read_now(alone), alone).frame
    assert frame[name].isna().to_list() == [True, True, True, False, True, False, True, True, True]
    assert frame[name].dropna().to_list() == expected[name].dropna().to_list()


def test_type_that_is_no_number_is_refused(tmp_path: Path) -> None:
    pq.write_table(TYPED.set_column(0, "y", pa.array([1.0, 2.0, 3.0])), tmp_path / "typed.parquet")
    for name in ("other", "yes.no", "day"):
        config = dataset(tmp_path / "typed.parquet", features={name: OPTIONAL})
        with pytest.raises(DataError, match=rf"{name}: not a finite number: \d rows \(1, "):
            check_rows(read_now(config), config)


def test_compressed_parquet_and_a_folder_of_parts_are_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1, 2], "c": ["a", None], "y": [1.0, 2.0]})
    table.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    table.assign(x=["3", "NA"]).to_parquet(tmp_path / "c.parquet")
    config = dataset(tmp_path, features={"x": OPTIONAL, "c": {"type": "category", **OPTIONAL}})
    frame = check_rows(read_now(config), config).frame
    assert frame["x"].fillna(-1).to_list() == [1, 2, 1, 2, 3, -1]


CATEGORY = {"c": {"type": "category", **OPTIONAL}}
LARGE = 2**53 + 1


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
def test_large_integers_stay_exact_beside_a_file_of_floats(tmp_path: Path, kind: pa.DataType) -> None:
    rows = {"c": [None, "a"], "y": [1.0, 2.0]}
    pq.write_table(pa.table({"x": pa.array([LARGE, LARGE + 1], kind), **rows}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([5.0, 6.0]), **rows}), tmp_path / "b.parquet")
    config = dataset(tmp_path, features={"x": {"type": "integer"}, **CATEGORY})
    frame = check_rows(read_now(config), config).frame
    assert frame["x"].to_list() == [LARGE, LARGE + 1, 5, 6]
    assert frame["c"].to_list() == [None, "a"] * 2
    config = dataset(tmp_path, features=CATEGORY, id=["x"])
    assert check_rows(read_now(config), config).frame["x"].to_list() == [str(LARGE), str(LARGE + 1), "5", "6"]


def test_date_after_the_year_9999_is_reported_with_file_and_row(tmp_path: Path) -> None:
    rows = {"c": ["a", "b"], "y": [1.0, 2.0]}
    for name, far in (("a", 1), ("b", 10**13)):
        pq.write_table(pa.table({"x": pa.array([1, far], pa.timestamp("s")), **rows}), tmp_path / f"{name}.parquet")
    config = dataset(tmp_path, features={"x": {"type": "date"}, **CATEGORY})
    with pytest.raises(DataError, match=r"x: not an ISO 8601 date.*1 row \(\S+b\.parquet 2\)"):
        check_rows(read_now(config), config)
    config = dataset(tmp_path, features={"x": {}, **CATEGORY})
    with pytest.raises(DataError, match="x: not a finite number: 4 rows"):
        check_rows(read_now(config), config)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pa.table([pa.array([1]), pa.array([2]), pa.array([2])], names=["x", "y", "y"]), "columns y more than once"),
        (pa.table({"x": [1], "y": [1]}), r"lacks the columns c \(it has x, y\)"),
    ],
)
def test_parquet_names_are_checked(tmp_path: Path, table: pa.Table, problem: str) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet .*{problem}"):
        read_now(dataset(tmp_path / "a.parquet"))


def test_columns_that_are_not_read_may_be_there_twice_and_an_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3]), pa.array(["a"])], names=["y", "z", "z", "c"])
    pq.write_table(table.append_column("x", pa.array([5])), tmp_path / "a.parquet")
    assert read_now(dataset(tmp_path / "a.parquet")).frame.to_numpy().tolist() == [[5, "a", 1]]
    pd.DataFrame({"x": [5], "c": ["a"], "y": [1]}).set_index("x").to_parquet(tmp_path / "b.parquet")
    assert read_now(dataset(tmp_path / "b.parquet")).frame.to_numpy().tolist() == [[5, "a", 1]]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_of_parquet_is_pandas_own_and_numbers_are_exact(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"x": pa.array([2**53 + 1, None]), "c": pa.array(["a", None], kind), "y": pa.array([0.5, 1.0])})
    pq.write_table(table, tmp_path / "a.parquet")
    frame = read_now(dataset(tmp_path / "a.parquet")).frame
    assert [str(dtype) for dtype in frame.dtypes] == ["int64[pyarrow]", "str", "double[pyarrow]"]
    assert frame["x"].iloc[0] == 2**53 + 1


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR1" + bytes(100)])
def test_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        read_now(dataset(tmp_path / "a.parquet"))


@pytest.mark.usefixtures("shipped_file_rule")
def test_files_that_are_still_written_to_are_left_out_by_the_real_clock(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,c,y\n1,red,10\n")
    os.utime(tmp_path / "a.csv", (1e9, 1e9))
    waited: list[float] = []
    if (found := (tmp_path / "b.csv").stat()).st_ctime_ns == found.st_mtime_ns:
        files = read(dataset(tmp_path), wait=waited.append).files
        assert [Path(file.name).name for file in files] == ["a.csv"]
        assert waited == [10]


@pytest.mark.usefixtures("shipped_file_rule")
def test_files_that_are_left_for_the_next_run_are_reported(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,c,y\n1,red,10\n2,red,20\n")
    os.utime(tmp_path / "b.csv", (NOW, NOW))
    config = dataset(tmp_path, duplicates="drop")
    waited: list[float] = []
    raw = read(config, clock=lambda: NOW + 1, wait=waited.append)
    assert waited == [9]
    assert raw.skipped == (str(tmp_path / "b.csv"),)
    report = check_rows(raw, config).report
    assert report.skipped_files == [str(tmp_path / "b.csv")]
    assert report.summary() == f"2 rows from {tmp_path}; files left for the next run: 1"
    assert "next run" not in check_rows(read(config, clock=lambda: NOW + 10), config).report.summary()


def test_csv_parquet_and_sqlite_give_the_same_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, 2.0], "c": ["red", None], "y": [10, 20]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    found = [
        check_rows(read_now(config), config).frame
        for config in map(dataset, (tmp_path / "a.csv", tmp_path / "a.parquet"))
    ]
    pd.testing.assert_frame_equal(found[0], found[1])
