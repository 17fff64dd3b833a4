"""The monitor's metrics, by value."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Step, new_id
from src.services.monitor.metrics import MonitorMetrics, MonitorState

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def values(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample but the creation times, as Prometheus writes it."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def test_every_value_exists_from_the_start_at_0_or_unknown() -> None:
    registry = CollectorRegistry()
    MonitorMetrics(registry)
    signals = [
        f"monitor_signals_total {source} {outcome}"
        for source in ("api", "alert", "schedule", "bootstrap")
        for outcome in ("claimed", "promoted", "passed", "rejected", "skipped", "failed")
    ]
    zeros = {
        *signals,
        "monitor_signals_total unknown poison",
        *(f"monitor_runs_total {outcome}" for outcome in ("promoted", "passed", "rejected", "skipped", "failed")),
        "monitor_attempts_total",
        *(
            f"monitor_trainer_exits_total {kind}"
            for kind in ("ok", "error", "busy", "out_of_memory", "killed", "unknown")
        ),
        *(f"monitor_trainer_starts_total {x}" for x in ("started", "already_running", "missing", "failed")),
        "monitor_state training",
        "monitor_state backoff",
        "monitor_heartbeat_timestamp_seconds",
        "monitor_last_promoted_timestamp_seconds",
        "monitor_next_scheduled_timestamp_seconds",
        "monitor_audit_failures_total",
        *(f"monitor_queue {folder}" for folder in ("new", "cur", "bad")),
    }
    unknown = {
        "monitor_last_run_duration_seconds",
        *(
            f"monitor_last_run_step_duration_seconds {step}"
            for step in ("preprocess", "split", "train", "evaluate_on_holdout", "promote")
        ),
    }
    seen = values(registry)
    assert {name for name, value in seen.items() if math.isnan(value)} == unknown
    assert {name: seen[name] for name in seen.keys() - unknown} == {
        **dict.fromkeys(zeros, 0.0),
        "monitor_state idle": 1.0,
    }


def test_state_is_one_hot() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    for state in MonitorState:
        metrics.show_state(state)
        assert {s: registry.get_sample_value("monitor_state", {"state": s}) for s in MonitorState} == {
            other: float(other is state) for other in MonitorState
        }


def test_first_run_shows_no_champions_score() -> None:
    registry = CollectorRegistry()
    result = RetrainResult(
        outcome=Outcome.PROMOTED,
        reason="first",
        challenger={"accuracy": 1, "f1_macro": 0.9, "neg_log_loss": -0.1},
        finished_at=NOW + timedelta(seconds=3),
    )
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW, attempts=1, started_at=NOW, result=result)
    MonitorMetrics(registry).count_run([record])
    seen = values(registry)
    assert seen["monitor_last_run_score challenger f1_macro"] == 0.9
    assert seen["monitor_last_run_score challenger neg_log_loss"] == -0.1
    assert not [name for name in seen if name.startswith("monitor_last_run_score champion")]
    assert seen["monitor_last_run_duration_seconds"] == 3
    assert seen["monitor_runs_total promoted"] == 1
    assert seen["monitor_last_promoted_timestamp_seconds"] == result.finished_at.timestamp()


def test_last_run_shows_its_steps_and_nothing_of_the_run_before() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    result = RetrainResult(
        outcome=Outcome.PROMOTED, reason="r", step_seconds={Step.TRAIN: 2.5, Step.SPLIT: 0.25}, finished_at=NOW
    )
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW, attempts=1, started_at=NOW, result=result)
    metrics.count_run([record])
    name = "monitor_last_run_step_duration_seconds"
    seen = values(registry)
    assert (seen[f"{name} train"], seen[f"{name} split"]) == (2.5, 0.25)
    assert math.isnan(seen[f"{name} promote"])
    failed = RetrainResult(outcome=Outcome.FAILED, reason="r", finished_at=NOW)
    metrics.count_run([record.model_copy(update={"result": failed})])
    assert all(math.isnan(value) for sample, value in values(registry).items() if sample.startswith(name))


def test_run_that_died_without_a_result_shows_nothing_of_the_run_before() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    scores = {"accuracy": 1, "f1_macro": 0.9, "neg_log_loss": -0.1}
    result = RetrainResult(
        outcome=Outcome.REJECTED,
        reason="r",
        challenger=scores,
        champion=scores,
        step_seconds=dict.fromkeys(Step, 1.0),
        finished_at=NOW,
    )
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW, attempts=1, started_at=NOW, result=result)
    for died in ([], [record.model_copy(update={"result": None})]):
        metrics.count_run([record])
        assert values(registry)["monitor_last_run_score champion f1_macro"] == 0.9
        metrics.count_run(died)
        shown = {name: value for name, value in values(registry).items() if name.startswith("monitor_last_run_")}
        assert all(math.isnan(value) for value in shown.values())
        assert not [name for name in shown if name.startswith("monitor_last_run_score")]
    assert values(registry)["monitor_runs_total failed"] == 2


def test_skipped_run_is_counted_and_leaves_the_figures_of_the_last_training() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    trained = RetrainResult(
        outcome=Outcome.REJECTED,
        reason="r",
        challenger={"r2": 0.5},
        step_seconds={Step.TRAIN: 2.5},
        finished_at=NOW + timedelta(seconds=3),
    )
    record = RetrainRecord(id=new_id(), source="schedule", submitted_at=NOW, attempts=1, started_at=NOW, result=trained)
    metrics.count_run([record])
    before = values(registry)
    skipped = RetrainResult(outcome=Outcome.SKIPPED, reason="nothing new", finished_at=NOW + timedelta(seconds=9))
    metrics.count_end(record, skipped)
    metrics.count_run([record.model_copy(update={"result": skipped})])
    changed = {"monitor_runs_total skipped": 1.0, "monitor_signals_total schedule skipped": 1.0}
    assert values(registry) == pytest.approx({**before, **changed}, nan_ok=True)
