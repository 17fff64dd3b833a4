"""Rounds: every server in its turn, again and again, so that a machine's moods meet all of them."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import NotInstalledError, python_of
from benchmarks.material import Material
from benchmarks.measure import Plan, Tell, measure
from benchmarks.results import Outcome
from benchmarks.running import ServerFailedError, running
from benchmarks.servers.server import Server


class Candidate:
    """A server and what comes of it; without a Python where its environment cannot be made."""

    def __init__(self, server: Server, environments: Path, tell: Tell) -> None:
        self.server = server
        self.outcome = Outcome(server.name, server.title, server.note)
        self.python: Path | None = None
        try:
            self.python = python_of(server.environment, environments)
        except NotInstalledError as error:
            self.outcome.failure = f"cannot be installed: {error}"
            tell(f"{server.name} cannot be installed: {error}")


def measure_rounds(candidates: Sequence[Candidate], material: Material, plan: Plan, rounds: int, tell: Tell) -> None:
    """Measure every candidate that can be started, once a round; one that fails does not stop the others."""
    for number in range(1, rounds + 1):
        for candidate in candidates:
            if candidate.python is not None:
                tell(f"round {number} of {rounds}: {candidate.server.name}")
                _measure_one(candidate, candidate.python, material, plan, tell)


def _measure_one(candidate: Candidate, python: Path, material: Material, plan: Plan, tell: Tell) -> None:
    try:
        with running(candidate.server, python, material) as started:
            tell(f"  started in {started.start_seconds:.2f} s")
            found = measure(started, material, plan, lambda text: tell(f"  {text}"))
    except ServerFailedError as error:
        candidate.outcome.failure = str(error)
        tell(f"  failed: {error}")
    else:
        candidate.outcome.measurements.append(found)
