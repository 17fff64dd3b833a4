"""Web frameworks alone: their overhead without a model, and with ``mlflow.pyfunc``."""

import json

from benchmarks.servers.server import PROJECT, Server, record, record_or_list

UVICORN = (
    *("$python", "-m", "uvicorn", "--app-dir", "$apps", "--factory", "--port", "$port"),
    *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
)


def _labels(body: bytes) -> list[str]:
    answer = json.loads(body)
    answers = answer if isinstance(answer, list) else [answer]
    return [str(one["prediction"]) for one in answers]


SERVERS = (
    Server(
        name="echo",
        title="FastAPI and pydantic, echo, no model",
        environment=PROJECT,
        command=(*UVICORN, "fastapi_echo:create_app"),
        path="/predict",
        encode=record,
        labels=None,
        takes_batches=False,
    ),
    Server(
        name="asgi",
        title="bare ASGI under uvicorn, echo, no model",
        environment=PROJECT,
        command=(*UVICORN, "asgi_echo:create_app"),
        path="/predict",
        encode=record,
        labels=None,
        takes_batches=False,
    ),
    Server(
        name="pyfunc",
        title="FastAPI and `mlflow.pyfunc`",
        environment="mlflow",
        command=(*UVICORN, "fastapi_pyfunc:create_app"),
        path="/predict",
        encode=record_or_list,
        labels=_labels,
        variables={"BENCH_MODEL": "$model"},
    ),
)
