"""Runs the template's own processes for a measurement: an MLflow server, trainings, and inference."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.running import ServerFailedError, free_ports, memory_of, process_of, tail
from src.services.local.processes import REPOSITORY, LocalProcess, mlflow_process, without_proxy

LOOK_SECONDS = 0.2
LOOP_LOOK_SECONDS = 0.02
START_SECONDS = 90.0
FIRST_TRAINING_SECONDS = 300.0
# What trainings and inference run from, and what the fingerprint of a training is made of.
CODE = ("src", "config", "benchmarks", "run_pipeline.py", "uv.lock")


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        exit_code: of ``run_pipeline.py``.
        seconds: from the start of the process to its end.
        cpu_seconds: of all cores, so that other load on the machine does not count.
        memory_bytes: the most that its processes held at once.
        lines: its log.
    """

    exit_code: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int
    lines: list[str]

    @property
    def end(self) -> str:
        """The verdict, or the error that ended the training, without the time and the logger's name."""
        said = [line.partition("train-model: ")[2] for line in self.lines if "train-model: " in line]
        verdicts = [line for line in said if line.startswith(("promoted:", "rejected:"))]
        return (verdicts or said or ["no line"])[-1]


@dataclass(frozen=True)
class Inference:
    """A running inference service that serves a model.

    Attributes:
        client: for its routes.
        started: when its process was started, by ``time.monotonic``.
    """

    client: httpx.Client
    started: float

    def get(self, path: str) -> Any:
        """The answer of a GET, from JSON."""
        return self.client.get(path).raise_for_status().json()

    def predict(self, body: Any) -> Any:
        """The answer to a record or to a list of records, from JSON."""
        return self.client.post("/predict", json=body).raise_for_status().json()


@dataclass(frozen=True)
class LocalLoop:
    """A loop as ``make local`` runs it, which serves its first model.

    Attributes:
        client: for the routes of inference.
        log: what its processes write.
    """

    client: httpx.Client
    log: Path
    process: "subprocess.Popen[bytes]"

    def get(self, path: str) -> Any:
        """The answer of a GET, from JSON, whatever its status."""
        return self.client.get(path).json()

    def version(self) -> str | None:
        """The version that answers predictions; None before the first."""
        model = self.get("/health")["model"]
        return None if model is None else str(model["version"])

    def wait(self, condition: Callable[[], object], seconds: float) -> None:
        """Ask for the condition many times a second until it holds.

        Raises:
            ServerFailedError: the loop has ended, or the time is over; with the last lines of its log.
        """
        if not _holds(condition, self.process, seconds, LOOP_LOOK_SECONDS):
            raise ServerFailedError(f"not within {seconds:.0f} s\n{tail(self.log)}")


def copy_code(folder: Path, *more: str) -> Path:
    """Copy the code that is not installed, and ``more`` of the repository's files and folders; return ``folder``."""
    for name in (*CODE, *more):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(REPOSITORY / name, target)
    return folder


def complete(file: Path) -> Path:
    """Make a file that has just been written look old; a training would wait until it is complete."""
    os.utime(file, (1e9, 1e9))
    return file


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run an MLflow server that keeps everything in ``folder``, which must exist; gives its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with _running(mlflow_process(host="127.0.0.1", port=port, state_dir=folder), folder / "log", {}) as server:
        _wait(f"{url}/api/2.0/mlflow/experiments/search?max_results=1", server, folder / "log")
        yield url


def train(variables: dict[str, str], log: Path, code: Path = REPOSITORY) -> Training:
    """Run ``run_pipeline.py`` of ``code`` to its end, its log in ``log``."""
    started, most, cpu = time.monotonic(), 0, 0.0
    process = LocalProcess("train", (sys.executable, "run_pipeline.py"), variables)
    with _running(process, log, {}, code) as trainer:
        while trainer.poll() is None:
            most = max(most, memory_of(trainer.pid))
            with contextlib.suppress(psutil.NoSuchProcess):
                cpu = sum(psutil.Process(trainer.pid).cpu_times()[:2])
            with contextlib.suppress(subprocess.TimeoutExpired):
                trainer.wait(LOOK_SECONDS)
        seconds = time.monotonic() - started
    lines = log.read_text(encoding="utf-8").splitlines()
    return Training(int(trainer.returncode), seconds, cpu, most, lines)


@contextlib.contextmanager
def inference(variables: dict[str, str], log: Path, code: Path = REPOSITORY) -> Iterator[Inference]:
    """Run the inference service of ``code`` until the block ends; yields once it serves a model."""
    (port,) = free_ports(1)
    process = LocalProcess("inference", (sys.executable, "-m", "src.services.inference.run_inference"), variables)
    started = time.monotonic()
    chosen = {"INFERENCE_PORT": str(port), "MODEL_POLL_SECONDS": "0.1", "DRAIN_SECONDS": "0"}
    with (
        _running(process, log, chosen, code) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):
        _wait(f"http://127.0.0.1:{port}/health", server, log)
        yield Inference(client, started)


@contextlib.contextmanager
def local_loop(folder: Path) -> Iterator[LocalLoop]:
    """Run the processes of ``make local``, all state in ``folder``, on ports of their own."""
    mlflow, serving, monitor, quality = free_ports(4)
    process = LocalProcess("local", (sys.executable, "-m", "src.services.local.run_local"), {})
    chosen = {"DATA_DIR": str(folder / "data"), "MLFLOW_PORT": str(mlflow)}
    chosen |= {"INFERENCE_PORT": str(serving), "MONITOR_PORT": str(monitor), "QUALITY_PORT": str(quality)}
    log = folder / "log"
    with (
        _running(process, log, chosen) as manager,
        httpx.Client(base_url=f"http://127.0.0.1:{serving}", timeout=60, trust_env=False) as client,
    ):
        loop = LocalLoop(client, log, manager)
        loop.wait(lambda: loop.version() is not None, FIRST_TRAINING_SECONDS)
        yield loop


def step_seconds(lines: Sequence[str]) -> dict[str, float]:
    """Seconds by step, from the line ``seconds: …`` of the last training in a log."""
    found = [line.partition("seconds: ")[2] for line in lines if "seconds: " in line]
    return {name: float(value) for name, value in re.findall(r"([\w.]+) ([\d.]+)", (found or [""])[-1])}


@contextlib.contextmanager
def _running(
    process: LocalProcess, log: Path, chosen: dict[str, str], code: Path = REPOSITORY
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = inherited_environment() | process.environment | chosen
    with process_of(process.command, code, environment, log) as child:
        yield child


def inherited_environment() -> dict[str, str]:
    """This process's environment without what would lead to other servers, or make each start slower."""
    left_out = ("ZENML_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | without_proxy(os.environ) | {"ENV_FILE": os.devnull}


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a GET succeeds.

    Raises:
        ServerFailedError: the process has ended, or the time is over; with the last lines of its log.
    """
    if not _holds(lambda: httpx.get(url, timeout=5, trust_env=False).is_success, server, START_SECONDS, LOOK_SECONDS):
        raise ServerFailedError(f"no good answer of {url}\n{tail(log)}")


def _holds(condition: Callable[[], object], process: "subprocess.Popen[bytes]", seconds: float, pause: float) -> bool:
    """Whether the condition, which may ask a server, holds before the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause)
    return False
