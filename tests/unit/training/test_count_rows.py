"""Rows are counted as a training reads them."""

import gzip
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from src.core.dataset_config import CsvFormat, DatasetConfig
from src.core.errors import ConfigError, DataError
from src.training import count_rows
from src.training.count_rows import RowCounter
from src.training.sources import read

NOW = 1_800_000_000.0
OLD = NOW - 60
# Three rows: quoted line ends and quotes, and blank lines.
TRICKY = 'x,y\n1,"a\nb"\n\n2,"say ""so"",\r\n\n"\n3,it\'s 5" wide\n\n'


def dataset(source: Path | str, **changes: object) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "source": str(source),
            "target": "y",
            "features": {"x": {}},
            "target_range": {},
            "duplicates": "keep",
            **changes,
        }
    )


def put(path: Path, content: bytes | str, modified: float = OLD) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (modified, modified))
    return path


def table(rows: int, path: Path) -> Path:
    pq.write_table(pa.table({"x": range(rows), "y": range(rows)}), path)
    os.utime(path, (OLD, OLD))
    return path


def count(source: Path | str, **changes: object) -> dict[str, int]:
    return RowCounter(lambda: NOW).count(dataset(source, **changes), None)


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", "x,y\n1,2\n3,4\n", 2),
        ("a.csv", "x,y\n1,2\n3,4", 2),
        ("a.csv", "x,y\r\n1,2\r\n", 1),
        ("a.csv", TRICKY, 3),
        ("a.csv.gz", gzip.compress(TRICKY.encode(), mtime=0), 3),
        ("a.tsv", 'x\ty\n1\t"a\n,b"\n2\t,"\n', 2),
        ("a.csv", "x,y\n", 0),
        ("a.csv", "", 0),
    ],
)
def test_lines_in_quotes_and_blank_lines_are_no_rows(
    tmp_path: Path, name: str, content: bytes | str, rows: int
) -> None:
    path = put(tmp_path / name, content)
    assert count(path) == {str(path): rows}


def test_count_is_that_of_a_training(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", TRICKY)
    put(tmp_path / "b.csv", "x,y\n1,2\n")
    put(tmp_path / ".hidden.csv", "x,y\n1,2\n")
    put(tmp_path / "notes.txt", "x,y\n1,2\n")
    found = read(dataset(tmp_path), clock=lambda: NOW)
    assert count(tmp_path) == {file.name: file.rows for file in found.files}
    assert count(f"{tmp_path}/a*.csv") == {str(tmp_path / "a.csv"): 3}


def test_format_of_the_configuration_is_used(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'x;y\n1;"ä\nö"\n'.encode("utf-16"))
    assert count(path, csv=CsvFormat(delimiter=";", encoding="utf-16")) == {str(path): 1}
    with pytest.raises(DataError, match=r"the rows of .*a\.csv cannot be counted: .*dataset\.csv"):
        count(path)


def test_rows_of_parquet_are_counted_compressed_or_not(tmp_path: Path) -> None:
    plain = table(7, tmp_path / "a.parquet")
    put(tmp_path / "b.parquet.gz", gzip.compress(plain.read_bytes()))
    assert count(tmp_path) == {str(plain): 7, str(tmp_path / "b.parquet.gz"): 7}


def test_damaged_parquet_is_an_error_with_its_name(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", "x,y\n")
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        count(tmp_path)


@contextmanager
def counting() -> Iterator[list[str]]:
    """The names of the files that are read meanwhile."""
    names: list[str] = []
    original = count_rows._count_csv  # noqa: SLF001 - what costs the time

    def counted(file: count_rows.TableFile, options: CsvFormat) -> int:
        names.append(file.path.name)
        return original(file, options)

    with patch.object(count_rows, "_count_csv", counted):
        yield names


def test_only_changed_files_are_counted_again(tmp_path: Path) -> None:
    for name in "abc":
        put(tmp_path / f"{name}.csv", "x,y\n1,2\n")
    counter = RowCounter(lambda: NOW)
    with counting() as names:
        counter.count(dataset(tmp_path), None)
        put(tmp_path / "a.csv", "x,y\n1,2\n3,4\n")  # another size
        put(tmp_path / "b.csv", "x,y\n1\n2\n", OLD + 1)  # another time
        assert list(counter.count(dataset(tmp_path), None).values()) == [2, 2, 1]
        counter.count(dataset(tmp_path), None)
    assert names == ["a.csv", "b.csv", "c.csv", "a.csv", "b.csv"]


@pytest.mark.parametrize(("age", "is_counted"), [(10.0, True), (9.9, False), (-9.9, False), (-10.0, True)])
def test_file_that_has_just_changed_is_counted_later(tmp_path: Path, age: float, *, is_counted: bool) -> None:
    put(tmp_path / "old.csv", "x,y\n1,2\n")
    put(tmp_path / "young.csv", "x,y\n1,2\n", NOW - age)
    assert (str(tmp_path / "young.csv") in count(tmp_path)) is is_counted


def test_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        count(tmp_path / "absent.csv")


@pytest.mark.parametrize("source", ["iris", "https://example.com/a.csv?day=1", "s3://bucket/a.csv"])
def test_other_sources_cannot_be_counted(source: str) -> None:
    with pytest.raises(DataError, match=r"RETRAIN_MIN_NEW_ROWS is set, and the rows of .* cannot be counted") as raised:
        count(source)
    assert "?day" not in str(raised.value)


@pytest.fixture
def url(tmp_path: Path) -> SecretStr:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sales (x REAL, y REAL)")
        connection.executemany("INSERT INTO sales VALUES (?, ?)", [(1, 2), (3, 4), (5, 6)])
    connection.close()
    return SecretStr(f"sqlite:///{tmp_path / 'shop.db'}")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT x, y FROM sales", 3),
        ("SELECT x, y FROM sales WHERE x > 1 ORDER BY x;\n", 2),
        ("SELECT x, y FROM sales -- all of them", 3),
        ("WITH few AS (SELECT * FROM sales LIMIT 1) SELECT x, y FROM few", 1),
        ("SELECT x, y FROM sales WHERE '%d' <> ':x'", 3),
    ],
)
def test_database_counts_the_rows_of_the_query(url: SecretStr, query: str, rows: int) -> None:
    assert RowCounter().count(dataset("sql", query=query), url) == {"sql": rows}


def test_wrong_query_and_missing_address_are_errors_that_name_the_setting(url: SecretStr) -> None:
    with pytest.raises(DataError, match="RETRAIN_MIN_NEW_ROWS fails: "):
        RowCounter().count(dataset("sql", query="SELECT x, y FROM absent"), url)
    with pytest.raises(ConfigError, match="set DATASET_URL"):
        RowCounter().count(dataset("sql", query="SELECT x, y FROM sales"), None)
