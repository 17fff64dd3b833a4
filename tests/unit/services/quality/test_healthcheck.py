"""The container's health check, against the metrics that the quality service serves."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from src.core.metrics_server import serving_metrics
from src.services.quality import healthcheck
from src.services.quality.metrics import QualityMetrics
from tests.support.running import free_port


@pytest.mark.parametrize(("age", "code"), [(590, 0), (620, 1)])
def test_service_is_healthy_while_its_last_step_is_recent(
    monkeypatch: pytest.MonkeyPatch, age: float, code: int
) -> None:
    registry, port = CollectorRegistry(), free_port()
    QualityMetrics(registry).beat(datetime.now(UTC) - timedelta(seconds=age))
    monkeypatch.setenv("QUALITY_PORT", str(port))
    with serving_metrics(registry, host="127.0.0.1", port=port, variable="QUALITY_PORT"):
        assert healthcheck.main() == code
