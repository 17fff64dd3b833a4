"""How often the test for an automatic rollback is wrong about a version that is not worse, and how soon it finds one.

``make measure-rollback`` simulates promotions: two versions answer the same rows, a share of them gets a label, and the
test is asked after every label. The rollback on errors and latency, and the promotion of a canary, are simulated in the
same way.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import canary_ends, instant_rollback
from benchmarks.canary_ends import CanaryDecisions
from benchmarks.conditions import heading, make_command, tell
from benchmarks.instant_rollback import InstantDecisions
from src.core.evidence import LABELS_ALPHA, judge

PUBLISHED = Path(__file__).parent / "results/rollback.md"
ROWS = 10_000
LABELLED = 0.3
# Numbers of labels after which it is counted how many runs are decided; most runs have no more labels than the last.
LABELS = (500, 1000, 1500, 2000, 3000)
NULL_RUNS, WORSE_RUNS = 1000, 1000
SEED = 20261130


@dataclass(frozen=True)
class World:
    """The shares of rows that only the new and only the previous version answers rightly, before and after a change.

    Attributes:
        name: for the table.
        before: both shares in the first half of the rows.
        after: in the second half.
        is_worse: whether the new version is worse by 5 points in either half.
    """

    name: str
    before: tuple[float, float]
    after: tuple[float, float]
    is_worse: bool = False

    def advantages(self, rows: int, labelled: float, random: np.random.Generator) -> NDArray[np.float64]:
        """The advantages of the new version on the labelled rows of one run, in their order."""
        late = np.arange(rows) >= rows // 2
        new, previous = np.where(late[:, None], self.after, self.before).T
        draws = random.random(rows)
        found = np.where(draws < new, 1.0, np.where(draws < new + previous, -1.0, 0.0))
        return np.asarray(found[random.random(rows) < labelled])


# Of rows on which only one version is right, there are more where both are often wrong: after a change of the world.
WORLDS = (
    World("equal, rarely different", (0.01, 0.01), (0.01, 0.01)),
    World("equal, often different", (0.10, 0.10), (0.10, 0.10)),
    World("a change that hurts both equally", (0.03, 0.03), (0.15, 0.15)),
    World("a change that hurts both, the previous one more", (0.05, 0.05), (0.16, 0.12)),
    World("better, then equal", (0.06, 0.02), (0.06, 0.06)),
    World("-5 points, different on 7 % of the rows", (0.01, 0.06), (0.01, 0.06), is_worse=True),
    World("-5 points, different on 11 %", (0.03, 0.08), (0.03, 0.08), is_worse=True),
    World("-5 points, different on 17 %", (0.06, 0.11), (0.06, 0.11), is_worse=True),
    World("-5 points, different on 25 %", (0.10, 0.15), (0.10, 0.15), is_worse=True),
    World("-5 points, different on 35 %", (0.15, 0.20), (0.15, 0.20), is_worse=True),
)


@dataclass(frozen=True)
class Decisions:
    """How many of a world's runs are rolled back after so many labels, and in all."""

    world: World
    runs: int
    by_labels: tuple[int, ...]
    in_all: int


def simulate(null_runs: int, worse_runs: int) -> Iterator[Decisions]:
    """The decisions in every world."""
    for world in WORLDS:
        random, runs = np.random.default_rng(SEED), worse_runs if world.is_worse else null_runs
        found = [judge(world.advantages(ROWS, LABELLED, random), LABELS_ALPHA) for _ in range(runs)]
        at = [verdict.rows for verdict in found if verdict.is_worse]
        yield Decisions(world, runs, tuple(sum(rows <= limit for rows in at) for limit in LABELS), len(at))


def report(
    conditions: str,
    found: Sequence[Decisions],
    instant: Sequence[InstantDecisions],
    canaries: Sequence[CanaryDecisions],
) -> str:
    """The shares as Markdown, below the lines that say how they were measured."""
    null = [decisions for decisions in found if not decisions.world.is_worse]
    wrong, runs = sum(decisions.in_all for decisions in null), sum(decisions.runs for decisions in null)
    lines = [
        "# Automatic rollback: wrong and right decisions",
        "",
        conditions,
        "",
        "## On true labels",
        "",
        f"Of {runs:,} runs in which the new version is not worse, {wrong / runs:.2%} were rolled back; the test",
        f"promises at most {LABELS_ALPHA:.1%} in each world. Each run has {ROWS:,} rows, {LABELLED:.0%} of them",
        "labelled, and the test is asked after every label.",
        "",
        f"| new version | runs | rolled back | {' | '.join(f'within {limit:,} labels' for limit in LABELS)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in LABELS)} |",
    ]
    for decisions in found:
        shares = [f"{count / decisions.runs:.1%}" for count in (decisions.in_all, *decisions.by_labels)]
        lines.append(f"| {decisions.world.name} | {decisions.runs:,} | {' | '.join(shares)} |")
    lines += [
        "",
        "The more often the two versions differ, the more labels a difference of 5 points takes: chance alone moves",
        "the difference of their accuracies by more.",
        "",
        *instant_rollback.report(instant),
        "",
        *canary_ends.report(canaries),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-rollback ROLLBACK_ARGS=...", description=__doc__)
    parser.add_argument(
        "--null-runs", type=int, default=NULL_RUNS, help="runs of each world without harm (%(default)s)"
    )
    parser.add_argument("--worse-runs", type=int, default=WORSE_RUNS, help="runs of each other world (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions, found = heading(make_command("measure-rollback", arguments)), []
    for decisions in simulate(options.null_runs, options.worse_runs):
        found.append(decisions)
        tell(f"{len(found)} of {len(WORLDS)}: {decisions.world.name}: {decisions.in_all} of {decisions.runs}")
    instant = list(instant_rollback.simulate(options.null_runs, options.worse_runs))
    tell(f"errors and latency: {sum(decisions.in_all for decisions in instant)} rolled back")
    canaries = list(canary_ends.simulate(options.worse_runs))
    tell(f"canaries: {sum(decisions.by_labels[-1] for decisions in canaries)} promoted")
    options.report.write_text(report(conditions, found, instant, canaries), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
