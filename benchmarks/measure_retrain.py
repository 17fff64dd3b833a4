"""Measures the time from `POST /retrain` to the first prediction by the new version, as `make local` runs the loop.

The data set is Iris, so that almost all of it is the loop's own time. Requests follow one another; a training is
only started when the one before has ended.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conditions import heading, make_command, tell
from benchmarks.loop import LocalLoop, local_loop, step_seconds
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results/retrain.md"
RETRAINS = 5
LONGEST_SECONDS = 120.0
# In the monitor's log.
RUN_ENDED = "the training run ended"


@dataclass(frozen=True)
class Retrain:
    """One request: seconds until the new version answers, and the training's own seconds by step."""

    served_after: float
    steps: dict[str, float]


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-retrain RETRAIN_ARGS=...", description=__doc__)
    parser.add_argument("--retrains", type=int, default=RETRAINS, help="requests (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions = heading(make_command("measure-retrain", arguments))
    with tempfile.TemporaryDirectory(prefix="retrain-") as folder, local_loop(Path(folder)) as loop:
        loop.wait(lambda: _ended_runs(loop) > 0, LONGEST_SECONDS)
        found = []
        for number in range(options.retrains):
            found.append(retrain(loop))
            tell(f"{number + 1} of {options.retrains}: {found[-1].served_after:.1f} s")
    options.report.write_text(report(conditions, found), encoding="utf-8")
    return 0


def retrain(loop: LocalLoop) -> Retrain:
    """Request a training, and wait until its version answers and its process has ended, so that the next one can start.

    Raises:
        ServerFailedError: it takes more than ``LONGEST_SECONDS``.
    """
    before, ended, started = loop.version(), _ended_runs(loop), time.monotonic()
    loop.client.post("/retrain").raise_for_status()
    loop.wait(lambda: loop.version() != before, LONGEST_SECONDS)
    served = time.monotonic() - started
    loop.wait(lambda: _ended_runs(loop) > ended, LONGEST_SECONDS)
    return Retrain(served, step_seconds(loop.log.read_text(encoding="utf-8").splitlines()))


def _ended_runs(loop: LocalLoop) -> int:
    return loop.log.read_text(encoding="utf-8").count(RUN_ENDED)


def report(conditions: str, found: Sequence[Retrain]) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    seconds = [item.served_after for item in found]
    steps = {name: statistics.median(item.steps[name] for item in found) for name in found[0].steps}
    middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
    lines = [
        "# From a retrain request to the new version",
        "",
        conditions,
        "",
        f"Iris, {len(found)} requests: {middle:.1f} s in the median ({least:.1f} to {most:.1f}) from `POST /retrain`",
        "until `/health` names the new version.",
        "",
        "Median seconds of the training by step; `pipeline` contains the steps that follow it, and `total` all:",
        "",
        "| step | seconds |",
        "| --- | ---: |",
        *(f"| {name} | {value:.1f} |" for name, value in steps.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
