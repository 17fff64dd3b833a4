"""The goals of this service's speed, and what a run measured of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from benchmarks.results import Figure, Outcome, Results
from benchmarks.servers.ours import BEFORE, NAME

ECHO = "echo"
TIMES = "\N{MULTIPLICATION SIGN}"
# Servers without a model, which are no peers.
BARE = frozenset({"constant", ECHO, "asgi"})
ECHO_GOALS = {
    NAME: ("`/predict`", {1: 1.5, 16: 4.5, 64: 5.0}),
    "ours-mlflow": ("`/invocations`", {16: 1.0, 64: 1.0}),
    "ours-v2": ("V2 `infer`", {16: 1.0, 64: 1.0}),
}
PEER_GOALS = {16: 18.0, 64: 18.0}
TAIL_AT, TAIL = 16, 3.0
LARGE = 100_000
FORMATS = {
    NAME: "records",
    "ours-mlflow": "MLflow split",
    "ours-v2": "V2 JSON",
    "ours-v2-binary": "V2 binary",
    "ours-csv": "CSV",
    "ours-arrow": "Arrow stream",
    "ours-parquet": "Parquet",
}
HEALTH_MS = 50.0
START_SECONDS = 1.5
MEMORY_MB = 130.0
PER_SECOND: Figure = attrgetter("per_second")


@dataclass(frozen=True)
class Goal:
    """A goal: a limit, and what was measured.

    Attributes:
        what: is measured.
        limit: the least value that meets the goal, or the largest; None where it depends on a peer not measured.
        measured: None where it was not.
        unit: of both.
        at_least: whether the limit is the least value.
        decimals: shown of both.
    """

    what: str
    limit: float | None
    measured: float | None
    unit: str = TIMES
    at_least: bool = False
    decimals: int = 2

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it was not measured."""
        if self.limit is None or self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def goals(results: Results) -> list[Goal]:
    """Every goal, in the order of the page."""
    return [*_throughput(results), *_large_tables(results), *_resources(results)]


def ratio(mine: Outcome | None, other: Outcome | None, connections: int) -> float | None:
    """One server's requests/s in closed loops as a multiple of another's."""
    if mine is None or other is None:
        return None
    ours, theirs = mine.closed(connections, PER_SECOND), other.closed(connections, PER_SECOND)
    return ours / theirs if ours and theirs else None


def _peers(results: Results) -> list[Outcome]:
    """The servers with the model that are not this service, of this checkout or another one."""
    with_model = (outcome for outcome in results.measured if outcome.name not in BARE)
    return [outcome for outcome in with_model if not outcome.name.startswith((NAME, BEFORE))]


def _throughput(results: Results) -> Iterator[Goal]:
    echo, ours = results.named(ECHO), results.named(NAME)
    for name, (what, limits) in ECHO_GOALS.items():
        for count, limit in limits.items():
            measured = ratio(results.named(name), echo, count)
            yield Goal(f"{what} against FastAPI's echo, {count} conn.", limit, measured, at_least=True)
    p50, p99 = (ours and ours.closed(TAIL_AT, attrgetter(name)) for name in ("p50", "p99"))
    yield Goal(f"`/predict`, p99 against p50, {TAIL_AT} conn.", TAIL, p99 / p50 if p50 and p99 else None)
    for count, limit in PEER_GOALS.items():
        ratios = {peer.title: found for peer in _peers(results) if (found := ratio(ours, peer, count)) is not None}
        fastest = min(ratios, key=ratios.__getitem__, default=None)
        what = f"`/predict` against the fastest peer{f' ({fastest})' if fastest else ''}, {count} conn."
        yield Goal(what, limit, ratios[fastest] if fastest else None, at_least=True)


def _large_tables(results: Results) -> Iterator[Goal]:
    costs = {peer.title: cost for peer in _peers(results) if (cost := _row_cost(peer)) is not None}
    best = min(costs, key=costs.__getitem__, default=None)
    limit, whose = (costs[best], f" ({best})") if best else (None, "")
    health: list[float] = []
    for name, form in FORMATS.items():
        outcome = results.named(name)
        yield Goal(f"{LARGE:,} rows as {form} against the best peer{whose}", limit, _row_cost(outcome), "µs per row")
        if outcome and (longest := outcome.health(LARGE)) is not None:
            health.append(longest)
    yield Goal(f"`/health` beside {LARGE:,} rows in any of these formats", HEALTH_MS, max(health, default=None), "ms")


def _row_cost(outcome: Outcome | None) -> float | None:
    """The p50 of a large request in µs per row."""
    p50 = outcome and outcome.batch(LARGE, attrgetter("p50"))
    return p50 * 1000 / LARGE if p50 else None


def _resources(results: Results) -> Iterator[Goal]:
    """The largest of the routes with requests of single rows."""
    measured = [outcome for outcome in results.measured_singly if outcome.name in ECHO_GOALS]
    starts = [found for outcome in measured if (found := outcome.start_seconds()) is not None]
    sizes = [found / 1e6 for outcome in measured if (found := outcome.memory_bytes()) is not None]
    yield Goal("start to the first answer", START_SECONDS, max(starts, default=None), "s")
    yield Goal("memory after single rows", MEMORY_MB, max(sizes, default=None), "MB", decimals=0)
