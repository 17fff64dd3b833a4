"""The container's health check, against the metrics that the monitor serves."""

import time

import pytest
from prometheus_client import CollectorRegistry

from src.services.monitor import healthcheck
from src.services.monitor.metrics import MonitorMetrics, serving_metrics
from tests.support.running import free_port


@pytest.mark.parametrize(
    ("age", "code", "why"), [(0, 0, ""), (30, 0, ""), (90, 1, "the loop last ran 90 s ago"), (None, 1, "s ago")]
)
def test_health_is_the_age_of_the_heartbeat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], age: float | None, code: int, why: str
) -> None:
    registry, port = CollectorRegistry(), free_port()
    metrics = MonitorMetrics(registry)
    if age is not None:
        metrics.beat(time.time() - age)
    monkeypatch.setenv("MONITOR_PORT", str(port))
    with serving_metrics(registry, host="127.0.0.1", port=port):
        assert healthcheck.main() == code
    assert why in capsys.readouterr().err


def test_absent_monitor_is_unhealthy_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MONITOR_PORT", str(free_port()))
    assert healthcheck.main() == 1
    assert capsys.readouterr().err.startswith("unhealthy: no metrics: ")


def test_metrics_without_a_heartbeat_count_as_stale() -> None:
    assert healthcheck.heartbeat("# HELP x\nother 1\n") == 0
