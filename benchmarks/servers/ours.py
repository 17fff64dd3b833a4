"""This service, and the same with a constant instead of the model."""

import csv
import io
import json

from benchmarks.servers.server import (
    PROJECT,
    Server,
    column_lists,
    csv_lines,
    mlflow_labels,
    record_or_list,
    split_frame,
)

# Nothing listens on the second port: both serve from the cache, as while MLflow is down.
VARIABLES = {
    "INFERENCE_PORT": "$port",
    "MODEL_CACHE_DIR": "$cache",
    "DATA_DIR": "$work",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:$second_port",
    "MAX_BODY_BYTES": "100000000",
    "ENV_FILE": "",
}
LONG_LISTS = "with MAX_BODY_BYTES raised for the longest lists"
COMMAND = ("$python", "-m", "src.services.inference.run_inference")


def _labels(body: bytes) -> list[str]:
    answer = json.loads(body)
    answers = answer.get("predictions", [answer])
    return [str(one["prediction"]) for one in answers]


def _csv_labels(body: bytes) -> list[str]:
    return [line["prediction"] for line in csv.DictReader(io.StringIO(body.decode()))]


SERVERS = (
    Server(
        name="ours",
        title="**this service**",
        environment=PROJECT,
        command=COMMAND,
        path="/predict",
        encode=record_or_list,
        labels=_labels,
        variables=VARIABLES,
        note=LONG_LISTS,
    ),
    Server(
        name="ours-mlflow",
        title="**this service**, MLflow's scoring protocol",
        environment=PROJECT,
        command=COMMAND,
        path="/invocations",
        encode=split_frame,
        labels=mlflow_labels,
        variables=VARIABLES,
        note=LONG_LISTS,
    ),
    Server(
        name="ours-columns",
        title="**this service**, a batch as JSON columns",
        environment=PROJECT,
        command=COMMAND,
        path="/predict/batch",
        encode=column_lists,
        labels=_labels,
        variables=VARIABLES,
        batches_only=True,
    ),
    Server(
        name="ours-csv",
        title="**this service**, a batch as CSV",
        environment=PROJECT,
        command=COMMAND,
        path="/predict/batch",
        encode=csv_lines,
        labels=_csv_labels,
        content_type="text/csv",
        variables=VARIABLES,
        batches_only=True,
    ),
    Server(
        name="constant",
        title="this service, a constant for the model",
        environment=PROJECT,
        command=("$python", "-m", "benchmarks.apps.constant_model"),
        path="/predict",
        encode=record_or_list,
        labels=None,
        variables=VARIABLES,
        takes_batches=False,
    ),
)
