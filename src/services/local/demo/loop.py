"""The demo's loop: ``make local`` as a process, in a folder and on ports of its own."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from src.core.local_settings import LocalSettings
from src.core.training_settings import TrainSettings
from src.services.local.processes import REPOSITORY, without_proxy

MODEL = "customers"
# Enough labels since the last training request the next one.
MIN_NEW_LABELS = 1800
PROCESSES = ("mlflow", "inference", "monitor", "quality")
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Loop:
    """A running loop.

    Attributes:
        client: for the routes of inference.
        ports: by process: ``mlflow``, ``inference``, ``monitor`` and ``quality``.
        log: what its processes write.
        process: of ``make local``.
    """

    client: httpx.Client
    ports: Mapping[str, int]
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """Of inference."""
        return f"http://127.0.0.1:{self.ports['inference']}"

    def get(self, path: str) -> Any:
        """The answer of a GET, from JSON; None without a good one."""
        with contextlib.suppress(httpx.TransportError):
            answer = self.client.get(path)
            return answer.json() if answer.is_success else None
        return None

    def held_out_score(self, metric: str) -> float | None:
        """The score of the served version on the holdout, as Prometheus scrapes it."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == "inference_model_score"]
        return next((sample.value for sample in samples if sample.labels["metric"] == metric), None)


@contextlib.contextmanager
def running_loop(folder: Path, config: Path) -> Iterator[Loop]:
    """Start the loop in an existing folder, and end all its processes after the block."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        ports = {name: probe.getsockname()[1] for name, probe in zip(PROCESSES, probes, strict=True)}
    environment = inherited() | {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    environment |= {"DATA_DIR": str(folder / "data"), "PIPELINE_CONFIG": str(config), "MODEL_NAME": MODEL}
    environment |= {"RETRAIN_MIN_NEW_LABELS": str(MIN_NEW_LABELS), "QUALITY_SECONDS": "1"}
    log = folder / "log"
    command = (sys.executable, "-m", "src.services.local.run_local")
    with (
        log.open("wb") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{ports['inference']}", timeout=20, trust_env=False) as client,
    ):
        # A session of its own: Ctrl-C reaches the demo alone, which then ends the loop.
        process = subprocess.Popen(  # noqa: S603 - the command is this repository's
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield Loop(client, ports, log, process)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()


def inherited() -> dict[str, str]:
    """The environment without the settings of another loop."""
    settings = {*LocalSettings.model_fields, *TrainSettings.model_fields}
    others = ("ZENML_", "MLFLOW_")
    kept = {k: v for k, v in os.environ.items() if k.lower() not in settings and not k.startswith(others)}
    return kept | without_proxy(os.environ) | {"ENV_FILE": os.devnull}
