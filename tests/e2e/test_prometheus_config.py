"""Prometheus' and Alertmanager's own tools accept the configuration, in the images that run in the stack."""

import pytest

from tests.support.prometheus_tools import run_tool

pytestmark = pytest.mark.docker


def test_configuration_is_accepted() -> None:
    run_tool("prometheus", "promtool", "check", "config", "--syntax-only", "/config/prometheus.yml")


def test_rules_are_accepted_without_a_warning() -> None:
    run_tool("prometheus", "promtool", "check", "rules", "--lint=all", "--lint-fatal", "/config/alerts.yml")


def test_every_alert_fires_where_it_must_and_is_silent_where_it_must_not() -> None:
    run_tool("prometheus", "promtool", "test", "rules", "/config/alerts.test.yml")


def test_alertmanager_accepts_its_configuration() -> None:
    run_tool("alertmanager", "amtool", "check-config", "/config/alertmanager.yml")
