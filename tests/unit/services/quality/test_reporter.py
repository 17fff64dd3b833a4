"""The report of live quality, from real stores, with the shipped configuration's metrics."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from src.core.calibration import Calibration, calibration_file, write_calibration
from src.core.errors import ConfigError
from src.core.prediction_log import Sampling
from src.core.quality_report import REPORT_FILE, QualityReport, read_report
from src.core.quality_settings import QualitySettings
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.stores import label_store
from src.services.quality.metrics import QualityMetrics
from src.services.quality.reporter import QualityReporter
from src.services.quality.tasks import StoreTasks
from tests.support.quality_arrivals import CLASSES, write_feedback, write_segment

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def reported(settings: QualitySettings) -> QualityReport:
    report = read_report(settings.quality_dir / REPORT_FILE, "iris")
    assert report is not None
    return report


def fill(settings: QualitySettings) -> None:
    """Twelve rows, of which nine have a label, which is the predicted class for eight."""
    names = [(f"r{number}", CLASSES[number % 3]) for number in range(12)]
    write_segment(settings.quality_dir, names, NOW - 10 * MINUTE)
    labels = dict(names[:9]) | {"r0": "virginica"}
    write_feedback(settings.quality_dir, labels, NOW - 5 * MINUTE)
    tasks = StoreTasks(settings)
    tasks.take_in_rows(NOW)
    tasks.take_in_feedback(NOW)


def test_report_has_the_scores_of_the_configuration_and_is_shown(settings: QualitySettings) -> None:
    fill(settings)
    registry = CollectorRegistry()
    QualityReporter(settings, QualityMetrics(registry)).report(NOW, ["a problem"])
    report = reported(settings)
    assert (report.model, report.at, report.rows, report.problems) == ("iris", NOW, 12, ["a problem"])
    (version,) = report.versions
    day = {window.name: window for window in version.windows}["day"]
    assert (version.version, version.role, day.predicted, day.labelled) == ("1", "champion", 12, 9)
    assert set(day.scores) == {"f1_macro", "accuracy", "neg_log_loss"}
    assert day.scores["accuracy"].value == pytest.approx(8 / 9)
    names = {"model_version": "1", "role": "champion", "metric": "accuracy", "window": "day"}
    assert registry.get_sample_value("quality_score", names) == pytest.approx(8 / 9)
    assert registry.get_sample_value("quality_labels", {"fate": "matched"}) == 9
    newest = registry.get_sample_value("quality_last_label_timestamp_seconds")
    assert newest == (NOW - 5 * MINUTE).timestamp()
    assert not (settings.quality_dir / "spill").exists()


def test_report_has_an_estimate_and_the_newest_promotion(settings: QualitySettings) -> None:
    names = [(f"r{number}", CLASSES[number % 3]) for number in range(120)]
    write_segment(settings.quality_dir, names, NOW - 10 * MINUTE)
    StoreTasks(settings).take_in_rows(NOW)
    rollout = Rollout(model="iris", version="1", previous="0", started=NOW, until=NOW + MINUTE)
    Rollouts(settings.rollouts_dir).begin(rollout)
    curve = (1.0, 1.0, 0.0, 0.0)
    calibration = Calibration(rows=600, classes=tuple(CLASSES), scores={"accuracy": 0.8}, curves=[[curve] * 3] * 100)
    write_calibration(calibration_file(settings.calibration_dir, "iris", "1"), calibration)
    registry = CollectorRegistry()
    QualityReporter(settings, QualityMetrics(registry)).report(NOW, [])
    estimate = reported(settings).versions[0].estimate
    assert estimate is not None
    assert [(window.name, window.rows, set(window.scores)) for window in estimate.windows] == [
        (name, 120, {"accuracy"}) for name in ("newest", "day", "week")
    ]
    score = estimate.windows[1].scores["accuracy"]
    assert score.value == pytest.approx(0.8, abs=0.02)
    names_of = {"model_version": "1", "metric": "accuracy", "window": "day"}
    assert registry.get_sample_value("quality_estimate", names_of) == score.value
    assert registry.get_sample_value("quality_estimate_high", names_of) == score.high
    of_promotion = {"model_version": "1", "previous_version": "0"}
    assert registry.get_sample_value("quality_promotion_is_worse", of_promotion) == 0
    calibration_file(settings.calibration_dir, "iris", "1").unlink()
    QualityReporter(settings, QualityMetrics(registry := CollectorRegistry())).report(NOW, [])
    estimate = reported(settings).versions[0].estimate
    assert estimate is not None
    assert estimate.reason == "version 1 was registered without a calibration; train again"


def test_the_last_automatic_rollback_is_shown_also_after_a_later_promotion(settings: QualitySettings) -> None:
    rollouts = Rollouts(settings.rollouts_dir)
    for version, state in (("2", RolloutState.ROLLED_BACK), ("3", RolloutState.KEPT)):
        rollout = Rollout(model="iris", version=version, previous="1", started=NOW, until=NOW + MINUTE)
        rollouts.begin(rollout)
        rollouts.request(rollout.id)
        rollouts.end(rollout.id, state, now=NOW + MINUTE, by="quality service", reason="worse")
    registry = CollectorRegistry()
    QualityReporter(settings, QualityMetrics(registry)).report(NOW, [])
    versions = {"model_version": "2", "previous_version": "1"}
    at = registry.get_sample_value("quality_automatic_rollback_timestamp_seconds", versions)
    assert at == (NOW + MINUTE).timestamp()
    versions = {"model_version": "3", "previous_version": "1"}
    assert registry.get_sample_value("quality_promotion_is_worse", versions) == 0


@pytest.mark.parametrize(("age", "waiting"), [(59, 1), (61, 0)])
def test_label_waits_for_its_row_as_long_as_the_setting_says(settings: QualitySettings, age: int, waiting: int) -> None:
    settings = settings.model_copy(update={"feedback_patience_seconds": 60.0})
    write_feedback(settings.quality_dir, {"nobody": "setosa"}, NOW - timedelta(seconds=age))
    StoreTasks(settings).take_in_feedback(NOW)
    QualityReporter(settings, QualityMetrics(CollectorRegistry())).report(NOW, [])
    assert (reported(settings).labels.waiting, reported(settings).labels.unmatched) == (waiting, 1 - waiting)


def test_labels_of_rows_that_were_not_sampled_are_told_by_the_key(settings: QualitySettings) -> None:
    key = "0123456789abcdef"
    settings = settings.model_copy(update={"prediction_log_key": SecretStr(key)})
    file = write_segment(settings.quality_dir, [("r", "setosa")], NOW - MINUTE)
    file.write_text(file.read_text().replace('"rate": 1.0', '"rate": 0.5', 1))
    ids = [f"id-{number}" for number in range(40)]
    write_feedback(settings.quality_dir, dict.fromkeys(ids, "setosa"), NOW - timedelta(days=1))
    tasks = StoreTasks(settings)
    tasks.take_in_rows(NOW)
    tasks.take_in_feedback(NOW)
    QualityReporter(settings, QualityMetrics(CollectorRegistry())).report(NOW, [])
    sampled = sum(Sampling(key).would_sample(given, 0.5) for given in ids)
    assert (reported(settings).labels.unmatched, reported(settings).labels.not_sampled) == (sampled, 40 - sampled)


def test_report_of_a_former_process_is_shown_at_the_start(settings: QualitySettings) -> None:
    fill(settings)
    QualityReporter(settings, QualityMetrics(CollectorRegistry())).report(NOW, [])
    registry = CollectorRegistry()
    QualityReporter(settings, QualityMetrics(registry))
    assert registry.get_sample_value("quality_last_report_timestamp_seconds") == NOW.timestamp()
    other = CollectorRegistry()
    QualityReporter(settings.model_copy(update={"model_name": "wine"}), QualityMetrics(other))
    assert other.get_sample_value("quality_last_report_timestamp_seconds") is None


def test_start_survives_a_damaged_report_and_a_damaged_store(
    settings: QualitySettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(settings)
    QualityReporter(settings, QualityMetrics(CollectorRegistry())).report(NOW, [])
    (label_store(settings.quality_dir, "iris").folder / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        reporter = QualityReporter(settings, QualityMetrics(CollectorRegistry()))
        (settings.quality_dir / REPORT_FILE).write_text("{")
        QualityReporter(settings, QualityMetrics(CollectorRegistry()))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the former report is not shown"
    ] * 2
    with pytest.raises(ConfigError, match="is damaged"):
        reporter.report(NOW, [])


def test_wrong_configuration_is_an_error_and_the_former_report_stays(settings: QualitySettings, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = QualityMetrics(registry)
    QualityReporter(settings, metrics).report(NOW, [])
    with pytest.raises(ConfigError):
        QualityReporter(settings.model_copy(update={"pipeline_config": tmp_path / "absent"}), metrics).report(
            NOW + MINUTE, []
        )
    assert reported(settings).at == NOW
    assert registry.get_sample_value("quality_last_report_timestamp_seconds") == NOW.timestamp()


def test_interrupt_ends_a_join_of_another_thread(settings: QualitySettings) -> None:
    fill(settings)
    reporter = QualityReporter(settings, QualityMetrics(CollectorRegistry()))
    reporter.interrupt()  # nothing runs yet
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.001):
            reporter.interrupt()

    def report_again_and_again() -> None:
        for _ in range(1000):
            reporter.report(NOW, [])

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(duckdb.InterruptException):
            report_again_and_again()
    finally:
        over.set()
        thread.join()
