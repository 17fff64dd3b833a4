"""BentoML, with and without adaptive batching."""

import json

from benchmarks.servers.server import Server, row_lists


def _labels(body: bytes) -> list[str]:
    return [str(label) for label in json.loads(body)]


def _server(name: str, title: str, service: str, note: str) -> Server:
    return Server(
        name=name,
        title=title,
        environment="bentoml",
        command=(
            *("$python", "-m", "bentoml", "serve", f"bento_service:{service}", "--working-dir", "$apps"),
            *("--host", "127.0.0.1", "--port", "$port"),
        ),
        path="/predict",
        encode=row_lists,
        labels=_labels,
        variables={"BENCH_PIPELINE": "$pipeline", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "$work"},
        note=note,
    )


SERVERS = (
    _server("bentoml", "BentoML", "Iris", "one worker"),
    _server(
        "bentoml-batching", "BentoML, adaptive batching", "BatchingIris", "one worker, batches of up to 100,000 rows"
    ),
)
