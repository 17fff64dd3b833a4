"""Seldon's MLServer with its scikit-learn runtime, with and without adaptive batching."""

import json
from typing import Any

from benchmarks.servers.server import Server, tensor, tensor_labels

SETTINGS = json.dumps({"debug": False, "host": "127.0.0.1", "parallel_workers": 0, "metrics_endpoint": None})
MODEL = {
    "name": "iris",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": "$pipeline", "version": "1"},
}
BATCHING = {"max_batch_size": 64, "max_batch_time": 0.005}


def _server(name: str, title: str, model: dict[str, Any], note: str = "") -> Server:
    return Server(
        name=name,
        title=title,
        environment="mlserver",
        command=("$python", "-m", "mlserver.cli.main", "start", "$work"),
        path="/v2/models/iris/infer",
        encode=tensor,
        labels=tensor_labels,
        variables={"MLSERVER_HTTP_PORT": "$port", "MLSERVER_GRPC_PORT": "$second_port"},
        files={"settings.json": SETTINGS, "model-settings.json": json.dumps(model)},
        note=note,
    )


SERVERS = (
    _server("mlserver", "MLServer, sklearn runtime", MODEL, "no parallel workers, no metrics"),
    _server(
        "mlserver-batching",
        "MLServer, adaptive batching",
        MODEL | BATCHING,
        "up to 64 requests or 5 ms; no parallel workers, no metrics",
    ),
)
