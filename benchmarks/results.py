"""The results of a run: every round of every server, and their medians."""

import math
import statistics
from collections import Counter
from collections.abc import Callable

import msgspec

from benchmarks.load.figures import Figures
from benchmarks.machine import Machine
from benchmarks.measure import Measurement

Figure = Callable[[Figures], float | None]


class Outcome(msgspec.Struct):
    """One server's rounds; ``failure`` is the last error, if any.

    Each figure is a median over the rounds that have it; None where no round has it.
    """

    name: str
    title: str
    note: str = ""
    measurements: list[Measurement] = []
    failure: str | None = None

    def start_seconds(self) -> float | None:
        """From the start of the process to its first successful response."""
        return _median([one.start_seconds for one in self.measurements])

    def memory_bytes(self) -> float | None:
        """Resident memory of all processes of the server."""
        return _median([one.memory_bytes for one in self.measurements])

    def closed(self, connections: int, figure: Figure) -> float | None:
        """A figure of the closed loop with so many connections."""
        return _median([figure(found) for one in self.measurements if (found := one.closed.get(connections))])

    def open(self, rate: float, figure: Figure) -> float | None:
        """A figure of the open loop at a rate."""
        return _median([figure(found) for one in self.measurements if (found := one.open.get(rate))])

    def batch(self, size: int, figure: Figure) -> float | None:
        """A figure of requests of so many rows."""
        return _median([figure(found) for one in self.measurements if (found := one.batches.get(size))])

    def health(self, size: int) -> float | None:
        """The health route's longest latency of all rounds beside requests of so many rows; infinite after errors."""
        found = [one.health[size] for one in self.measurements if size in one.health]
        longest = (math.inf if one.errors or one.maximum is None else one.maximum for one in found)
        return max(longest, default=None)

    def errors(self) -> dict[str, int]:
        """Every error of every load, by cause."""
        total: Counter[str] = Counter()
        for one in self.measurements:
            for figures in (*one.closed.values(), *one.open.values(), *one.batches.values(), *one.health.values()):
                total.update(figures.errors)
        return dict(total)

    def client_cpu(self) -> float:
        """The largest share of a core that a client used in a closed loop."""
        return max((figures.client_cpu for one in self.measurements for figures in one.closed.values()), default=0.0)

    def refused(self) -> str | None:
        """Why there are no batches; None where there are."""
        return next((one.refused for one in self.measurements if one.refused), None)


class Results(msgspec.Struct):
    """A run: the machine, the command, and the outcomes."""

    machine: Machine
    command: str
    rounds: int
    seconds: float
    outcomes: list[Outcome]

    @property
    def measured(self) -> list[Outcome]:
        """The servers with at least one complete round."""
        return [outcome for outcome in self.outcomes if outcome.measurements]

    @property
    def measured_singly(self) -> list[Outcome]:
        """The measured servers that also got requests of single rows."""
        return [outcome for outcome in self.measured if any(one.closed for one in outcome.measurements)]

    @property
    def connections(self) -> list[int]:
        """The numbers of connections of the closed loops."""
        return sorted({count for one in self._measurements() for count in one.closed})

    @property
    def rates(self) -> list[float]:
        """The rates of the open loops."""
        return sorted({rate for one in self._measurements() for rate in one.open})

    @property
    def sizes(self) -> list[int]:
        """Rows per request of the batches."""
        return sorted({size for one in self._measurements() for size in one.batches})

    def named(self, name: str) -> Outcome | None:
        """The outcome of one server, if it was measured."""
        return next((outcome for outcome in self.measured if outcome.name == name), None)

    def _measurements(self) -> list[Measurement]:
        return [one for outcome in self.outcomes for one in outcome.measurements]


def _median(values: list[float | None] | list[float] | list[int]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None
