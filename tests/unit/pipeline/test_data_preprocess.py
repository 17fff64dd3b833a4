import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from src.core.dataset_config import FEEDBACK_TIME, DatasetConfig
from src.core.errors import DataError
from src.pipeline import data_preprocess
from src.pipeline.data_preprocess import prepare
from src.services.local.processes import REPOSITORY
from src.training.dataset_file import to_csv
from tests.support.labelled_log import LabelledLog, columns_of
from tests.support.training import config, training_environment, write_config

pytestmark = pytest.mark.slow

DATASET = config().dataset


def test_preprocess_gives_iris_with_our_names_and_without_its_duplicate() -> None:
    frame = prepare(DATASET).frame
    assert list(frame.columns) == [*DATASET.features, "species"]
    assert frame["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 49}
    assert frame.iloc[0].to_list() == [5.1, 3.5, 1.4, 0.2, "setosa"]


def test_preprocess_says_how_many_rows_it_read_and_left_out() -> None:
    report = prepare(DATASET).report
    assert (report.source, report.rows, report.duplicate_rows) == ("iris", 149, 1)
    assert [(file.name, file.rows) for file in report.files] == [("iris", 150)]
    assert report.summary() == "149 rows from iris; 1 repeated row left out"


def from_csv(file: Path) -> DatasetConfig:
    return config(dataset={"source": str(file)}).dataset


def test_preprocess_reads_a_csv_file_and_gives_the_same_bytes_as_its_own_output(tmp_path: Path) -> None:
    first = to_csv(prepare(DATASET).frame, DATASET)
    (tmp_path / "iris.csv").write_bytes(first)
    assert to_csv(prepare(from_csv(tmp_path / "iris.csv")).frame, DATASET) == first


def test_rows_are_cleaned_before_they_are_checked_and_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, expected = tmp_path / "iris.csv", to_csv(prepare(DATASET).frame, DATASET)
    lines = expected.decode().splitlines()
    file.write_text("\n".join([lines[0], "in mm,,,,", *lines[1:]]).replace("setosa", "Setosa"))

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.iloc[1:].assign(species=frame["species"].str.lower())

    monkeypatch.setattr(data_preprocess, "clean", clean)
    assert to_csv(prepare(from_csv(file)).frame, DATASET) == expected
    file.write_text(file.read_text().replace("5.1,3.5,1.4,0.2", "wide,3.5,1.4,0.2", 1))
    with pytest.raises(DataError, match=r"sepal_length: not a finite number: 1 row \(2\)"):
        prepare(from_csv(file))


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelledLog:
    """The log of the model and folder of the environment."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return LabelledLog(tmp_path / "quality", columns_of(DATASET.feature_schema), now=datetime.now(UTC))


def test_labelled_rows_join_the_source_s_uncleaned(labelled: LabelledLog, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled.add("r", (5.1, 3.5, 1.4, 0.3), "virginica")

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(petal_width=frame["petal_width"] + 1)

    monkeypatch.setattr(data_preprocess, "clean", clean)
    found = prepare(config(dataset={"feedback": {"use": True}}).dataset)
    assert list(found.frame.columns) == [*DATASET.columns, FEEDBACK_TIME]
    assert found.frame.iloc[-1, :5].to_list() == [5.1, 3.5, 1.4, 0.3, "virginica"]
    assert found.frame.iloc[0]["petal_width"] == 1.2
    assert found.report.live_rows == 1


def test_without_feedback_the_log_changes_nothing(labelled: LabelledLog) -> None:
    before = to_csv(prepare(DATASET).frame, DATASET)
    labelled.add("r", (5.1, 3.5, 1.4, 0.3), "virginica")
    found = prepare(DATASET)
    assert to_csv(found.frame, DATASET) == before
    assert found.report.live_rows is None


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


def test_main_writes_the_data_set_says_so_in_one_line_and_imports_nothing_that_only_training_needs(
    tmp_path: Path,
) -> None:
    ended = run_main(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "iris_preprocessed.csv").read_text().count("\n") == 150
    (line,) = own_lines(ended)
    assert "149 rows from iris; 1 repeated row left out; wrote " in line
    heavy = (" zenml", " mlflow", " skops", " onnx", " onnxruntime", " matplotlib", " s3fs")
    assert not [line for line in ended.stderr.splitlines() if line.endswith(heavy)]


def test_main_writes_labelled_rows_and_exits_2_where_anyone_can_send_labels(
    labelled: LabelledLog, tmp_path: Path
) -> None:
    labelled.add("r", (5.1, 3.5, 1.4, 0.3), "virginica")
    file = str(write_config(tmp_path / "p.yaml", dataset={"feedback": {"use": True}}))
    ended = run_main(tmp_path, PIPELINE_CONFIG=file)
    assert ended.returncode == 0, ended.stderr
    assert "; 1 labelled live row (0.7% of all); wrote " in own_lines(ended)[0]
    *_, last = (tmp_path / "iris_preprocessed.csv").read_text().splitlines()
    assert last.startswith("5.1,3.5,1.4,0.3,virginica,2")
    ended = run_main(tmp_path, PIPELINE_CONFIG=file, INFERENCE_HOST="0.0.0.0")  # noqa: S104 - nothing is bound
    (line,) = own_lines(ended)
    assert (ended.returncode, "listens on 0.0.0.0 without WRITE_API_KEY" in line) == (2, True)


def test_main_reads_the_database_of_its_environment(tmp_path: Path) -> None:
    frame, url = prepare(DATASET).frame, f"sqlite:///{tmp_path / 'flowers.db'}"
    frame.to_sql("flowers", url, index=False)
    file = write_config(tmp_path / "p.yaml", dataset={"source": "sql", "query": "SELECT * FROM flowers"})
    ended = run_main(tmp_path, PIPELINE_CONFIG=str(file), DATASET_URL=url)
    assert ended.returncode == 0, ended.stderr
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "iris_preprocessed.csv")[list(frame.columns)], frame)


def test_main_exits_2_with_one_line_on_bad_data(tmp_path: Path) -> None:
    ended = run_main(tmp_path, PIPELINE_CONFIG=str(write_config(tmp_path / "p.yaml", dataset={"source": "no.csv"})))
    (line,) = own_lines(ended)
    assert (ended.returncode, "no.csv cannot be read" in line) == (2, True)


def test_main_exits_1_with_one_line_when_the_volume_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = run_main(tmp_path / "file", LOG_FORMAT="json")
    (line,) = own_lines(ended)
    assert (ended.returncode, "set DATA_DIR" in json.loads(line)["message"]) == (1, True)
