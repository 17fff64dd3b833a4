"""What config/alerts.yml, its cases in config/alerts.test.yml and its pages in docs/runbook.md must hold."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.prometheus_tools import run_tool


def alerts_of(root: Path) -> dict[str, dict[str, Any]]:
    """The alerts of a checkout, by name."""
    groups = yaml.safe_load((root / "config/alerts.yml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def require_accepted(root: Path) -> None:
    """Prometheus accepts every rule without a warning."""
    output = run_tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(root / "config/alerts.yml"))
    assert f"{len(alerts_of(root))} rules found" in output


def require_cases(root: Path) -> None:
    """Each alert fires in one of the cases at least, and is silent in another."""
    file = root / "config/alerts.test.yml"
    run_tool("promtool", "test", "rules", str(file))
    tests = yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
    cases = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]
    assert {name for name, fires in cases if fires} == set(alerts_of(root))
    assert {name for name, fires in cases if not fires} == set(alerts_of(root))


def require_dashboard(root: Path) -> None:
    """Each alert links to a dashboard that shows one of its metrics."""
    folder = root / "config/grafana/dashboards"
    boards = {json.loads(text)["uid"]: text for text in (file.read_text("utf-8") for file in folder.glob("*.json"))}
    for name, rule in alerts_of(root).items():
        (uid,) = re.findall(r"/d/([\w-]+)", rule["annotations"]["dashboard"])
        metrics = re.findall(r"\b(?:inference|monitor|quality)_\w+|\bprobe_success\b|\bup\b", rule["expr"])
        assert any(re.search(rf"\b{metric}\b", boards[uid]) for metric in metrics), name


def require_runbook(root: Path) -> None:
    """Each alert has a summary and a section of the runbook, in the order of the rules."""
    alerts = alerts_of(root)
    headings = re.findall(r"^## (\w+)$", (root / "docs/runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"{{{{ $externalLabels.link_runbook }}}}#{name.lower()}"
        assert rule["annotations"]["summary"]
