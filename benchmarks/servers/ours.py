"""This service, and the same with a constant in the model's place."""

from typing import Any

from benchmarks.servers.server import PROJECT, Server, record_or_list

# Nothing listens there: both serve from the cache, as they do while MLflow is down.
VARIABLES = {
    "INFERENCE_PORT": "$port",
    "MODEL_CACHE_DIR": "$cache",
    "DATA_DIR": "$work",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:$second_port",
    "MAX_BODY_BYTES": "100000000",
    "ENV_FILE": "",
}


def _labels(answer: Any) -> list[str]:
    answers = answer.get("predictions", [answer])
    return [str(one["prediction"]) for one in answers]


SERVERS = (
    Server(
        name="ours",
        title="**this service**",
        environment=PROJECT,
        command=("$python", "-m", "src.services.inference.run_inference"),
        path="/predict",
        encode=record_or_list,
        labels=_labels,
        variables=VARIABLES,
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
