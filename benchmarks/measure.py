"""The measurements of a running server, in order."""

import dataclasses
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from benchmarks.load.figures import Figures, Job
from benchmarks.material import Material
from benchmarks.running import OK, Running, ServerFailedError
from benchmarks.servers.server import JSON, Rows
from src.services.local.processes import REPOSITORY

COMPARED_ALONE = 100
# The largest rate of an open loop relative to a closed loop's throughput: above it, the queue only grows.
SUSTAINABLE = 0.8
OPEN_CONNECTIONS = 64
FEWEST_BATCHES = 5
# Requests/s to the health route beside large requests, and how long these go on before and after it.
HEALTH_RATE = 50.0
HEALTH_MARGIN_SECONDS = 1.0
ONE_ROW_ONLY = "it takes one row"
# The most that a client may take in addition to the measured time.
CLIENT_SECONDS = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure of each server.

    Attributes:
        connections: of the closed loops of one row per request.
        rates: of the open loops, in requests/s.
        sizes: rows per request, for the cost of a row.
        seconds: of each measurement; warm-up comes on top.
    """

    connections: tuple[int, ...] = (1, 16, 64)
    rates: tuple[float, ...] = (25.0, 2000.0)
    sizes: tuple[int, ...] = (1, 100, 1000, 10_000, 100_000)
    seconds: float = 1.5


class Measurement(msgspec.Struct, frozen=True):
    """The figures of one round of one server.

    ``refused`` says why a batch has no figures; ``health`` are the health route's beside requests of so many rows.
    """

    start_seconds: float
    memory_bytes: int
    closed: dict[int, Figures]
    open: dict[float, Figures]
    batches: dict[int, Figures]
    refused: str | None = None
    health: dict[int, Figures] = {}


def measure(running: Running, material: Material, plan: Plan, tell: Tell) -> Measurement:
    """Verify the predictions, then run every load of the plan.

    Raises:
        ServerFailedError: a prediction is wrong, or a request of a single row fails.
    """
    compare_alone(running, material)
    refused = compare_together(running, material)
    load = Loader(running, material, plan.seconds)
    if running.server.batches_only:
        plan = dataclasses.replace(plan, connections=(), rates=())
    closed = {}
    for connections in plan.connections:
        closed[connections] = load.single_rows(connections, None)
        tell(f"{connections} conn. {closed[connections].per_second:,.0f}/s")
    memory = running.memory_bytes()
    most = max((figures.per_second for figures in closed.values()), default=0.0)
    opened = {}
    for rate in plan.rates:
        if rate <= SUSTAINABLE * most:
            opened[rate] = load.single_rows(OPEN_CONNECTIONS, rate)
            tell(f"{rate:g}/s p99 {opened[rate].p99 or 0:.1f} ms")
    batches: dict[int, Figures] = {}
    for size in plan.sizes if refused is None else ():
        try:
            batches[size] = load.batches(size)
        except ServerFailedError as error:
            refused = str(error)
            break
        tell(f"{size:,} rows {batches[size].p50 or 0:.2f} ms")
    health = {}
    if running.server.health is not None and batches:
        most_rows = max(batches)
        health[most_rows] = load.health_beside(most_rows, running.server.health)
        tell(f"{running.server.health} beside {most_rows:,} rows: at most {health[most_rows].maximum or 0:.1f} ms")
    return Measurement(running.start_seconds, memory, closed, opened, batches, refused, health)


def compare_alone(running: Running, material: Material) -> None:
    """Request predictions row by row and compare the labels with scikit-learn's.

    Raises:
        ServerFailedError: a label differs.
    """
    for row, label in zip(material.rows[:COMPARED_ALONE], material.labels, strict=False):
        status, body = running.ask(material.columns, [row])
        if status != OK:
            raise ServerFailedError(f"status {status} for one row")
        labels = running.labels(body)
        if labels is not None and labels != [label]:
            raise ServerFailedError(f"it predicts {labels} for {row}, and the model {label}")


def compare_together(running: Running, material: Material) -> str | None:
    """Request predictions for all rows at once and compare; return why batches are not supported, or None.

    Raises:
        ServerFailedError: it responds, and a label differs.
    """
    if not running.server.takes_batches:
        return ONE_ROW_ONLY
    status, body = running.ask(material.columns, material.rows)
    if status != OK:
        return f"status {status} for {len(material.rows):,} rows"
    labels = running.labels(body) or []
    wrong = sum(label != expected for label, expected in zip(labels, material.labels, strict=False))
    if wrong or len(labels) != len(material.labels):
        raise ServerFailedError(f"it returns {len(labels)} labels for {len(material.rows)} rows, {wrong} of them wrong")
    return None


class Loader:
    """Runs the load generator on one server."""

    def __init__(self, running: Running, material: Material, seconds: float) -> None:
        self._running = running
        self._material = material
        self._seconds = seconds

    def single_rows(self, connections: int, rate: float | None) -> Figures:
        """Requests of one row each, all rows in turn."""
        # Twice the time at a fixed rate, for enough requests for a p99.
        seconds = self._seconds if rate is None else 2 * self._seconds
        return self._run([[row] for row in self._material.rows], connections, seconds, rate)

    def batches(self, size: int) -> Figures:
        """Requests of so many rows on one connection; longer where the time allows only a few of them.

        Raises:
            ServerFailedError: the server refuses them.
        """
        rows = self._material.take(size)
        started = time.perf_counter()
        status, _ = self._running.ask(self._material.columns, rows)
        if status != OK:
            raise ServerFailedError(f"status {status} for {size:,} rows")
        return self._run([rows], 1, max(self._seconds, FEWEST_BATCHES * (time.perf_counter() - started)), None)

    def health_beside(self, size: int, path: str) -> Figures:
        """GET requests to a route at a fixed rate while requests of so many rows are answered.

        Returns:
            The figures of the route, with the errors of both.
        """
        large = self._job([self._material.take(size)], 1, self._seconds + 2 * HEALTH_MARGIN_SECONDS, None)
        port, seconds, margin = self._running.port, self._seconds, HEALTH_MARGIN_SECONDS
        small = Job(port, path, JSON, [b""], 1, seconds, margin, HEALTH_RATE, method="GET")
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(run_job, large)
            figures = run_job(small)
        return msgspec.structs.replace(figures, errors=Counter(figures.errors) + Counter(answering.result().errors))

    def _run(self, bodies: list[Rows], connections: int, seconds: float, rate: float | None) -> Figures:
        return run_job(self._job(bodies, connections, seconds, rate))

    def _job(self, bodies: list[Rows], connections: int, seconds: float, rate: float | None) -> Job:
        server = self._running.server
        return Job(
            port=self._running.port,
            path=server.path,
            content_type=server.content_type,
            bodies=[server.encode(self._material.columns, rows) for rows in bodies],
            connections=connections,
            seconds=seconds,
            warm_up=min(1.0, seconds / 2),
            rate=rate,
            headers=server.headers,
        )


def run_job(job: Job) -> Figures:
    """Run the load generator in its own process and return its figures."""
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.load.run_load"],
        cwd=REPOSITORY,
        input=msgspec.json.encode(job),
        stdout=subprocess.PIPE,
        check=True,
        timeout=job.warm_up + job.seconds + CLIENT_SECONDS,
    )
    return msgspec.json.decode(client.stdout, type=Figures)
