"""Entry point: writes the dashboards' JSON into ``config/grafana/dashboards``."""

import sys
from pathlib import Path

from dashboards.alert_limits import read_limits, read_uncounted_routes
from dashboards.model import model_board
from dashboards.retraining import retraining_board
from dashboards.service import service_board
from src.services.local.processes import REPOSITORY

RULES = REPOSITORY / "config/alerts.yml"
FOLDER = REPOSITORY / "config/grafana/dashboards"


def render(rules: Path = RULES) -> dict[str, str]:
    """Each dashboard's JSON by file name; its lines are at the limits of these rules' alerts."""
    limits = read_limits(rules)
    boards = (service_board(limits, read_uncounted_routes(rules)), model_board(limits), retraining_board(limits))
    return {f"{board.name}.json": board.json() for board in boards}


def main() -> int:
    """Write all of them; return 0."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in render().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote config/grafana/dashboards/{name}")  # noqa: T201 - the command's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())
