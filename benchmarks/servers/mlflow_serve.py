"""MLflow's own scoring server."""

import json
from typing import Any

from benchmarks.servers.server import Rows, Server


def _split(columns: tuple[str, ...], rows: Rows) -> bytes:
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


def _labels(answer: Any) -> list[str]:
    return [str(label) for label in answer["predictions"]]


SERVERS = (
    Server(
        name="mlflow",
        title="`mlflow models serve`",
        environment="mlflow",
        command=(
            *("$python", "-m", "mlflow", "models", "serve", "--model-uri", "$model", "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", "$port", "--workers", "1"),
        ),
        path="/invocations",
        encode=_split,
        labels=_labels,
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
    ),
)
