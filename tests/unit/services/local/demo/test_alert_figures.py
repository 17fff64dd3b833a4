"""The demo's condition has the numbers of the alert in config/alerts.yml."""

import re

import yaml

from src.services.local.demo import story
from src.services.local.processes import REPOSITORY


def test_the_condition_has_the_numbers_of_the_rule() -> None:
    groups = yaml.safe_load((REPOSITORY / "config/alerts.yml").read_text(encoding="utf-8"))["groups"]
    (rule,) = [rule for group in groups for rule in group["rules"] if rule["alert"] == "LiveQualityLow"]
    windows = re.findall(r'role="champion", window="(\w+)"', rule["expr"])
    assert windows == [story.WINDOW, story.WINDOW]
    assert re.findall(r"> ([\d.]+)", rule["expr"]) == [str(story.MARGIN)]
    assert re.findall(r">= (\d+)", rule["expr"]) == [str(story.MIN_LABELLED)]
