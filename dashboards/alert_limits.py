"""Reads the limits of alerts from the rules, for the lines in panels."""

import re
from pathlib import Path

import yaml

LIMIT = re.compile(r"(?<=> )[\d.]+(?: \* [\d.]+)?")
LEFT_OUT = re.compile(r'route!~"([^"]*)"')


def read_uncounted_routes(rules: Path) -> str:
    """The regular expression of the routes that HighErrorRatio excludes.

    Args:
        rules: a file of Prometheus' alerting rules.
    """
    (pattern,) = {
        str(pattern)
        for rule in _rules(rules)
        if rule["alert"] == "HighErrorRatio"
        for pattern in LEFT_OUT.findall(rule["expr"])
    }
    return pattern


def read_limits(rules: Path) -> dict[str, float]:
    """The number after the first ``>`` of each alert's expression; alerts without one are left out.

    Args:
        rules: a file of Prometheus' alerting rules.
    """
    limits = {}
    for rule in _rules(rules):
        found = LIMIT.search(rule["expr"])
        if found:
            number, *factors = map(float, found.group().split(" * "))
            limits[rule["alert"]] = number * (factors[0] if factors else 1)
    return limits


def _rules(rules: Path) -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
