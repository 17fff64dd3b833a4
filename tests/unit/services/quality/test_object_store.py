"""The quality service's work with a bucket (``PREDICTION_LOG_STORE``) of a real S3 server."""

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from src.core.quality_report import REPORT_FILE, QualityReport, read_report
from src.core.quality_settings import QualitySettings
from src.core.retrain_signal import RetrainSpool
from src.core.training_baseline import TrainingBaseline, write_baseline
from src.quality import bucket as bucket_module
from src.quality.bucket import open_bucket
from src.quality.stores import stores_of
from src.services.quality import erase
from src.services.quality.amounts import AmountRequests
from src.services.quality.metrics import QualityMetrics
from src.services.quality.quality_service import QualityService
from src.services.quality.reporter import QualityReporter
from src.services.quality.tasks import StoreTasks
from tests.support.configuration import CONFIG_FILE
from tests.support.object_store import object_keys, s3_server, use_s3
from tests.support.quality_arrivals import CLASSES, write_feedback, write_segment
from tests.support.running import free_port

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def stored(settings: QualitySettings, store_address: str) -> QualitySettings:
    """The settings with a bucket instead of the folder."""
    return settings.model_copy(update={"prediction_log_store": store_address})


def arrive(settings: QualitySettings, first: int = 0, model: str = "iris") -> None:
    """Three rows, and the right labels of two of them."""
    names = [(f"r{first + number}", CLASSES[number]) for number in range(3)]
    write_segment(settings.quality_dir, names, NOW - 10 * MINUTE, model=model)
    write_feedback(settings.quality_dir, dict(names[:2]), NOW - 5 * MINUTE)


def service(settings: QualitySettings) -> QualityService:
    metrics = QualityMetrics(CollectorRegistry())
    return QualityService(StoreTasks(settings).all(), QualityReporter(settings, metrics), metrics, 60.0, lambda: NOW)


def counts(settings: QualitySettings) -> tuple[int, int]:
    stores = stores_of(settings.quality_dir, "iris", open_bucket(settings.prediction_log_store))
    return stores.log.manifest.rows, stores.labels.manifest.rows


def reported(settings: QualitySettings) -> QualityReport:
    report = read_report(settings.quality_dir / REPORT_FILE, "iris")
    assert report is not None
    return report


def waiting(settings: QualitySettings) -> list[int]:
    return [len(list((settings.quality_dir / name).glob("*.ndjson"))) for name in ("segments", "feedback")]


def test_rows_and_labels_are_stored_joined_compacted_and_expire(stored: QualitySettings, store_address: str) -> None:
    for first in (0, 3):
        arrive(stored, first)
        service(stored).step()
    report = reported(stored)
    day = {window.name: window for window in report.versions[0].windows}["day"]
    assert (report.rows, day.predicted, day.labelled, report.problems) == (6, 6, 4, [])
    assert day.scores["accuracy"].value == 1.0
    assert waiting(stored) == [0, 0]
    assert not list(stored.quality_dir.rglob("manifest.json"))
    files = [key for key in object_keys(store_address) if key.endswith(".parquet")]
    assert [key.rpartition("/")[0] for key in files] == ["labels/iris/day=2026-11-29", "log/iris/day=2026-11-29"]
    StoreTasks(stored).expire(NOW + timedelta(days=91))
    assert counts(stored) == (0, 0)
    assert not [key for key in object_keys(store_address) if key.endswith(".parquet")]


def test_a_new_volume_has_the_rows_of_the_bucket(stored: QualitySettings) -> None:
    arrive(stored)
    service(stored).step()
    before = reported(stored)
    shutil.rmtree(stored.quality_dir)
    service(stored).step()
    assert reported(stored) == before


def test_rows_of_former_models_expire_on_a_new_volume(stored: QualitySettings, store_address: str) -> None:
    arrive(stored, model="former 2.0%")
    StoreTasks(stored).take_in_rows(NOW)
    shutil.rmtree(stored.quality_dir)
    StoreTasks(stored).expire(NOW + timedelta(days=91))
    assert not [key for key in object_keys(store_address) if key.endswith(".parquet")]


def test_while_the_object_store_is_away_rows_wait_and_it_is_logged_once(
    settings: QualitySettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 1)
    caplog.set_level(logging.INFO)
    port = free_port()
    with s3_server(port) as url:
        address = f"s3://{use_s3(url, monkeypatch)}/quality"
        stored = settings.model_copy(update={"prediction_log_store": address})
        running = service(stored)
        arrive(stored)
        running.step()
        assert counts(stored) == (3, 2)
    arrive(stored, 3)
    for _ in range(2):
        running.step()
    assert waiting(stored) == [1, 1]
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    expected = f"{address} cannot be used (NETWORK_CONNECTION); check"
    for name in ("taking in predictions", "taking in feedback", "deleting old rows", "computing the live quality"):
        assert sum(message.startswith(f"{name} failed: {expected}") for message in errors) == 1
    assert len(errors) == len(set(errors))
    with s3_server(port):
        running.step()
        assert counts(stored) == (6, 4)
    assert waiting(stored) == [0, 0]
    assert "taking in predictions works again" in caplog.messages
    assert "s3cret" not in caplog.text
    assert reported(stored).rows == 6


def test_rows_are_erased_also_from_a_new_volume(
    stored: QualitySettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("DATA_DIR", stored.data_dir), ("MODEL_NAME", "iris"), ("PIPELINE_CONFIG", CONFIG_FILE)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PREDICTION_LOG_STORE", str(stored.prediction_log_store))
    arrive(stored)
    service(stored).step()
    shutil.rmtree(stored.quality_dir)
    assert erase.main(["r1"]) == 0
    assert capsys.readouterr().out == "erased 1 row and 1 label; models: iris\n"
    assert counts(stored) == (2, 1)
    copies = [path for path in stored.quality_dir.rglob("*.parquet") if b"r1" in path.read_bytes()]
    assert copies == []


def test_erase_without_the_object_store_is_an_error(
    settings: QualitySettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 1)
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("PREDICTION_LOG_STORE", "s3://bucket/quality")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert erase.main(["r1"]) == 1
    assert capsys.readouterr().err.startswith("error: s3://bucket/quality cannot be used (NETWORK_CONNECTION); check")


def test_labels_in_a_bucket_request_a_training(stored: QualitySettings) -> None:
    arrive(stored)
    service(stored).step()
    spool = RetrainSpool(stored.retrain_dir).create()
    baseline = TrainingBaseline(model="iris", version="7", started_at=NOW - 6 * MINUTE, rows={})
    write_baseline(spool.root, baseline)
    requests = AmountRequests(stored.model_copy(update={"retrain_min_new_labels": 2}), spool)
    requests.consider_labels(NOW)
    assert [record.cause for record in spool.recent(10)] == ["2 new labels since version 7"]


def test_a_wrong_bucket_is_a_problem_of_the_report_and_keeps_the_rows(stored: QualitySettings, tmp_path: Path) -> None:
    wrong = stored.model_copy(update={"prediction_log_store": "s3://no-such-bucket"})
    arrive(wrong)
    service(wrong).step()
    assert waiting(wrong) == [1, 1]
    assert not (tmp_path / "quality" / REPORT_FILE).exists()
