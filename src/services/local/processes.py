"""The loop's processes on one machine: their names, commands and environments."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from src.core.local_settings import LocalSettings

REPOSITORY = Path(__file__).resolve().parents[3]
NO_PROXY = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class LocalProcess:
    """One process of the loop, started from the repository's root.

    ``environment`` is added to the parent's.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def mlflow_process(*, host: str, port: int, state_dir: Path) -> LocalProcess:
    """An MLflow server: SQLite for runs and registry, artifacts proxied from a folder next to it.

    Args:
        host: address to listen on.
        port: port to listen on.
        state_dir: an existing folder, absolute, for the server's files.
    """
    return LocalProcess(
        "mlflow",
        (
            *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
            "--uvicorn-opts=--log-level=warning",  # inference polls every second, and a line each would flood the log
            *("--backend-store-uri", f"sqlite:///{state_dir / 'mlflow.db'}"),
            *("--artifacts-destination", str(state_dir / "artifacts")),
        ),
        {
            "GIT_PYTHON_REFRESH": "quiet",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONWARNINGS": "ignore",
        },
    )


def preprocess_process(settings: LocalSettings) -> LocalProcess:
    """The one-shot process that writes the validated data set."""
    return LocalProcess("preprocess", (sys.executable, "-m", "src.pipeline.data_preprocess"), _shared(settings))


def loop_processes(settings: LocalSettings) -> list[LocalProcess]:
    """MLflow, inference, monitor and quality; the monitor starts each training run itself."""
    shared = _shared(settings)
    alone = {"DRAIN_SECONDS": "0"}  # there is no other replica to drain to
    rollback = {"INFERENCE_URL": base_url(settings.inference_host, settings.inference_port)}
    mlflow_dir = settings.local_dir.resolve() / "mlflow"
    return [
        mlflow_process(host="127.0.0.1", port=settings.mlflow_port, state_dir=mlflow_dir),
        LocalProcess("inference", (sys.executable, "-m", "src.services.inference.run_inference"), shared | alone),
        LocalProcess("monitor", (sys.executable, "-m", "src.services.monitor.run_monitor"), shared),
        LocalProcess("quality", (sys.executable, "-m", "src.services.quality.run_quality"), shared | rollback),
    ]


def base_url(host: str, port: int) -> str:
    """The URL of a server that listens on ``host``; for all interfaces, the loopback address."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


def _shared(settings: LocalSettings) -> dict[str, str]:
    return {
        "DATA_DIR": str(settings.data_dir.resolve()),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{settings.mlflow_port}",
        **without_proxy(os.environ),
    }


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that exclude this machine from the proxies of ``environment``.

    Both spellings get the values of either, because programs read different ones.
    """
    kept = ",".join(environment.get(name, "") for name in NO_PROXY)
    hosts = [host.strip() for host in kept.split(",") if host.strip()]
    # An asterisk excludes every host; some programs accept it only as the whole value.
    wanted = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return dict.fromkeys(NO_PROXY, wanted)
