"""Measures whole trainings of a large table: how long, in how much memory, and how large the version is.

Each is one `run_pipeline.py` against an MLflow server and a ZenML store of its own, from the process's start to the
gate's verdict.
"""

import argparse
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from sklearn.datasets import make_classification

from benchmarks.machine import Machine, describe
from benchmarks.running import memory_of
from src.services.local.processes import REPOSITORY, mlflow_process
from src.training.propose.propose_config import Wanted, propose

PUBLISHED = REPOSITORY / "benchmarks/results/training.md"
ROWS, COLUMNS, CLASSES = 200_000, 30, 8
# What is measured, by its name in the report.
SETTINGS: dict[str, dict[str, Any]] = {
    "n_estimators: 100, max_depth: 12": {"n_estimators": 100, "max_depth": 12},
    "shipped settings": {"n_estimators": 100, "max_depth": None, "min_samples_leaf": 1},
}
# Measured beside them: the file that `make config` writes for the table.
PROPOSED = "as make config proposes"
LOOK_SECONDS = 0.2
SERVER_SECONDS = 90.0


@dataclass(frozen=True)
class Measured:
    """One training.

    ``cpu_seconds`` count the cores that worked, so that they say what an idle machine would take; ``steps`` are seconds
    by step; ``memory_bytes`` is the most that its processes held at once; ``version_bytes`` is
    the size of the registered model; ``end`` is the verdict, or why there is none.
    """

    settings: str
    exit_code: int
    seconds: float
    cpu_seconds: float
    steps: dict[str, float]
    memory_bytes: int
    version_bytes: int
    end: str


def main(arguments: Sequence[str]) -> int:
    """Measure each of the settings and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-training TRAINING_ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the table (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    parser.add_argument("--only", choices=[*SETTINGS, PROPOSED], action="append", help="one of the settings")
    options = parser.parse_args(arguments)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        table = write_table(Path(folder) / "table.csv", options.rows)
        found = [
            measure(Path(folder) / f"run{index}", table, name)
            for index, name in enumerate(options.only or [*SETTINGS, PROPOSED])
        ]
    options.report.write_text(report(machine, options.rows, found), encoding="utf-8")
    return 0


def write_table(file: Path, rows: int) -> Path:
    """A CSV file of ``COLUMNS`` numbers and a class, which a forest predicts at about 0.8."""
    numbers, classes = make_classification(
        rows, COLUMNS, n_informative=15, n_redundant=5, n_classes=CLASSES, n_clusters_per_class=2, random_state=0
    )
    frame = pd.DataFrame(numbers.round(4), columns=[f"x{index}" for index in range(COLUMNS)])
    frame.assign(y=np.char.add("c", classes.astype(str))).to_csv(file, index=False)
    return file


def configuration_text(table: Path, settings: str) -> str:
    """The configuration to measure, by its name in the report."""
    if settings == PROPOSED:
        return propose(Wanted(str(table), "y")).text
    return yaml.safe_dump(configuration(table, SETTINGS[settings]))


def configuration(table: Path, params: dict[str, Any]) -> dict[str, Any]:
    """``pipeline.yaml`` for this table."""
    limits = {"minimum": -1000.0, "maximum": 1000.0}
    return {
        "dataset": {
            "source": str(table),
            "target": "y",
            "features": {f"x{index}": limits for index in range(COLUMNS)},
            "classes": [f"c{index}" for index in range(CLASSES)],
            "min_rows_per_class": 20,
            "duplicates": "keep",
        },
        "split": {"by": "hash", "holdout_fraction": 0.3, "seed": 42},
        "model": {"estimator": "random_forest", "params": params},
        "gate": {"metric": "f1_macro", "tolerance": 0.01},
    }


def measure(folder: Path, table: Path, settings: str) -> Measured:
    """Train once with these settings; ``folder`` must not exist and keeps all that the training writes."""
    (folder / "mlflow").mkdir(parents=True)
    config = folder / "pipeline.yaml"
    config.write_text(configuration_text(table, settings), encoding="utf-8")
    log = folder / "log"
    with _mlflow(folder / "mlflow") as url, log.open("wb") as output:
        started, most, cpu = time.monotonic(), 0, 0.0
        environment = os.environ | {
            "DATA_DIR": str(folder / "data"),
            "MLFLOW_TRACKING_URI": url,
            "PIPELINE_CONFIG": str(config),
            "MODEL_NAME": "table",
        }
        trainer = subprocess.Popen(
            [sys.executable, "run_pipeline.py"], cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
        try:
            while trainer.poll() is None:
                most = max(most, memory_of(trainer.pid))
                with contextlib.suppress(psutil.NoSuchProcess):
                    cpu = sum(psutil.Process(trainer.pid).cpu_times()[:2])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    trainer.wait(LOOK_SECONDS)
        finally:
            trainer.kill()
            trainer.wait()
        seconds = time.monotonic() - started
    lines = log.read_text(encoding="utf-8").splitlines()
    version = sum(file.stat().st_size for file in (folder / "mlflow/artifacts").rglob("models/**/*") if file.is_file())
    return Measured(settings, int(trainer.returncode), seconds, cpu, _steps(lines), most, version, _end(lines))


def report(machine: Machine, rows: int, found: Sequence[Measured]) -> str:
    """The figures as Markdown."""
    load = f"{machine.load:.2f}{' (idle)' if machine.idle else ''}"
    lines = [
        "# Training a large table",
        "",
        f"`make measure-training`, commit {_commit()}, {machine.measured_at}, {machine.processor},",
        f"{machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}, Python {machine.python}.",
        f"The load before was {load}.",
        "",
        f"{rows:,} rows of {COLUMNS} numbers, {CLASSES} classes; a random forest. From the trainer's start to the",
        "gate's verdict, with an MLflow server and ZenML's local store. Memory is the trainer's largest resident size.",
        "",
        "| settings | seconds | CPU seconds | memory MB | version MB | exit code | end |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {item.settings} | {item.seconds:.0f} | {item.cpu_seconds:.0f} | {item.memory_bytes / 1e6:,.0f} "
        f"| {item.version_bytes / 1e6:,.0f} | {item.exit_code} | {item.end} |"
        for item in found
    ]
    lines += ["", "Seconds by step:", ""]
    lines += [
        f"- {item.settings}: " + ", ".join(f"{k} {v:g}" for k, v in item.steps.items()) for item in found if item.steps
    ]
    return "\n".join(lines) + "\n"


def _steps(lines: Sequence[str]) -> dict[str, float]:
    """What the trainer's line `seconds: …` says."""
    (line,) = [line.partition("seconds: ")[2] for line in lines if "seconds: " in line] or [""]
    return {name: float(value) for name, value in re.findall(r"([\w.]+) ([\d.]+)", line)}


def _end(lines: Sequence[str]) -> str:
    """The verdict, or the error that ended the training, without the time and the logger's name."""
    said = [line.partition("train-model: ")[2] for line in lines if "train-model: " in line]
    verdicts = [line for line in said if line.startswith(("promoted:", "rejected:"))]
    return (verdicts or said or ["no line"])[-1]


@contextlib.contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = mlflow_process(host="127.0.0.1", port=port, state_dir=folder)
    server = subprocess.Popen(  # noqa: S603 - as above
        process.command,
        cwd=REPOSITORY,
        env=os.environ | process.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        for member in psutil.Process(server.pid).children(recursive=True):
            member.terminate()
        server.terminate()
        server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)  # noqa: S310 - the address above
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(LOOK_SECONDS)
        else:
            return


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
