"""Metrics over HTTP, and the heartbeat that a health check reads there."""

import time

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from src.core.errors import ConnectionFailedError
from src.core.metrics_server import check_heartbeat, heartbeat, serving_metrics
from tests.support.running import free_port


def test_metrics_are_served_until_the_block_ends() -> None:
    registry, port = CollectorRegistry(), free_port()
    Counter("attempts", "Attempts", registry=registry).inc(2)
    url = f"http://127.0.0.1:{port}/metrics"
    with serving_metrics(registry, host="127.0.0.1", port=port, variable="X_PORT"):
        assert "attempts_total 2.0" in httpx.get(url).text
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_taken_port_is_reported_with_what_to_do() -> None:
    port = free_port()
    with (
        serving_metrics(CollectorRegistry(), host="127.0.0.1", port=port, variable="X_PORT"),
        pytest.raises(ConnectionFailedError, match=rf"127\.0\.0\.1:{port} \(Address already in use\).*set X_PORT"),
        serving_metrics(CollectorRegistry(), host="127.0.0.1", port=port, variable="X_PORT"),
    ):
        raise AssertionError("two servers on one port")


@pytest.mark.parametrize(
    ("age", "code", "why"), [(0, 0, ""), (30, 0, ""), (90, 1, "the loop last ran 90 s ago"), (None, 1, "s ago")]
)
def test_health_is_the_age_of_the_heartbeat(
    capsys: pytest.CaptureFixture[str], age: float | None, code: int, why: str
) -> None:
    registry, port = CollectorRegistry(), free_port()
    if age is not None:
        Gauge("beat", "When", registry=registry).set(time.time() - age)
    with serving_metrics(registry, host="127.0.0.1", port=port, variable="X_PORT"):
        assert check_heartbeat(str(port), "beat", 60) == code
    assert why in capsys.readouterr().err


def test_absent_process_is_unhealthy_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_heartbeat(str(free_port()), "beat", 60) == 1
    assert capsys.readouterr().err.startswith("unhealthy: no metrics: ")


def test_metrics_without_a_heartbeat_count_as_stale() -> None:
    assert heartbeat("# HELP beat x\nbeat_2 1\n", "beat") == 0
    assert heartbeat("# HELP beat x\nbeat 1.5\n", "beat") == 1.5
