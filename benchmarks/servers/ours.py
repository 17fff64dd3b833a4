"""This service in each of its formats, the same of another checkout, and with a constant instead of the model."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.conditions import commit
from benchmarks.servers.binary import (
    ARROW,
    PARQUET,
    TENSORS,
    TENSORS_HEADERS,
    arrow_labels,
    arrow_stream,
    binary_tensor,
    binary_tensor_labels,
    parquet,
    parquet_labels,
)
from benchmarks.servers.server import (
    PROJECT,
    Server,
    column_lists,
    csv_lines,
    mlflow_labels,
    record_or_list,
    split_frame,
    tensor,
    tensor_labels,
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
TITLE = "**this service**"
NAME = "ours"
# The name of another checkout's servers, in place of ``NAME``.
BEFORE = "before"


def with_checkout(servers: Iterable[Server], code: Path) -> Iterator[Server]:
    """The servers, each of this service followed by the same of another checkout.

    The other one runs in the environment of its ``.venv``, or in this one if it has none.
    """
    python, note = code / ".venv/bin/python", f"commit {commit(code)}"
    for server in servers:
        yield server
        if server.name.startswith(NAME):
            command = (str(python), *server.command[1:]) if python.exists() else server.command
            name, title = server.name.replace(NAME, BEFORE), server.title.replace(TITLE, f"{TITLE}, before")
            yield dataclasses.replace(server, name=name, title=title, command=command, code=code, note=note)


def _labels(body: bytes) -> list[str]:
    answer = json.loads(body)
    answers = answer.get("predictions", [answer])
    return [str(one["prediction"]) for one in answers]


def _csv_labels(body: bytes) -> list[str]:
    return [line["prediction"] for line in csv.DictReader(io.StringIO(body.decode()))]


_service = partial(Server, environment=PROJECT, command=COMMAND, variables=VARIABLES, health="/health")
_batch = partial(_service, path="/predict/batch", batches_only=True)

SERVERS = (
    _service(name=NAME, title=TITLE, path="/predict", encode=record_or_list, labels=_labels, note=LONG_LISTS),
    _service(
        name="ours-mlflow",
        title=f"{TITLE}, MLflow's scoring protocol",
        path="/invocations",
        encode=split_frame,
        labels=mlflow_labels,
        note=LONG_LISTS,
    ),
    _service(
        name="ours-v2",
        title=f"{TITLE}, V2 inference protocol",
        path="/v2/models/iris/infer",
        encode=tensor,
        labels=tensor_labels,
        note=f"{LONG_LISTS}; the same requests as MLServer's",
    ),
    _service(
        name="ours-v2-binary",
        title=f"{TITLE}, a batch as V2 binary tensor",
        path="/v2/models/iris/infer",
        encode=binary_tensor,
        labels=binary_tensor_labels,
        content_type=TENSORS,
        headers=TENSORS_HEADERS,
        batches_only=True,
        note="MLServer 1.7 takes binary tensors over gRPC only",
    ),
    _batch(name="ours-columns", title=f"{TITLE}, a batch as JSON columns", encode=column_lists, labels=_labels),
    _batch(
        name="ours-csv",
        title=f"{TITLE}, a batch as CSV",
        encode=csv_lines,
        labels=_csv_labels,
        content_type="text/csv",
    ),
    _batch(
        name="ours-arrow",
        title=f"{TITLE}, a batch as Arrow stream",
        encode=arrow_stream,
        labels=arrow_labels,
        content_type=ARROW,
    ),
    _batch(
        name="ours-parquet",
        title=f"{TITLE}, a batch as Parquet",
        encode=parquet,
        labels=parquet_labels,
        content_type=PARQUET,
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
