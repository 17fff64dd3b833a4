"""The container's health check, against the metrics that the monitor serves."""

import time

import pytest
from prometheus_client import CollectorRegistry

from src.core.metrics_server import serving_metrics
from src.services.monitor import healthcheck
from src.services.monitor.metrics import MonitorMetrics
from tests.support.running import free_port


@pytest.mark.parametrize(("age", "code"), [(30, 0), (90, 1)])
def test_monitor_is_healthy_while_its_heartbeat_is_recent(
    monkeypatch: pytest.MonkeyPatch, age: float, code: int
) -> None:
    registry, port = CollectorRegistry(), free_port()
    MonitorMetrics(registry).beat(time.time() - age)
    monkeypatch.setenv("MONITOR_PORT", str(port))
    with serving_metrics(registry, host="127.0.0.1", port=port, variable="MONITOR_PORT"):
        assert healthcheck.main() == code
