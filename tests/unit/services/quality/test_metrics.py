"""The quality service's metrics, by value."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from src.core.quality_report import (
    Estimate,
    EstimatedWindow,
    LabelCounts,
    QualityReport,
    Score,
    VersionQuality,
    Window,
)
from src.core.rollout_record import Rollout, RolloutState
from src.services.quality.metrics import QualityMetrics

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WINDOW = Window(
    name="day",
    predicted=50,
    labelled=20,
    delay_seconds=90.0,
    scores={"accuracy": Score(value=0.9, low=0.8, high=0.95), "r2": Score(value=0.5)},
)
EMPTY = Window(name="week", predicted=7, labelled=0)


def version(name: str, *windows: Window) -> VersionQuality:
    return VersionQuality(version=name, role="champion", first=NOW, last=NOW, windows=list(windows))


def report(*versions: VersionQuality) -> QualityReport:
    labels = LabelCounts(matched=5, waiting=4, not_sampled=3, unmatched=2)
    at = NOW + timedelta(seconds=30)
    return QualityReport(
        model="iris", at=at, versions=list(versions), labels=labels, rows=100, log_bytes=2000, problems=["one"]
    )


def values(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> QualityMetrics:
    return QualityMetrics(registry)


@pytest.mark.usefixtures("metrics")
def test_service_that_writes_no_report_has_a_heartbeat_and_counts_alone(registry: CollectorRegistry) -> None:
    assert values(registry) == {"quality_heartbeat_timestamp_seconds": 0, "quality_audit_failures_total": 0}


def test_start_counts_as_the_last_report_until_there_is_one(
    registry: CollectorRegistry, metrics: QualityMetrics
) -> None:
    metrics.beat(NOW + timedelta(seconds=1))
    metrics.expect_reports(NOW)
    assert values(registry) == {
        "quality_heartbeat_timestamp_seconds": NOW.timestamp() + 1,
        "quality_audit_failures_total": 0,
        "quality_last_report_timestamp_seconds": NOW.timestamp(),
    }
    metrics.show(report(), None)
    assert values(registry)["quality_last_report_timestamp_seconds"] == NOW.timestamp() + 30


def test_report_is_shown_and_what_is_unknown_has_no_series(
    registry: CollectorRegistry, metrics: QualityMetrics
) -> None:
    metrics.show(report(version("3", WINDOW, EMPTY)), NOW - timedelta(hours=1))
    metrics.audit_failed()
    assert values(registry) == {
        "quality_heartbeat_timestamp_seconds": 0,
        "quality_audit_failures_total": 1,
        "quality_last_report_timestamp_seconds": NOW.timestamp() + 30,
        "quality_last_label_timestamp_seconds": NOW.timestamp() - 3600,
        "quality_log_rows": 100,
        "quality_log_bytes": 2000,
        "quality_problems": 1,
        "quality_labels matched": 5,
        "quality_labels waiting": 4,
        "quality_labels not_sampled": 3,
        "quality_labels unmatched": 2,
        "quality_predicted_rows 3 champion day": 50,
        "quality_predicted_rows 3 champion week": 7,
        "quality_labelled_rows 3 champion day": 20,
        "quality_labelled_rows 3 champion week": 0,
        "quality_label_delay_seconds 3 champion day": 90,
        "quality_score 3 champion accuracy day": 0.9,
        "quality_score 3 champion r2 day": 0.5,
        "quality_score_low 3 champion accuracy day": 0.8,
        "quality_score_high 3 champion accuracy day": 0.95,
    }


def test_labels_are_named_as_queries_name_them(registry: CollectorRegistry, metrics: QualityMetrics) -> None:
    metrics.show(report(version("3", WINDOW)), None)
    text = generate_latest(registry).decode()
    assert 'quality_score{metric="accuracy",model_version="3",role="champion",window="day"} 0.9' in text
    assert 'quality_labelled_rows{model_version="3",role="champion",window="day"} 20.0' in text
    assert 'quality_labels{fate="matched"} 5.0' in text


def test_estimates_and_the_newest_promotion_are_shown(registry: CollectorRegistry, metrics: QualityMetrics) -> None:
    scores = {"accuracy": Score(value=0.8, low=0.7, high=0.9)}
    estimate = Estimate(windows=[EstimatedWindow(name="day", rows=300, scores=scores)])
    served = version("3", WINDOW).model_copy(update={"estimate": estimate})
    rollout = Rollout(model="iris", version="3", previous="2", started=NOW, until=NOW)
    metrics.show(report(served, version("2", WINDOW)), None, rollout)
    seen = values(registry)
    assert {name: value for name, value in seen.items() if "estimate" in name or "promotion" in name} == {
        "quality_estimate 3 accuracy day": 0.8,
        "quality_estimate_low 3 accuracy day": 0.7,
        "quality_estimate_high 3 accuracy day": 0.9,
        "quality_promotion_is_worse 3 2": 0,
    }
    text = generate_latest(registry).decode()
    assert 'quality_estimate_high{metric="accuracy",model_version="3",window="day"} 0.9' in text
    metrics.show(report(), None, rollout.model_copy(update={"is_worse": True}))
    assert values(registry)["quality_promotion_is_worse 3 2"] == 1
    assert "quality_estimate 3 accuracy day" not in values(registry)


def test_the_last_rollback_is_shown_if_it_was_automatic(registry: CollectorRegistry, metrics: QualityMetrics) -> None:
    def rollbacks(rollout: Rollout | None) -> dict[str, float]:
        metrics.show(report(), None, None, rollout)
        return {name: value for name, value in values(registry).items() if "rollback" in name}

    watched = Rollout(model="iris", version="3", previous="2", started=NOW, until=NOW)
    ended = watched.ended_as(RolloutState.ROLLED_BACK, NOW, "quality service", "worse")
    automatic = ended.model_copy(update={"requested": True})
    name = "quality_automatic_rollback_timestamp_seconds 3 2"
    assert rollbacks(automatic) == {name: NOW.timestamp()}
    text = generate_latest(registry).decode()
    assert 'quality_automatic_rollback_timestamp_seconds{model_version="3",previous_version="2"}' in text
    assert rollbacks(ended) == rollbacks(None) == {}


def test_version_that_leaves_the_report_loses_its_series(registry: CollectorRegistry, metrics: QualityMetrics) -> None:
    metrics.show(report(version("3", WINDOW), version("2", WINDOW)), NOW)
    assert values(registry)["quality_score 2 champion accuracy day"] == 0.9
    metrics.show(report(version("3", WINDOW)), None)
    seen = values(registry)
    assert "quality_score 3 champion accuracy day" in seen
    assert not [name for name in seen if " 2 champion " in name]
    assert "quality_last_label_timestamp_seconds" not in seen
