"""Entry point: measures the latency of in-flight requests during swaps to another version, at a fixed rate."""

import argparse
import contextlib
import dataclasses
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from benchmarks.load.figures import Figures, Job
from benchmarks.machine import describe
from benchmarks.material import MODEL_NAME, Material, prepare
from benchmarks.measure import run_job
from benchmarks.registry import SwappingRegistry
from benchmarks.running import running
from benchmarks.servers.ours import SERVERS
from src.services.local.processes import REPOSITORY

MATERIAL = REPOSITORY / ".bench" / "material"
POLL_SECONDS = 0.1
CONNECTIONS = 16


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return 0, or 1 where a request failed."""
    options = _options(arguments)
    machine = describe()
    material = prepare(MATERIAL)
    registry = SwappingRegistry(material.model, MODEL_NAME)
    with registry.serving() as url:
        ours = next(server for server in SERVERS if server.name == "ours")
        variables = {
            **ours.variables,
            "MLFLOW_TRACKING_URI": url,
            "MODEL_POLL_SECONDS": str(POLL_SECONDS),
            "MODEL_CACHE_DIR": "$work/model-cache",  # the shared cache must not change
        }
        with running(dataclasses.replace(ours, variables=variables), Path(sys.executable), material) as service:
            job = _job(service.port, material, options.rate, options.swaps * options.every)
            steady = run_job(job)
            before = _swaps(service.port)
            with _swapping(registry, options.every):
                swapped = run_job(job)
            swaps = _swaps(service.port) - before
    print(f"{machine.measured_at}, {machine.cores} cores, load {machine.load:.2f} before, {options.rate:g} requests/s")  # noqa: T201 - the command's own output
    print(_line("no swap", steady))  # noqa: T201 - as above
    print(_line(f"{swaps:.0f} swaps", swapped))  # noqa: T201 - as above
    return 1 if steady.errors or swapped.errors else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--swaps", type=int, default=20, help="about so many (%(default)s)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one to the next (%(default)s)")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second (%(default)s)")
    return parser.parse_args(arguments)


def _job(port: int, material: Material, rate: float, seconds: float) -> Job:
    rows = material.take(100)
    return Job(
        port=port,
        path="/predict",
        content_type="application/json",
        bodies=[json.dumps(dict(zip(material.columns, row, strict=True))).encode() for row in rows],
        connections=CONNECTIONS,
        seconds=seconds,
        warm_up=1.0,
        rate=rate,
    )


def _swaps(port: int) -> float:
    """The number of versions that the service has loaded."""
    for line in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines():
        if line.startswith('inference_model_reloads_total{outcome="success"}'):
            return float(line.rpartition(" ")[2])
    return 0.0


@contextlib.contextmanager
def _swapping(registry: SwappingRegistry, every: float) -> Iterator[None]:
    """Move the alias repeatedly until the block ends."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(every):
            registry.swap()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _line(name: str, figures: Figures) -> str:
    errors = json.dumps(figures.errors) if figures.errors else "none"
    return (
        f"{name}: {figures.answers} answers, p50 {figures.p50 or 0:.2f} ms, p99 {figures.p99 or 0:.2f} ms, "
        f"longest {figures.maximum or 0:.1f} ms, errors {errors}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
