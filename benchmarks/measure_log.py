"""Measures what the prediction log and the shadow cost `/predict`: requests/s and memory with each, and without.

The three services run one after the other in each round, so that a change of the machine's speed affects all alike.
The load is a closed loop of one row per request. The registry is a fake one with the same model under two versions, so
that the shadow is as expensive as the model that it follows.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.conditions import heading, make_command, tell
from benchmarks.load.figures import Figures
from benchmarks.material import MODEL_NAME, Material, prepare
from benchmarks.measure import Loader
from benchmarks.registry import SwappingRegistry
from benchmarks.running import Running, ServerFailedError, running
from benchmarks.servers.ours import NAME, SERVERS
from src.core.rollout_record import Rollout
from src.core.rollouts import Rollouts
from src.core.settings import CommonSettings
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results/log.md"
MATERIAL = REPOSITORY / ".bench" / "material"
ROUNDS, SECONDS, CONNECTIONS = 7, 5.0, 16
SHADOW_SECONDS = 30.0
OFF, LOG, SHADOW = "without both", "log", "log and shadow"


@dataclass(frozen=True)
class Cost:
    """One service in one round: its figures under load, and its memory after it."""

    figures: Figures
    memory_bytes: int


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0, or 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="make measure-log LOG_ARGS=...", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each measures all three (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load in each (%(default)s)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="of the load (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions = heading(make_command("measure-log", arguments))
    material = prepare(MATERIAL)
    found: dict[str, list[Cost]] = {name: [] for name in (OFF, LOG, SHADOW)}
    for number in range(options.rounds):
        for name, costs in found.items():
            with _service(name, material) as service:
                figures = Loader(service, material, options.seconds).single_rows(options.connections, None)
                costs.append(Cost(figures, service.memory_bytes()))
            tell(f"round {number + 1} of {options.rounds}, {name}: {figures.per_second:,.0f} requests/s")
    options.report.write_text(report(conditions, options.connections, found), encoding="utf-8")
    return 1 if any(cost.figures.errors for costs in found.values() for cost in costs) else 0


@contextmanager
def _service(name: str, material: Material) -> Iterator[Running]:
    """The service with the log, the shadow, or neither."""
    registry = SwappingRegistry(material.model, MODEL_NAME)
    registry.swap()
    with registry.serving() as url, TemporaryDirectory(prefix="log-") as folder:
        if name == SHADOW:
            watch(Path(folder), registry)
        ours = next(server for server in SERVERS if server.name == NAME)
        variables = {
            **ours.variables,
            "DATA_DIR": folder,
            "MLFLOW_TRACKING_URI": url,
            "MODEL_CACHE_DIR": "$work/model-cache",
            "PREDICTION_LOG": str(name != OFF).lower(),
        }
        with running(dataclasses.replace(ours, variables=variables), Path(sys.executable), material) as service:
            if name == SHADOW:
                _wait_for_shadow(service)
            yield service


def watch(data_dir: Path, registry: SwappingRegistry) -> None:
    """Record that the served version was promoted just now, so that the previous one is its shadow."""
    now = datetime.now(UTC)
    version, previous = str(registry.version), str(registry.previous)
    rollouts = Rollouts(CommonSettings(data_dir=data_dir).rollouts_dir)
    rollouts.begin(
        Rollout(model=MODEL_NAME, version=version, previous=previous, started=now, until=now + timedelta(days=1))
    )


def _wait_for_shadow(service: Running) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=SHADOW_SECONDS)
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as client:
        while datetime.now(UTC) < deadline:
            if "\ninference_shadow_active 1.0" in client.get("/metrics").text:
                return
    raise ServerFailedError(f"no shadow within {SHADOW_SECONDS:g} s")


def report(conditions: str, connections: int, found: dict[str, list[Cost]]) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    lines = [
        "# What the prediction log and the shadow cost",
        "",
        conditions,
        "",
        f"One row per request on {connections} connections, {len(found[OFF])} rounds. A change is the median",
        "over rounds of the change to the service without both in the same round, with the least and the largest.",
        "",
        "| service | requests/s | change | p99 ms | memory MB | change MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_line(name, costs, found[OFF]) for name, costs in found.items()),
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, costs: list[Cost], without: list[Cost]) -> str:
    pairs = list(zip(costs, without, strict=True))
    changes = [cost.figures.per_second / base.figures.per_second - 1 for cost, base in pairs]
    memory = statistics.median(cost.memory_bytes for cost in costs) / 1e6
    more = statistics.median(cost.memory_bytes - base.memory_bytes for cost, base in pairs) / 1e6
    p99 = statistics.median(cost.figures.p99 or 0.0 for cost in costs)
    per_second = statistics.median(cost.figures.per_second for cost in costs)
    change, grown = "", ""
    if costs is not without:
        change = f"{statistics.median(changes):+.1%} ({min(changes):+.1%} to {max(changes):+.1%})"
        grown = f"{more:+.1f}"
    return f"| {name} | {per_second:,.0f} | {change} | {p99:.2f} | {memory:.1f} | {grown} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
