"""The tools of Prometheus and Alertmanager accept the stack's configuration."""

import pytest

from tests.support.prometheus_tools import run_tool

pytestmark = pytest.mark.integration


def test_prometheus_accepts_its_configuration() -> None:
    run_tool("promtool", "check", "config", "--syntax-only", "prometheus.yml")


def test_alertmanager_accepts_its_configuration() -> None:
    run_tool("amtool", "check-config", "alertmanager/alertmanager.yml")
