"""The loop as processes on this machine: its ports, its processes and its inference service."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from src.core.local_settings import LocalSettings
from src.services.local.preflight import make_state_folders
from src.services.local.processes import REPOSITORY, loop_processes, preprocess_process
from tests.support.inference_client import InferenceClient
from tests.support.running import free_port, running, wait_until


class Loop(InferenceClient):
    """The addresses of one loop whose state lies under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mlflow_port, self.inference_port, self.monitor_port = free_port(), free_port(), free_port()
        self.quality_port = free_port()
        super().__init__(f"http://127.0.0.1:{self.inference_port}")
        self.environment = {
            "DATA_DIR": str(folder / "data"),
            "MLFLOW_PORT": str(self.mlflow_port),
            "INFERENCE_PORT": str(self.inference_port),
            "MONITOR_PORT": str(self.monitor_port),
            "QUALITY_PORT": str(self.quality_port),
        }

    def settings(self) -> LocalSettings:
        return LocalSettings(
            _env_file=None,
            data_dir=self.folder / "data",
            mlflow_port=self.mlflow_port,
            inference_port=self.inference_port,
            monitor_port=self.monitor_port,
            quality_port=self.quality_port,
            monitor_poll_seconds=0.2,
            retrain_backoff_seconds=0.1,
        )

    @contextlib.contextmanager
    def started(self, **environment: str) -> Iterator[None]:
        """All its processes, on preprocessed data, with a first model served; inference has further variables."""
        settings = self.settings()
        make_state_folders(settings)
        mlflow, inference, monitor, quality = loop_processes(settings)
        preprocess = preprocess_process(settings)
        subprocess.run(preprocess.command, cwd=REPOSITORY, env={**os.environ, **preprocess.environment}, check=True)
        with (
            running(mlflow, self.folder / "mlflow.log"),
            running(inference, self.folder / "inference.log", **self.environment, **environment),
            running(monitor, self.folder / "monitor.log", **self.environment),
            running(quality, self.folder / "quality.log", **self.environment, QUALITY_SECONDS="1"),
        ):
            wait_until("inference answers", lambda: self.is_answering(f"{self.url}/health"))
            wait_until("MLflow answers", lambda: self.is_answering(f"http://127.0.0.1:{self.mlflow_port}/health"))
            assert self.wait_for_end(self.request_retrain())["state"] == "promoted"
            wait_until("a model is served", self.is_ready)
            yield

    def processes(self) -> list[psutil.Process]:
        """Every process on the machine that was started for this loop."""
        mark = self.environment["DATA_DIR"]
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("DATA_DIR") == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def trainers(self) -> list[psutil.Process]:
        """The loop's training processes."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(part.endswith("run_pipeline.py") for part in process.cmdline()):
                    found.append(process)
        return found

    def wait_for_trainer(self) -> psutil.Process:
        return wait_until("a training process runs", self.trainers)[0]
