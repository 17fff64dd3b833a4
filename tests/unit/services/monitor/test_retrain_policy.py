"""The pauses between attempts."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from src.core.monitor_settings import MonitorSettings
from src.core.retrain_record import RetrainRecord, new_id
from src.services.monitor.retrain_policy import RetrainPolicy

POLICY = RetrainPolicy(max_attempts=3, backoff_seconds=2, backoff_max_seconds=5, poll_seconds=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_from_settings_takes_the_environments_numbers() -> None:
    settings = MonitorSettings(
        _env_file=None,
        retrain_max_attempts=4,
        retrain_backoff_seconds=1.5,
        retrain_backoff_max_seconds=60,
        monitor_poll_seconds=0.5,
    )
    assert RetrainPolicy.from_settings(settings) == RetrainPolicy(4, 1.5, 60, 0.5)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 2), (2, 4), (3, 5), (10_000, 5)])
def test_backoff_doubles_up_to_its_cap(attempts: int, seconds: float) -> None:
    assert POLICY.backoff(attempts) == seconds


def test_backoff_of_many_attempts_without_a_cap_stays_finite() -> None:
    policy = RetrainPolicy(max_attempts=9, backoff_seconds=1, backoff_max_seconds=1e300, poll_seconds=1)
    assert math.isfinite(policy.backoff(100_000))


@pytest.mark.parametrize(
    ("attempts", "ago", "left"),
    [(0, 0, 0), (1, 0, 2), (1, 0.5, 1.5), (1, 2, 0), (1, 99, 0), (2, 1, 3), (1, -1, 0), (1, -1e8, 0)],
)
def test_pause_left_counts_from_the_attempts_start(attempts: int, ago: float, left: float) -> None:
    record = RetrainRecord(
        id=new_id(),
        source="api",
        submitted_at=NOW,
        attempts=attempts,
        started_at=NOW - timedelta(seconds=ago),
    )
    assert POLICY.pause_left(record, NOW) == left


@pytest.mark.parametrize(
    ("failures", "ago", "left"), [(0, 0, 0), (1, 0, 2), (1, 1.5, 0.5), (2, 4, 0), (9, 1, 4), (1, -5, 0)]
)
def test_start_pause_left_grows_with_the_failures_up_to_the_cap(failures: int, ago: float, left: float) -> None:
    assert POLICY.start_pause_left(failures, NOW - timedelta(seconds=ago), NOW) == left


def test_start_pause_left_stays_short_where_attempts_wait_long() -> None:
    policy = RetrainPolicy(max_attempts=3, backoff_seconds=2, backoff_max_seconds=300, poll_seconds=1)
    assert policy.start_pause_left(20, NOW, NOW) == 15
    assert policy.start_pause_left(0, None, NOW) == 0


def test_pause_left_is_nothing_without_a_start() -> None:
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW, attempts=2)
    assert POLICY.pause_left(record, NOW) == 0
