"""Prometheus' own tools on its configuration and on what the services say, in the image that runs in the stack."""

import re

import pytest
import yaml

from src.services.local.processes import REPOSITORY
from tests.support.prometheus_tools import CONFIG, run_tool

pytestmark = pytest.mark.docker


def alerts() -> dict[str, dict[str, object]]:
    groups = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_configuration_is_accepted() -> None:
    run_tool("prometheus", "promtool", "check", "config", "--syntax-only", "/config/prometheus.yml")


def test_rules_are_accepted_without_a_warning() -> None:
    told = run_tool("prometheus", "promtool", "check", "rules", "--lint=all", "--lint-fatal", "/config/alerts.yml")
    assert f"{len(alerts())} rules found" in told


def test_every_alert_fires_where_it_must_and_keeps_silent_where_it_must_not() -> None:
    run_tool("prometheus", "promtool", "test", "rules", "/config/alerts.test.yml")
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load((CONFIG / "alerts.test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {name for name, fires in cases if fires} == set(alerts())
    assert {name for name, fires in cases if not fires} == set(alerts())


def test_every_alert_says_what_it_is_about_and_leads_to_its_page_of_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(alerts())
    for name, rule in alerts().items():
        notes = rule["annotations"]
        assert isinstance(notes, dict)
        assert notes["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert notes["summary"]


def test_alertmanager_accepts_its_configuration() -> None:
    run_tool("alertmanager", "amtool", "check-config", "/config/alertmanager.yml")
