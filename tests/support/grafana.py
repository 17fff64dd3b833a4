"""What is in the committed dashboards, and Grafana's way of filling in their variables."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from src.services.local.processes import REPOSITORY

FOLDER = REPOSITORY / "config/grafana"
NAMES = ("service", "model", "retraining")
SPECIAL = re.compile(r"[\\$^*{}\[\]'+?.()|]")
LABEL_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    letter: str
    expr: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} ({self.letter})"


def board(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def panels(name: str) -> list[dict[str, Any]]:
    """Those that show something: all but the rows' headings."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def targets() -> list[Target]:
    """Every query of every panel."""
    return [
        Target(name, panel["title"], target["refId"], target["expr"], target["legendFormat"], target["instant"])
        for name in NAMES
        for panel in panels(name)
        for target in panel["targets"]
    ]


def annotations() -> list[tuple[str, dict[str, Any]]]:
    """Every annotation, with the name of its dashboard."""
    return [(name, annotation) for name in NAMES for annotation in board(name)["annotations"]["list"]]


def variables(name: str) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board(name)["templating"]["list"]}


def expressions() -> Iterator[tuple[str, str]]:
    """Every query with what it belongs to: of panels, annotations and variables."""
    yield from ((str(target), target.expr) for target in targets())
    yield from ((f"{name}: {item['name']}", item["target"]["expr"]) for name, item in annotations())
    for name in NAMES:
        yield from ((f"{name}: ${key}", variable["query"]["query"]) for key, variable in variables(name).items())


def datasources() -> list[dict[str, Any]]:
    """Those that Grafana is provisioned with."""
    files = (FOLDER / "provisioning/datasources").glob("*.yml")
    return [source for file in files for source in yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]]


def labels_in(text: str) -> set[str]:
    """The labels that a legend or an annotation's title shows."""
    return set(re.findall(r"\{\{(\w+)\}\}", text))


def regular_expression(values: Sequence[str]) -> str:
    """The chosen values of a variable, as Grafana writes them into a label matcher."""
    escaped = [SPECIAL.sub(lambda found: "\\\\" + found.group(), value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def fill_in(expr: str, values: Mapping[str, str]) -> str:
    """Replace each ``$name``; fails where one is left over."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(f"${name}", values[name])
    assert "$" not in expr, f"a variable that nothing fills in: {expr}"
    return expr
