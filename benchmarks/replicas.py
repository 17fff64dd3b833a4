"""Entry point: measures replicas of inference behind the gateway, on the running stack (`make up`)."""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.figures import Figures, Job
from benchmarks.machine import Machine, describe
from benchmarks.measure import run_job
from src.services.local.processes import REPOSITORY

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROWS = ((5.1, 3.5, 1.4, 0.2), (6.0, 2.9, 4.5, 1.5), (6.3, 3.3, 6.0, 2.5), (4.9, 3.0, 1.4, 0.2))
OVERLAY = ("-f", "docker-compose.yml", "-f", "docker-compose.scale.yml")
WARM_UP_SECONDS = 2.0

# By set-up and connections, the figures of each round.
Measured = dict[tuple["SetUp", int], list[Figures]]


@dataclass(frozen=True)
class SetUp:
    """A deployment of inference."""

    replicas: int
    gateway: bool

    @property
    def title(self) -> str:
        """Its title in the table."""
        if not self.gateway:
            return "one container"
        return f"{self.replicas} replica{'s' if self.replicas > 1 else ''} behind the gateway"

    def start(self) -> int:
        """Change the running stack to this deployment; return its port. Raises CalledProcessError."""
        if self.gateway:
            wanted = (*OVERLAY, "up", "-d", "--wait", "--no-deps", "--scale", f"inference={self.replicas}")
            _compose(*wanted, "inference", "gateway")
            return _port(*OVERLAY, "port", "gateway", "8000")
        _compose(*OVERLAY, "rm", "--stop", "--force", "gateway")
        _compose("up", "-d", "--wait", "--no-deps", "inference")
        return _port("port", "inference", "8000")


def _compose(*arguments: str) -> str:
    command = ["docker", "compose", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout  # noqa: S603 - fixed arguments


def _port(*arguments: str) -> int:
    return int(_compose(*arguments).rpartition(":")[2])


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table; return 0, or 1 where a deployment or a request fails."""
    options = _options(arguments)
    machine = describe()
    direct = SetUp(1, gateway=False)
    set_ups = [direct, *(SetUp(count, gateway=True) for count in options.replicas)]
    measured: Measured = {}
    try:
        for number in range(options.rounds):
            for set_up in set_ups:
                port = set_up.start()
                for connections in options.connections:
                    figures = run_job(_job(port, connections, options.seconds))
                    measured.setdefault((set_up, connections), []).append(figures)
                    _tell(f"round {number + 1}, {set_up.title}, {connections} conn.: {figures.per_second:,.0f}/s")
        direct.start()
    except subprocess.CalledProcessError as error:
        _tell(f"error: {shlex.join(error.cmd)}: {(error.stderr or '').strip()}; is the stack up (make up)?")
        return 1
    page = markdown(machine, options.rounds, options.seconds, measured)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 1 if any(figures.errors for rounds in measured.values() for figures in rounds) else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4], help="behind the gateway (1 2 4)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="of the closed loops (16 64)")
    parser.add_argument("--rounds", type=int, default=3, help="each measures every set-up once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument("--out", type=Path, help="file for the table")
    return parser.parse_args(arguments)


def _job(port: int, connections: int, seconds: float) -> Job:
    return Job(
        port=port,
        path="/predict",
        content_type="application/json",
        bodies=[json.dumps(dict(zip(COLUMNS, row, strict=True))).encode() for row in ROWS],
        connections=connections,
        seconds=seconds,
        warm_up=WARM_UP_SECONDS,
    )


def markdown(machine: Machine, rounds: int, seconds: float, measured: Measured) -> str:
    """The page: the machine, and a table of medians."""
    state = "idle" if machine.idle else "not idle: the figures mean little"
    lines = [
        "# Replicas behind the gateway",
        "",
        f"{machine.measured_at}, {machine.processor}, {machine.cores} cores, load {machine.load:.2f} before ({state}).",
        f"Medians of {rounds} rounds of {seconds:g} s; one row per request, closed loops on connections that are kept.",
        f"Replicas, gateway, client and the rest of the stack share the {machine.cores} cores; the client's part shows",
        "how much of one core it took.",
        "",
        "| | connections | requests/s | p50 ms | p99 ms | errors | client's part |",
        "|---|---|---|---|---|---|---|",
    ]
    for (set_up, connections), figures in measured.items():
        p50 = statistics.median(one.p50 or 0 for one in figures)
        p99 = statistics.median(one.p99 or 0 for one in figures)
        per_second = statistics.median(one.per_second for one in figures)
        errors = sum(sum(one.errors.values()) for one in figures)
        client = statistics.median(one.client_cpu for one in figures)
        lines.append(
            f"| {set_up.title} | {connections} | {per_second:,.0f} | {p50:.2f} | {p99:.2f} | {errors} | {client:.0%} |"
        )
    return "\n".join(lines) + "\n"


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
