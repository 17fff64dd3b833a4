"""Rounds: measures all servers one after the other, repeatedly, so that changes of the machine affect all of them."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import NotInstalledError, python_of
from benchmarks.material import Material
from benchmarks.measure import Plan, Tell, measure
from benchmarks.results import Outcome
from benchmarks.running import ServerFailedError, running
from benchmarks.servers.server import Server


class Candidate:
    """A server and its outcome; without a Python where its environment cannot be created."""

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
    """Measure every installed candidate once per round; a failure does not stop the others."""
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
