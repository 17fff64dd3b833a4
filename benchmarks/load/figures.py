"""The figures of a load, computed from single latencies."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

OK = 200
LOST = 0  # the status of a request whose connection was lost before the end of the response


class Job(msgspec.Struct, frozen=True):
    """One load on one server; the bodies are sent in turn.

    ``rate`` in requests/s makes it an open loop; without it each connection sends as soon as it has a response.
    ``seconds`` are measured after a warm-up of ``warm_up`` seconds. ``headers`` are those besides the content's.
    """

    port: int
    path: str
    content_type: str
    bodies: list[bytes]
    connections: int
    seconds: float
    warm_up: float
    rate: float | None = None
    headers: Mapping[str, str] = {}
    method: str = "POST"


class Figures(msgspec.Struct, frozen=True):
    """The figures of a job. Latencies are in ms, and None without any response.

    ``errors`` counts by cause; ``sent_late_p99`` is the client's own share of an open loop's latency; ``client_cpu`` is
    the share of one core that the client used: near 1, the client was the bottleneck.
    """

    answers: int
    per_second: float
    p50: float | None
    p90: float | None
    p99: float | None
    maximum: float | None
    errors: dict[str, int]
    client_cpu: float
    sent_late_p99: float | None = None


class Tally:
    """Collects latencies in seconds and errors of the requests whose time is in ``[begin, end)``."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin = begin
        self.end = end
        self.latencies: list[float] = []
        self.sent_late: list[float] = []
        self.errors: Counter[str] = Counter()
        self._answers = 0

    def add(self, at: float, latency: float, status: int) -> None:
        """Count one request by its status, if the time ``at`` is inside."""
        if not self.begin <= at < self.end:
            return
        if status == OK:
            self._answers += 1
            self.latencies.append(latency)
        else:
            self.errors["connection lost" if status == LOST else f"status {status}"] += 1

    def add_unanswered(self, at: float, waited: float) -> None:
        """Count a request without a response: an error, with the time waited as latency."""
        if self.begin <= at < self.end:
            self.latencies.append(waited)
            self.errors["unanswered"] += 1

    def figures(self, client_cpu: float) -> Figures:
        """The figures of the collected requests."""
        latencies = sorted(self.latencies)
        return Figures(
            answers=self._answers,
            per_second=self._answers / (self.end - self.begin),
            p50=_milliseconds(latencies, 0.5),
            p90=_milliseconds(latencies, 0.9),
            p99=_milliseconds(latencies, 0.99),
            maximum=_milliseconds(latencies, 1.0),
            errors=dict(self.errors),
            client_cpu=client_cpu,
            sent_late_p99=_milliseconds(sorted(self.sent_late), 0.99),
        )


def _milliseconds(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of ordered seconds."""
    return ordered[math.ceil(share * len(ordered)) - 1] * 1000 if ordered else None
