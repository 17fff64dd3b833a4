"""The numbers at which alerts fire, read from their rules: a panel's line lies where the alert does."""

import re
from pathlib import Path

import yaml

LIMIT = re.compile(r"(?<=> )[\d.]+(?: \* [\d.]+)?")


def read_limits(rules: Path) -> dict[str, float]:
    """The number behind the first ``>`` of each alert's expression; alerts without one are left out.

    Args:
        rules: a file of Prometheus' alerting rules.
    """
    limits = {}
    for group in yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            found = LIMIT.search(rule["expr"])
            if found:
                number, *factors = map(float, found.group().split(" * "))
                limits[rule["alert"]] = number * (factors[0] if factors else 1)
    return limits
