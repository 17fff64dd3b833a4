import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.core.column_rules import days_of
from src.core.errors import LoopError
from src.training.check_rows import CheckedRows
from src.training.data_report import DataReport
from src.training.dataset_file import data_sha256, invalid_rows_file, save, to_csv
from tests.support.training import config

DATASET = config().dataset
DATED = config(dataset={"features": {"day": {"type": "date", "missing": True}}}).dataset


def checked(*invalid: tuple[str, int, str, str]) -> CheckedRows:
    frame = pd.DataFrame({"sepal_length": [5.1, np.nan], "species": ["setosa", "virginica"]})
    report = DataReport(source="iris", files=[], rows=2)
    return CheckedRows(frame, report, pd.DataFrame(list(invalid), columns=["file", "row", "column", "problem"]))


def test_save_writes_the_file_and_a_checkable_hash_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deeper" / "iris_preprocessed.csv"
    digest = save(checked(), file, DATASET)
    assert file.read_bytes() == b"sepal_length,species\n5.1,setosa\n,virginica\n"
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest() == data_sha256(checked().frame, DATASET)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, f"{file.name}.sha256"]
    subprocess.run(["sha256sum", "--check", "--strict", f"{file.name}.sha256"], cwd=file.parent, check=True)


def test_save_lists_invalid_cells_next_to_the_data_set_until_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "iris_preprocessed.csv"
    save(checked(("a.csv", 7, "x", "missing"), ("b.csv", 1, "y", "not a, number")), file, DATASET)
    listing = tmp_path / "iris_invalid_rows.csv"
    assert invalid_rows_file(file) == listing
    assert listing.read_text() == 'file,row,column,problem\na.csv,7,x,missing\nb.csv,1,y,"not a, number"\n'
    save(checked(), file, DATASET)
    assert not listing.exists()


def test_save_keeps_the_old_file_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "iris.csv"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoopError, match=r"No space left on device.*free some space") as caught:
        save(checked(), file, DATASET)
    assert not caught.value.permanent
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-01-31", "2026-01-31"),
        ("1969-12-31T23:59:59.5", "1969-12-31T23:59:59.500000"),
        ("2026-01-31T08:30:00.123456+02:00", "2026-01-31T06:30:00.123456"),
        ("2026-01-31T08:30:00.000038", "2026-01-31T08:30:00.000038"),
        ("0001-01-01", "0001-01-01"),
    ],
)
def test_dates_are_written_as_iso_8601_and_read_to_the_same_number(text: str, written: str) -> None:
    frame = pd.DataFrame({"day": [days_of(text), np.nan], "species": ["setosa", "setosa"]}, index=[7, 3])
    assert to_csv(frame, DATED) == f"day,species\n{written},setosa\n,setosa\n".encode()
    assert days_of(written) == days_of(text)
