"""A monitor whose trainer is a fake and whose clock stands still until a test moves it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.services.monitor.metrics import MonitorMetrics
from src.services.monitor.monitor_service import MonitorService
from src.services.monitor.retrain_policy import RetrainPolicy
from src.services.monitor.trainer import StartOutcome

POLICY = RetrainPolicy(max_attempts=3, backoff_seconds=2, backoff_max_seconds=5, poll_seconds=1)


class FakeClock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeTrainer:
    """Runs until the test ends it; notes what lay in the spool when it was started."""

    def __init__(self, spool: RetrainSpool, clock: FakeClock) -> None:
        self._spool = spool
        self._clock = clock
        self.answer = StartOutcome.STARTED
        self.running = False
        self.code: int | None = None
        self.asked = 0
        self.batches: list[list[str]] = []
        self.before_start: Callable[[], None] = lambda: None

    def start(self) -> StartOutcome:
        self.asked += 1
        self.before_start()
        if self.answer is StartOutcome.STARTED:
            with self._spool.lock():  # raises if the monitor has not let go of it
                self.batches.append([record.id for record in self._spool.claimed()])
            self.running = True
        return self.answer

    def is_running(self) -> bool:
        return self.running

    def exit_code(self) -> int | None:
        return self.code

    def close(self) -> bool:
        was_running, self.running = self.running, False
        return was_running

    def succeed(self, outcome: Outcome = Outcome.PROMOTED, ids: list[str] | None = None) -> None:
        """End the run as ``run_pipeline.py`` does: acknowledge what it read at its start."""
        result = RetrainResult(
            outcome=outcome,
            reason="good enough",
            model_version="7",
            challenger={"accuracy": 0.9, "f1_macro": 0.8, "neg_log_loss": -0.3},
            champion={"accuracy": 0.7, "f1_macro": 0.6, "neg_log_loss": -0.5},
            finished_at=self._clock(),
        )
        with self._spool.lock():
            for record in self._spool.claimed():
                if record.id in (self.batches[-1] if ids is None else ids):
                    self._spool.finish(record, result)
        self.running, self.code = False, 0

    def die(self, code: int | None = 1) -> None:
        self.running, self.code = False, code


class Bench:
    """One spool and the monitors over it, which may come and go."""

    def __init__(self, root: Path) -> None:
        self.spool = RetrainSpool(root).create()
        self.clock = FakeClock()
        self.trainer = FakeTrainer(self.spool, self.clock)
        self.restart()

    def restart(self) -> None:
        """The monitor dies; another one starts over the same spool."""
        self.registry = CollectorRegistry()
        metrics = MonitorMetrics(self.registry)
        self.service = MonitorService(self.spool, self.trainer, metrics, POLICY, self.clock)

    def submit(self, number: int = 1) -> list[str]:
        return [self.spool.submit("api").id for _ in range(number)]

    def get(self, request_id: str) -> RetrainRecord:
        record = self.spool.get(request_id)
        assert record is not None
        return record

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def state(self) -> str:
        """The one state whose gauge is 1."""
        states = [s for s in ("idle", "training", "backoff") if self.value("monitor_state", state=s) == 1]
        assert len(states) == 1
        return states[0]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "retrain")
