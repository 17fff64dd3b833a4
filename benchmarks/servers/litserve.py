"""LitServe, with and without batching."""

import json

from benchmarks.servers.server import Server, row_lists


def _labels(body: bytes) -> list[str]:
    return [str(label) for label in json.loads(body)["labels"]]


def _server(name: str, title: str, batch: int, note: str) -> Server:
    return Server(
        name=name,
        title=title,
        environment="litserve",
        command=("$python", "$apps/litserve_api.py", "$port", str(batch)),
        path="/predict",
        encode=row_lists,
        labels=_labels,
        variables={"BENCH_PIPELINE": "$pipeline"},
        note=note,
    )


SERVERS = (
    _server("litserve", "LitServe", 1, "one API server, one worker"),
    _server("litserve-batching", "LitServe, batching", 16, "up to 16 requests or 5 ms; one API server, one worker"),
)
