"""Simulated watches for the rollback on errors and latency: which outcomes the checks of both versions have."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.core.evidence import ERRORS_ALPHA, LATENCY_ALPHA, judge
from src.serving.watch.paired_checks import LEAST_SLOW_SECONDS

ROWS = 5000
# Numbers of checked rows after which it is counted how many runs are decided.
CHECKED = (20, 100, 500, 1000)
MAX_SLOWDOWN = 3.0
SEED = 20261201

Draw = Callable[[int, np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True)
class InstantWorld:
    """How the two versions behave.

    Attributes:
        name: for the table.
        advantages: draws those of the new version on so many rows.
        alpha: the largest probability of a wrong rollback.
        is_worse: whether a rollback is right.
    """

    name: str
    advantages: Draw
    alpha: float
    is_worse: bool = False


def failing(new: float, previous: float) -> Draw:
    """The new version fails on a share of the rows, and the previous one on a share of others."""

    def draw(rows: int, random: np.random.Generator) -> NDArray[np.float64]:
        draws = random.random(rows)
        return np.where(draws < new, -1.0, np.where(draws < new + previous, 1.0, 0.0))

    return draw


def taking(new: float, previous: float) -> Draw:
    """Both versions take so many seconds in the median: log-normal times, of which 2 % have a pause as well.

    The pauses, of 20 ms and more, have a Pareto distribution without a variance.
    """

    def draw(rows: int, random: np.random.Generator) -> NDArray[np.float64]:
        pauses = 0.02 * (1 + random.pareto(1.5, (rows, 2))) * (random.random((rows, 2)) < 0.02)  # noqa: PLR2004
        times = np.array([new, previous]) * random.lognormal(0, 0.5, (rows, 2)) + pauses
        is_slow = (times[:, 0] > LEAST_SLOW_SECONDS) & (times[:, 0] > MAX_SLOWDOWN * times[:, 1])
        return np.where(is_slow, -1.0, 1.0)

    return draw


WORLDS = (
    InstantWorld("both fail on 2 % of the rows, on different ones", failing(0.02, 0.02), ERRORS_ALPHA),
    InstantWorld("both fail on 30 %, on different ones", failing(0.3, 0.3), ERRORS_ALPHA),
    InstantWorld("the previous one fails on 2 %, the new one on 1 %", failing(0.01, 0.02), ERRORS_ALPHA),
    InstantWorld("both take 20 ms", taking(0.02, 0.02), LATENCY_ALPHA),
    InstantWorld("the new one takes 40 ms, the previous one 20 ms", taking(0.04, 0.02), LATENCY_ALPHA),
    InstantWorld("the new one takes 2 ms, the previous one 0.2 ms", taking(0.002, 0.0002), LATENCY_ALPHA),
    InstantWorld("the new one fails on all rows", failing(1, 0), ERRORS_ALPHA, is_worse=True),
    InstantWorld("the new one fails on 20 %", failing(0.2, 0), ERRORS_ALPHA, is_worse=True),
    InstantWorld("the new one fails on 2 %", failing(0.02, 0), ERRORS_ALPHA, is_worse=True),
    InstantWorld("the new one fails on 2 %, the other one on 0.2 %", failing(0.02, 0.002), ERRORS_ALPHA, is_worse=True),
    InstantWorld("the new one takes 200 ms, the previous one 20 ms", taking(0.2, 0.02), LATENCY_ALPHA, is_worse=True),
    InstantWorld("the new one takes 80 ms, the previous one 20 ms", taking(0.08, 0.02), LATENCY_ALPHA, is_worse=True),
)


@dataclass(frozen=True)
class InstantDecisions:
    """How many of a world's runs are rolled back after so many checked rows, and in all."""

    world: InstantWorld
    runs: int
    by_rows: tuple[int, ...]
    in_all: int


def simulate(null_runs: int, worse_runs: int) -> Iterator[InstantDecisions]:
    """The decisions in every world."""
    for world in WORLDS:
        random, runs = np.random.default_rng(SEED), worse_runs if world.is_worse else null_runs
        found = [judge(world.advantages(ROWS, random), world.alpha) for _ in range(runs)]
        at = [verdict.rows for verdict in found if verdict.is_worse]
        yield InstantDecisions(world, runs, tuple(sum(rows <= limit for rows in at) for limit in CHECKED), len(at))


def report(found: Sequence[InstantDecisions]) -> list[str]:
    """The lines of the report."""
    null = [decisions for decisions in found if not decisions.world.is_worse]
    wrong, runs = sum(decisions.in_all for decisions in null), sum(decisions.runs for decisions in null)
    lines = [
        "## On errors and latency",
        "",
        f"Of {runs:,} runs in which the new version neither fails more often nor is too slow, {wrong / runs:.2%} were",
        f"rolled back; the test promises at most {ERRORS_ALPHA:.2%} for errors, and for latency {LATENCY_ALPHA:.2%}.",
        f"Each run has {ROWS:,} checked rows. Up to {MAX_SLOWDOWN:g} times as long is not too slow, and neither is",
        f"{LEAST_SLOW_SECONDS * 1e3:g} ms. Times are log-normal around the median, and 2 % of them have a pause with a",
        "heavy tail.",
        "",
        f"| both versions | runs | rolled back | {' | '.join(f'within {limit:,} rows' for limit in CHECKED)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in CHECKED)} |",
    ]
    for decisions in found:
        shares = [f"{count / decisions.runs:.1%}" for count in (decisions.in_all, *decisions.by_rows)]
        lines.append(f"| {decisions.world.name} | {decisions.runs:,} | {' | '.join(shares)} |")
    return lines
