import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError, LoopError
from src.pipeline.data_preprocess import data_sha256, preprocess, save, validate
from src.services.local.processes import REPOSITORY
from tests.support.training import config, training_environment, write_config

DATASET = config().dataset


def rows(*, per_class: int = 20) -> pd.DataFrame:
    """Valid text rows, as a CSV file gives them, all different."""
    names = [name for name in DATASET.classes for _ in range(per_class)]
    numbers = {column: [f"{1 + index / 100:.2f}" for index in range(len(names))] for column in DATASET.features}
    return pd.DataFrame({**numbers, "species": names}, dtype=str)


def test_preprocess_gives_iris_with_our_names_and_without_its_duplicate() -> None:
    frame = preprocess(DATASET)
    assert list(frame.columns) == [*DATASET.features, "species"]
    assert frame["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 49}
    assert frame.iloc[0].to_list() == [5.1, 3.5, 1.4, 0.2, "setosa"]


@pytest.mark.parametrize(("policy", "left"), [("keep", 150), ("drop", 149)])
def test_preprocess_treats_duplicates_as_configured(policy: str, left: int) -> None:
    assert len(preprocess(config(dataset={"duplicates": policy}).dataset)) == left


def test_preprocess_refuses_duplicates_where_they_are_errors() -> None:
    with pytest.raises(DataError, match=r"repeats an earlier row in every column: 1 row \(143\)"):
        preprocess(config(dataset={"duplicates": "error"}).dataset)


def test_validate_reports_all_problems_together_with_counts_and_rows() -> None:
    raw = rows()
    raw.loc[[1, 3], "sepal_length"] = "wide"
    raw.loc[0, "sepal_width"] = None
    raw.loc[[4, 5, 6, 7], "petal_length"] = "99"
    raw.loc[8, "petal_width"] = "inf"
    raw.loc[9, "species"] = "rose"
    with pytest.raises(DataError) as caught:
        validate(raw, DATASET)
    told = str(caught.value)
    assert "sepal_length: not a number: 2 rows (2, 4)" in told
    assert "sepal_width: missing: 1 row (1)" in told
    assert "petal_length: outside 0.1 to 20: 4 rows (5, 6, 7, …)" in told
    assert "petal_width: infinite: 1 row (9)" in told
    assert "species: not one of dataset.classes ('rose'): 1 row (10)" in told


def test_validate_accepts_the_range_s_ends_only() -> None:
    raw = rows()
    raw.loc[0, "sepal_length"], raw.loc[1, "sepal_length"] = "0.1", "20"
    assert validate(raw, DATASET)["sepal_length"].to_list()[:2] == [0.1, 20.0]
    raw.loc[0, "sepal_length"] = "0.0999"
    with pytest.raises(DataError, match="outside"):
        validate(raw, DATASET)


def test_validate_names_missing_columns() -> None:
    with pytest.raises(DataError, match="lacks the columns petal_width, species"):
        validate(rows().drop(columns=["petal_width", "species"]), DATASET)


def test_validate_names_classes_with_too_few_rows() -> None:
    with pytest.raises(DataError, match="min_rows_per_class = 20 rows: setosa 19, virginica 0"):
        validate(rows().query("species != 'virginica'").iloc[1:], DATASET)


def test_validate_drops_columns_that_are_not_configured() -> None:
    assert "id" not in validate(rows().assign(id="x"), DATASET)


def from_csv(file: Path) -> DatasetConfig:
    return config(dataset={"source": str(file)}).dataset


def test_preprocess_reads_a_csv_file_and_gives_the_same_bytes_as_its_own_output(tmp_path: Path) -> None:
    first = preprocess(DATASET)
    save(first, tmp_path / "iris.csv")
    again = preprocess(from_csv(tmp_path / "iris.csv"))
    assert data_sha256(again) == data_sha256(first)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read: No such file"), (b"", "not a CSV file"), (b"\xff\xfe", "not a CSV")]
)
def test_preprocess_says_why_a_csv_file_cannot_be_read(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "data.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=told):
        preprocess(from_csv(file))


def test_preprocess_refuses_an_unknown_source() -> None:
    with pytest.raises(DataError, match=r"'roses'; it must be iris or the path of a \.csv file"):
        preprocess(config(dataset={"source": "roses"}).dataset)


def test_save_writes_the_file_and_a_checkable_hash_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "new" / "iris.csv"
    digest = save(preprocess(DATASET), file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sorted(path.name for path in file.parent.iterdir()) == ["iris.csv", "iris.csv.sha256"]
    subprocess.run(["sha256sum", "--check", "--strict", "iris.csv.sha256"], cwd=file.parent, check=True)


def test_save_keeps_the_old_file_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "iris.csv"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoopError, match=r"No space left on device.*free some space") as caught:
        save(preprocess(DATASET), file)
    assert not caught.value.permanent
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def run_main(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "src.pipeline.data_preprocess"],
        cwd=REPOSITORY,
        env=training_environment(folder, "http://127.0.0.1:1") | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def own_lines(process: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in process.stderr.splitlines() if not line.startswith("import time:")]


def test_main_writes_the_data_set_says_so_in_one_line_and_imports_no_zenml(tmp_path: Path) -> None:
    ended = run_main(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "iris_preprocessed.csv").read_text().count("\n") == 150
    (line,) = own_lines(ended)
    assert "wrote 149 rows" in line
    assert not [line for line in ended.stderr.splitlines() if line.endswith((" zenml", " mlflow"))]


def test_main_exits_2_with_one_line_on_bad_data(tmp_path: Path) -> None:
    ended = run_main(tmp_path, PIPELINE_CONFIG=str(write_config(tmp_path / "p.yaml", dataset={"source": "no.csv"})))
    (line,) = own_lines(ended)
    assert (ended.returncode, "no.csv cannot be read" in line) == (2, True)


def test_main_exits_1_with_one_line_when_the_volume_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = run_main(tmp_path / "file")
    (line,) = own_lines(ended)
    assert (ended.returncode, "set DATA_DIR" in line) == (1, True)
