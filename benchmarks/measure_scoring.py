"""Measures batch scoring on a Dask scheduler and workers, as processes on this machine, and what kills cost.

The rows are Iris-like, in Parquet files of equal size, and the model is the one of ``config/pipeline.yaml``. All rows
are scored by one worker, then by all of them, then once more while a worker and, later, the command itself are killed
with SIGKILL; the command is run again, and every id must be there exactly once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.conditions import heading, make_command, tell
from benchmarks.dask_cluster import Cluster, running_cluster
from benchmarks.material import MODEL_NAME, prepare
from benchmarks.registry import SwappingRegistry
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results/scoring.md"
ROWS, FILES, WORKERS = 20_000_000, 40, 2
PAUSE = 0.02


@dataclass(frozen=True)
class Scoring:
    """One run over all rows.

    Attributes:
        seconds: from the start of the command to its end.
        cpu_seconds: of the workers, so that other load on the machine does not count.
        memory_bytes: the most that a worker held.
    """

    workers: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Kills:
    """The runs with kills: outputs that were complete when the command was killed, and how often ids are there."""

    kept: int
    missing: int
    repeated: int


@dataclass(frozen=True)
class World:
    """What is scored, and the address of the registry."""

    folder: Path
    mlflow_url: str
    rows: int
    files: int

    @property
    def inputs(self) -> Path:
        """The folder of the inputs."""
        return self.folder / "inputs"

    def write(self, columns: Sequence[str]) -> None:
        """Write the inputs; ids count from 0."""
        random = np.random.default_rng(0)
        self.inputs.mkdir()
        ids = np.array_split(np.arange(self.rows), self.files)
        for number, some in enumerate(ids):
            values = {name: random.uniform(0, 7, len(some)).round(1) for name in columns}
            pq.write_table(pa.table({"id": some, **values}), self.inputs / f"part-{number:04}.parquet")

    def start(self, cluster: Cluster, outputs: Path) -> "subprocess.Popen[bytes]":
        """Start the command."""
        variables = {"MLFLOW_TRACKING_URI": self.mlflow_url, "MODEL_NAME": MODEL_NAME, **cluster.environment}
        command = [sys.executable, "run_batch.py", str(self.inputs), str(outputs), "--id", "id"]
        return subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **variables})  # noqa: S603 - ours


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 1 if a row is lost or repeated."""
    parser = argparse.ArgumentParser(prog="make measure-scoring SCORING_ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows (%(default)s)")
    parser.add_argument("--files", type=int, default=FILES, help="files (%(default)s)")
    parser.add_argument("--workers", type=int, default=WORKERS, help="workers beside the single one (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    how = heading(make_command("measure-scoring", arguments))
    with tempfile.TemporaryDirectory(prefix="scoring-") as name:
        folder = Path(name)
        material = prepare(folder / "material")
        with SwappingRegistry(material.model, MODEL_NAME).serving() as url:
            world = World(folder, url, options.rows, options.files)
            world.write(material.columns)
            tell(f"{options.rows} rows in {options.files} files are written")
            found = [score(world, workers) for workers in (1, options.workers)]
            kills = score_with_kills(world, options.workers)
    options.report.write_text(report(how, world, found, kills), encoding="utf-8")
    return int(kills.missing + kills.repeated > 0)


def score(world: World, workers: int) -> Scoring:
    """Score all rows with so many workers."""
    folder = world.folder / f"cluster-{workers}"
    folder.mkdir()
    with running_cluster(folder, workers) as cluster:
        started = time.monotonic()
        require_success(world.start(cluster, folder / "outputs").wait())
        seconds = time.monotonic() - started
        processes = [psutil.Process(worker.pid) for worker in cluster.workers]
        times = [process.cpu_times() for process in processes]
        cpu_seconds = sum(one.user + one.system for one in times)
        memory = max(_peak_bytes(process.pid) for process in processes)
    found = Scoring(workers, seconds, cpu_seconds, memory)
    tell(f"{workers} workers: {seconds:.1f} s, {cpu_seconds:.1f} s of processor time, {memory / 1e6:.0f} MB a worker")
    return found


def score_with_kills(world: World, workers: int) -> Kills:
    """Kill a worker after a quarter of the outputs and the command after half of them; run it again."""
    folder = world.folder / "killed"
    folder.mkdir()
    outputs = folder / "outputs"
    with running_cluster(folder, workers) as cluster:
        driver = world.start(cluster, outputs)
        _wait(lambda: len(complete(outputs)) >= world.files // 4, driver)
        cluster.workers[0].kill()
        cluster.start_worker()
        _wait(lambda: len(complete(outputs)) >= world.files // 2, driver)
        driver.kill()
        driver.wait()
        kept = len(complete(outputs))
        require_success(world.start(cluster, outputs).wait())
    counts = np.zeros(world.rows, dtype=np.int64)
    for path in complete(outputs):
        np.add.at(counts, pq.read_table(path, columns=["id"])["id"].to_numpy(), 1)
    found = Kills(kept, int((counts == 0).sum()), int((counts > 1).sum()))
    tell(f"after kills: {found.missing} rows are missing, {found.repeated} are there more than once")
    return found


def complete(outputs: Path) -> list[Path]:
    """The outputs that are there."""
    return sorted(outputs.glob("*.parquet"))


def require_success(exit_code: int) -> None:
    """Raise RuntimeError if the command failed."""
    if exit_code:
        raise RuntimeError(f"the command ended with {exit_code}; its output is above")


def _wait(reached: Callable[[], bool], driver: "subprocess.Popen[bytes]") -> None:
    while not reached():
        if driver.poll() is not None:
            raise RuntimeError("the command ended before it could be killed; use more files or more rows")
        time.sleep(PAUSE)


def _peak_bytes(process: int) -> int:
    """The most memory that a process has held."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def report(how: str, world: World, found: Sequence[Scoring], kills: Kills) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    one, many = found
    lines = [
        "# Batch scoring on a scheduler and workers",
        "",
        how,
        "",
        f"{world.rows:,} rows with four numbers, in {world.files} Parquet files, with the champion on ONNX Runtime.",
        "The scheduler, the workers (one thread each) and the command are processes on this machine, with TLS.",
        "",
        "| workers | seconds | rows/s | processor time of the workers, s | most memory of a worker, MB |",
        "|---|---|---|---|---|",
        *(
            f"| {one.workers} | {one.seconds:.1f} | {world.rows / one.seconds:,.0f} | {one.cpu_seconds:.1f} | "
            f"{one.memory_bytes / 1e6:.0f} |"
            for one in found
        ),
        "",
        f"{many.workers} workers are {one.seconds / many.seconds:.2f} times as fast as one.",
        "",
        "With SIGKILL of a worker after a quarter of the outputs, of the command after half of them, and a second run:",
        f"{kills.kept} outputs of the first run are kept, {kills.missing:,} rows are missing, and",
        f"{kills.repeated:,} are there more than once.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
