"""The monitor's Prometheus metrics: each series exists from the start, at 0, or NaN if unknown."""

import math
from datetime import datetime
from enum import StrEnum
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, Source, Step
from src.services.monitor.exits import ExitKind
from src.services.monitor.trainer import StartOutcome

CLAIMED = "claimed"
POISON = "poison"
UNKNOWN_SOURCE = "unknown"


class MonitorState(StrEnum):
    """The state of the monitor."""

    IDLE = "idle"
    TRAINING = "training"
    BACKOFF = "backoff"


class MonitorMetrics:
    """Counters and gauges of one monitor process.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._signals = Counter(
            "monitor_signals", "Retrain signals by outcome", ["source", "outcome"], registry=registry
        )
        self._runs = Counter(
            "monitor_runs",
            "Training runs that ended, by outcome; skipped: nothing new to learn from",
            ["outcome"],
            registry=registry,
        )
        self._attempts = Counter("monitor_attempts", "Training attempts, counted per request", registry=registry)
        self._starts = Counter(
            "monitor_trainer_starts", "Attempts to start a training run", ["outcome"], registry=registry
        )
        self._exits = Counter(
            "monitor_trainer_exits",
            "Training runs that ended, by what their exit code means",
            ["kind"],
            registry=registry,
        )
        self._state = Gauge("monitor_state", "1 for the monitor's current state", ["state"], registry=registry)
        self._heartbeat = Gauge(
            "monitor_heartbeat_timestamp_seconds", "When the monitor's loop last ran", registry=registry
        )
        self._queue = Gauge("monitor_queue", "Signals in each folder of the spool", ["folder"], registry=registry)
        self._scheduled = Gauge(
            "monitor_next_scheduled_timestamp_seconds",
            "Next time at which RETRAIN_SCHEDULE requests a training; 0 without one",
            registry=registry,
        )
        self._duration = Gauge(
            "monitor_last_run_duration_seconds",
            "Duration of the last training run that was not skipped; NaN if it failed, or there is none",
            registry=registry,
        )
        self._step = Gauge(
            "monitor_last_run_step_duration_seconds",
            "Duration of each step of the last training run; NaN if it failed, or there is none",
            ["step"],
            registry=registry,
        )
        self._score = Gauge(
            "monitor_last_run_score",
            "Scores of the last training run by scikit-learn's metric names, greater is better; none if it failed",
            ["model", "metric"],
            registry=registry,
        )
        self._promoted_at = Gauge(
            "monitor_last_promoted_timestamp_seconds", "When a training run last promoted its model", registry=registry
        )
        self.audit_failed = Counter(
            "monitor_audit_failures", "Times that the audit log could not be written", registry=registry
        ).inc
        for source in get_args(Source):
            for outcome in (CLAIMED, *Outcome):
                self._signals.labels(source, outcome)
        self._signals.labels(UNKNOWN_SOURCE, POISON)
        for outcome in Outcome:
            self._runs.labels(outcome)
        for start in StartOutcome:
            self._starts.labels(start)
        for kind in ExitKind:
            self._exits.labels(kind)
        for folder in ("new", "cur", "bad"):
            self._queue.labels(folder)
        self._show_run(None, None)
        self.show_state(MonitorState.IDLE)

    def beat(self, timestamp: float) -> None:
        """Record a heartbeat; ``timestamp`` in seconds since the epoch."""
        self._heartbeat.set(timestamp)

    def show_state(self, state: MonitorState) -> None:
        """Set this state to 1 and the others to 0."""
        for other in MonitorState:
            self._state.labels(other).set(other is state)

    def show_queue(self, depths: dict[str, int]) -> None:
        """Set the number of signals per folder."""
        for folder, depth in depths.items():
            self._queue.labels(folder).set(depth)

    def show_scheduled(self, at: datetime | None) -> None:
        """Set the next scheduled time; None without a schedule."""
        self._scheduled.set(0.0 if at is None else at.timestamp())

    def count_claimed(self, record: RetrainRecord) -> None:
        """A waiting signal was claimed."""
        self._signals.labels(record.source, CLAIMED).inc()

    def count_poison(self, number: int) -> None:
        """So many unreadable signals were quarantined."""
        self._signals.labels(UNKNOWN_SOURCE, POISON).inc(number)

    def count_attempts(self, number: int) -> None:
        """So many requests got one more training attempt."""
        self._attempts.inc(number)

    def count_start(self, outcome: StartOutcome) -> None:
        """A training run was requested."""
        self._starts.labels(outcome).inc()

    def count_end(self, record: RetrainRecord, result: RetrainResult) -> None:
        """A request ended."""
        self._signals.labels(record.source, result.outcome).inc()

    def count_exit(self, kind: ExitKind) -> None:
        """A training run ended with an exit code of this kind."""
        self._exits.labels(kind).inc()

    def count_run(self, ended: list[RetrainRecord]) -> None:
        """A training run ended, with the requests that it acknowledged; a run that acknowledged none failed.

        A skipped run trained nothing, so the figures of the last training are kept.
        """
        if not ended or ended[0].result is None:
            self._runs.labels(Outcome.FAILED).inc()
            self._show_run(None, None)
            return
        record, result = ended[0], ended[0].result
        self._runs.labels(result.outcome).inc()
        if result.outcome is Outcome.PROMOTED:
            self._promoted_at.set(result.finished_at.timestamp())
        if result.outcome is not Outcome.SKIPPED:
            self._show_run(record.started_at, result)

    def _show_run(self, started_at: datetime | None, result: RetrainResult | None) -> None:
        """Set the last run's figures; NaN, or no series, for figures that it does not have."""
        seconds = math.nan
        if result is not None and started_at is not None:
            seconds = max(0.0, (result.finished_at - started_at).total_seconds())
        self._duration.set(seconds)
        steps = (result.step_seconds if result is not None else None) or {}
        for step in Step:
            # A run that failed has no steps.
            self._step.labels(step).set(steps.get(step, math.nan))
        self._score.clear()
        for model in ("challenger", "champion"):
            # A run without a champion to compare with has no such scores.
            for metric, value in (getattr(result, model, None) or {}).items():
                self._score.labels(model, metric).set(value)
