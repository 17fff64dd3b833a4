"""The loop as processes on this machine: its ports, its processes and its inference service."""

import contextlib
from pathlib import Path

import psutil

from src.core.settings import LocalSettings
from tests.support.inference_client import InferenceClient
from tests.support.running import free_port, wait_until


class Loop(InferenceClient):
    """The addresses of one loop whose state lies under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mlflow_port, self.inference_port, self.monitor_port = free_port(), free_port(), free_port()
        super().__init__(f"http://127.0.0.1:{self.inference_port}")
        self.environment = {
            "DATA_DIR": str(folder / "data"),
            "MLFLOW_PORT": str(self.mlflow_port),
            "INFERENCE_PORT": str(self.inference_port),
            "MONITOR_PORT": str(self.monitor_port),
        }

    def settings(self) -> LocalSettings:
        return LocalSettings(
            _env_file=None,
            data_dir=self.folder / "data",
            mlflow_port=self.mlflow_port,
            inference_port=self.inference_port,
            monitor_port=self.monitor_port,
            monitor_poll_seconds=0.2,
            retrain_backoff_seconds=0.1,
        )

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
