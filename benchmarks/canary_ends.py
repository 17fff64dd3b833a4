"""Simulated canaries: how often one that is worse by ``max_drop`` is promoted, and how soon an equal one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from src.core.evidence import NOT_WORSE_ALPHA, log_evidence_not_worse

MAX_DROP = 0.02
ROWS = 10_000
# Numbers of labels after which it is counted how many runs are promoted.
LABELS = (500, 1000, 2000, 5000, ROWS)
SEED = 20261202


@dataclass(frozen=True)
class CanaryWorld:
    """The share of rows on which only one version is right, and by how much the new one is worse."""

    differing: float
    drop: float

    @property
    def name(self) -> str:
        """For the table."""
        level = f"-{self.drop * 100:g} points" if self.drop else "equal"
        return f"{level}, only one is right on {self.differing * 100:g} % of the rows"

    def promoted_at(self, random: np.random.Generator) -> int | None:
        """After how many labels one run proves that the version is not worse; None if it never does."""
        worse = (self.differing + self.drop) / 2
        found = random.choice([-1.0, 1.0, 0.0], size=ROWS, p=[worse, self.differing - worse, 1 - self.differing])
        reached = np.flatnonzero(log_evidence_not_worse(found, MAX_DROP) >= -np.log(NOT_WORSE_ALPHA))
        return int(reached[0]) + 1 if len(reached) else None


WORLDS = tuple(CanaryWorld(differing, drop) for drop in (MAX_DROP, 0.0) for differing in (0.05, 0.1, 0.2))


@dataclass(frozen=True)
class CanaryDecisions:
    """How many of a world's runs are promoted after so many labels, and the labels after which half of them are."""

    world: CanaryWorld
    runs: int
    by_labels: tuple[int, ...]
    median: int | None


def simulate(runs: int) -> Iterator[CanaryDecisions]:
    """The decisions in every world."""
    for world in WORLDS:
        random = np.random.default_rng(SEED)
        at = sorted(found for found in (world.promoted_at(random) for _ in range(runs)) if found is not None)
        half = (runs + 1) // 2
        median = at[half - 1] if len(at) >= half else None
        yield CanaryDecisions(world, runs, tuple(sum(rows <= limit for rows in at) for limit in LABELS), median)


def report(found: Sequence[CanaryDecisions]) -> list[str]:
    """Lines of Markdown."""
    wrong = max(one.by_labels[-1] / one.runs for one in found if one.world.drop)
    lines = [
        "## A canary on true labels",
        "",
        f"Of canaries that are worse by exactly `max_drop: {MAX_DROP}`, at most {wrong:.1%} are promoted within",
        f"{ROWS:,} labels in any world; the test promises at most {NOT_WORSE_ALPHA:.0%}. Every label is a look.",
        "",
        f"| new version | runs | {' | '.join(f'within {limit:,} labels' for limit in LABELS)} | median labels |",
        f"| --- | ---: | {' | '.join('---:' for _ in LABELS)} | ---: |",
    ]
    for one in found:
        shares = " | ".join(f"{count / one.runs:.1%}" for count in one.by_labels)
        median = f"{one.median:,}" if one.median is not None else "none"
        lines.append(f"| {one.world.name} | {one.runs:,} | {shares} | {median} |")
    return lines
