"""MLflow's own scoring server."""

from benchmarks.servers.server import Server, mlflow_labels, split_frame

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
        encode=split_frame,
        labels=mlflow_labels,
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
    ),
)
