"""The inference service as a process of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from src.services.local.processes import LocalProcess
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_version import ModelVersion
from tests.support.models import SETOSA, build_model
from tests.support.running import free_port, running, wait_until

NOWHERE = "http://127.0.0.1:1"


@dataclass
class Inference:
    """The service on a port of its own; its log is ``inference.log`` in the folder."""

    folder: Path
    mlflow_url: str
    model_name: str
    port: int = field(default_factory=free_port)
    module: str = "src.services.inference.run_inference"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def started(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        process = LocalProcess("inference", (sys.executable, "-m", self.module))
        chosen = {
            "DATA_DIR": str(self.folder / "data"),
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MODEL_NAME": self.model_name,
            "INFERENCE_PORT": str(self.port),
            "MODEL_POLL_SECONDS": "0.1",
            **environment,
        }
        with running(process, self.folder / "inference.log", **chosen) as child:
            yield child

    @contextmanager
    def serving(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Started, and a model answers."""
        with self.started(**environment) as child:
            wait_until("a model is served", self.served)
            yield child

    def health(self) -> Any:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).json()
        except httpx.TransportError:
            return None

    def served(self) -> str | None:
        told = self.health()
        return told["model"]["version"] if told and told["model"] else None

    def predict(self) -> Any:
        return httpx.post(f"{self.url}/predict", json=SETOSA, timeout=5).raise_for_status().json()

    def log(self) -> str:
        return (self.folder / "inference.log").read_text()


def without_mlflow(folder: Path, build: Callable[[Path], str] = build_model) -> Inference:
    """A service that has a model in its cache and no MLflow to look for another.

    Args:
        folder: of the service's state.
        build: writes the model's directory and returns its manifest's digest.
    """
    cache = ModelCache(folder / "data" / "local" / "model-cache", "iris")
    cache.create()
    digest = build(folder / "model")
    version = ModelVersion(name="iris", version="1", manifest_sha256=digest)
    staged = cache.stage()
    shutil.copytree(folder / "model", staged, dirs_exist_ok=True)
    cache.adopt(staged, version)
    cache.write_current(version)
    return Inference(folder, NOWHERE, "iris")
