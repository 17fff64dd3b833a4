from datetime import UTC, datetime
from pathlib import Path

import pytest

from run_pipeline import hash_data
from src.core.retrain_record import State
from src.core.retrain_signal import RetrainSpool
from src.core.training_settings import TrainSettings
from src.pipeline.data_preprocess import prepare
from src.training.dataset_file import data_sha256
from tests.support.configuration import CONFIG_FILE
from tests.support.labelled_log import HOUR, LabelledLog, columns_of
from tests.support.running import free_port
from tests.support.training import config, last_line, run_training

pytestmark = pytest.mark.slow


@pytest.fixture
def nobody() -> str:
    """A URL at which nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def claim_one(folder: Path) -> tuple[RetrainSpool, str]:
    spool = RetrainSpool(folder / "retrain").create()
    request_id = spool.submit("api").id
    spool.claim()
    return spool, request_id


def test_unreachable_mlflow_is_one_clear_line_and_keeps_the_request(tmp_path: Path, nobody: str) -> None:
    spool, request_id = claim_one(tmp_path)
    ended = run_training(tmp_path, nobody, SERVER_PATIENCE_SECONDS="0")
    assert ended.returncode == 1
    assert f"MLflow at {nobody} cannot be reached" in last_line(ended)
    assert len(ended.stderr.splitlines()) == 2  # the other one says which servers are used
    record = spool.get(request_id)
    assert record is not None
    assert (record.result, (record.last_error or "").startswith("MLflow at")) == (None, True)


def test_manual_run_does_not_wait_for_a_server(tmp_path: Path, nobody: str) -> None:
    ended = run_training(tmp_path, nobody, SERVER_PATIENCE_SECONDS="600")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 2


def test_misspelt_key_ends_with_2_before_any_server_is_asked(tmp_path: Path, nobody: str) -> None:
    spool, request_id = claim_one(tmp_path)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG_FILE.read_text().replace("holdout_fraction", "holdout_fractoin"))
    ended = run_training(tmp_path, nobody, PIPELINE_CONFIG=str(wrong))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "wrong.yaml: unknown key 'split.holdout_fractoin'; did you mean 'holdout_fraction'?" in line
    record = spool.get(request_id)
    assert record is not None
    assert record.state is State.FAILED


def test_wrong_environment_ends_with_2_and_names_the_variable_not_its_value(tmp_path: Path, nobody: str) -> None:
    ended = run_training(tmp_path, nobody, ZENML_STORE_URL="ftp://me:s3cret@zenml", ZENML_STORE_API_KEY="ZENKEY_x")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "ZENML_STORE_URL: URL scheme should be 'http' or 'https'" in line
    assert "s3cret" not in line
    assert "ZENKEY_x" not in line


def test_scheduled_run_reads_the_configured_data_before_it_decides(tmp_path: Path) -> None:
    data = tmp_path / "flowers.csv"
    iris = prepare(config().dataset).frame
    iris.to_csv(data, index=False)
    dataset = config(dataset={"source": str(data)}).dataset
    settings = TrainSettings(_env_file=None)
    assert hash_data(settings, dataset) == hash_data(settings, config().dataset) == data_sha256(iris, dataset)
    iris.iloc[:-1].to_csv(data, index=False)
    assert hash_data(settings, dataset) == data_sha256(iris.iloc[:-1], dataset)


def test_new_labels_change_the_data_so_that_a_scheduled_run_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    dataset = config(dataset={"feedback": {"use": True}}).dataset
    log = LabelledLog(tmp_path / "quality", columns_of(dataset.feature_schema), now=datetime.now(UTC))
    settings = TrainSettings(_env_file=None)
    log.add("r", (5.1, 3.5, 1.4, 0.3), None)
    first = hash_data(settings, dataset)
    assert first == hash_data(settings, dataset)
    log.label("virginica", request_id="r")
    second = hash_data(settings, dataset)
    log.label("versicolor", request_id="r", ago=-HOUR)
    assert len({first, second, hash_data(settings, dataset)}) == 3


def test_second_training_ends_with_75(tmp_path: Path, nobody: str) -> None:
    with RetrainSpool(tmp_path / "retrain").create().lock():
        ended = run_training(tmp_path, nobody, SERVER_PATIENCE_SECONDS="0")
    assert ended.returncode == 75
    assert "a training or a backup is running" in last_line(ended)
