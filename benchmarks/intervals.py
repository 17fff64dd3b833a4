"""How often the gate's 95 % intervals of a difference between two models cover the true one.

``make measure-intervals`` writes a table for several metrics, kinds of dependence and numbers of rows. The true
difference is that on 400,000 fresh rows.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.conditions import heading, make_command, tell
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE
from src.training.resampling import LEVEL, bootstrap
from src.training.scoring import Metric
from src.training.sums import Target

PUBLISHED = Path(__file__).parent / "results/intervals.md"
TRUTH_ROWS = 400_000
REPEATS = 500
SIZES = (300, 1000)
LEAST, MOST = 0.92, 0.98
PARTS = 5
Draws = NDArray[np.float64]
Models = tuple[Answers, Answers]


def independent(rows: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Draws]:
    """Independent rows."""
    return np.arange(rows), random.normal(size=(rows, PARTS))


def repeated_keys(rows: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Draws]:
    """Rows that occur one to five times."""
    keys = np.repeat(np.arange(rows), random.integers(1, 6, size=rows))[:rows]
    return keys, random.normal(size=(rows, PARTS))[keys]


def groups(rows: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Draws]:
    """Groups of about ten rows that share a third of the variance."""
    group = random.integers(0, rows // 10, size=rows)
    own, shared = random.normal(size=(rows, PARTS)), random.normal(size=(rows // 10, PARTS))
    return group, np.sqrt(2 / 3) * own + np.sqrt(1 / 3) * shared[group]


def time_blocks(rows: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Draws]:
    """Consecutive rows, correlated by 0.5, in blocks of n^(1/3)."""
    shocks = random.normal(size=(rows + 50, PARTS))
    series = lfilter([np.sqrt(1 - 0.5**2)], [1, -0.5], shocks, axis=0)[50:]
    return np.arange(rows) // round(rows ** (1 / 3)), series


def three_classes(draws: Draws) -> Models:
    """Two models of similar quality with independent errors."""
    names, limits = np.array(["a", "b", "c"]), [-0.3, 0.9]
    truth, first, second = (
        names[np.digitize(found, limits)]
        for found in (draws[:, 0], draws[:, 0] + 0.5 * draws[:, 1], draws[:, 0] + 0.5 * draws[:, 2] + 0.05)
    )
    return Answers("first", ("a", "b", "c"), truth, first), Answers("second", ("a", "b", "c"), truth, second)


def two_classes(draws: Draws) -> Models:
    """Two models that rank rows differently."""
    truth = np.where(draws[:, 0] + draws[:, 3] > 1, "b", "a")

    def model(score: Draws) -> Answers:
        share = 1 / (1 + np.exp(-score))
        values = np.where(share > 0.5, "b", "a")  # noqa: PLR2004 - the more probable of two
        return Answers("model", ("a", "b"), truth, values, np.column_stack([1 - share, share]))

    return model(draws[:, 0] + 0.5 * draws[:, 1]), model(draws[:, 0] + 0.6 * draws[:, 2])


def moved_threshold(draws: Draws) -> Models:
    """A model, and one with a lower threshold: higher recall of the rare class, and more false alarms."""
    names = np.array(["a", "b"])
    truth = names[(draws[:, 0] > 0.84).astype(int)]  # noqa: PLR2004 - a fifth of the rows
    score = draws[:, 0] + 0.6 * draws[:, 1]
    first, second = (Answers("model", ("a", "b"), truth, names[(score > limit).astype(int)]) for limit in (0.84, 0.2))
    return first, second


def numbers(draws: Draws) -> Models:
    """Two regressions."""
    truth = draws[:, 0] + 0.5 * draws[:, 3]
    first, second = draws[:, 0] + 0.3 * draws[:, 1], 0.9 * draws[:, 0] + 0.25 * draws[:, 2]
    return Answers("first", (), truth, first), Answers("second", (), truth, second)


KINDS = {"independent": independent, "repeated keys": repeated_keys, "groups": groups, "time blocks": time_blocks}
CASES: tuple[tuple[str, Callable[[Draws], Models], Target], ...] = (
    ("accuracy", three_classes, Target(("a", "b", "c"))),
    ("f1_macro", three_classes, Target(("a", "b", "c"))),
    ("accuracy", moved_threshold, Target(("a", "b"), "b")),
    ("f1", moved_threshold, Target(("a", "b"), "b")),
    ("roc_auc", two_classes, Target(("a", "b"), "b")),
    ("neg_log_loss", two_classes, Target(("a", "b"), "b")),
    ("r2", numbers, Target()),
)


@dataclass(frozen=True)
class Coverage:
    """The shares of repeats in which the interval covers the true difference, and the bound is below it."""

    metric: str
    models: str
    kind: str
    rows: int
    interval: float
    bound: float


def measure(kinds: tuple[str, ...], sizes: tuple[int, ...], repeats: int) -> Iterator[Coverage]:
    """The coverage of every case, for these kinds of dependence and numbers of rows."""
    for name, models, target in CASES:
        recipe = CATALOGUE[name]
        metric = Metric(name, recipe.function(target), sums=recipe.sums(target) if recipe.sums else None)
        fresh = models(independent(TRUTH_ROWS, np.random.default_rng(0))[1])
        truth = metric.of(fresh[0]) - metric.of(fresh[1])
        for kind in kinds:
            for rows in sizes:
                random, inside, above = np.random.default_rng(1), 0, 0
                for _ in range(repeats):
                    clusters, draws = KINDS[kind](rows, random)
                    found = bootstrap(metric, models(draws), clusters).difference(0, 1)
                    inside += found.low <= truth <= found.high
                    above += found.bound <= truth
                yield Coverage(name, models.__name__, kind, rows, inside / repeats, above / repeats)


def report(conditions: str, repeats: int, found: Sequence[Coverage]) -> str:
    """The shares as Markdown, below the lines that say how they were measured."""
    outside = [part for part in found if not LEAST <= part.interval <= MOST]
    error = math.sqrt(LEVEL * (1 - LEVEL) / repeats)
    lines = [
        "# Coverage of the gate's intervals",
        "",
        conditions,
        "",
        f"{len(found) - len(outside)} of {len(found)} shares lie from {LEAST:.0%} to {MOST:.0%}.",
        f"A share of {repeats} repeats has a standard error of {error:.1%}.",
        "",
        "Each repeat draws a holdout, scores two fixed models on it, and asks whether the interval of their difference",
        f"covers the difference on {TRUTH_ROWS:,} fresh rows. Rows depend on each other as the table says, and are",
        "resampled so.",
        "",
        "| metric | models | rows | dependence | 95 % interval covers | one-sided 95 % bound holds |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    lines += [
        f"| {part.metric} | {part.models} | {part.rows} | {part.kind} | {part.interval:.1%} | {part.bound:.1%} |"
        for part in found
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-intervals INTERVALS_ARGS=...", description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="repeats of each share (%(default)s)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    options = parser.parse_args(arguments)
    conditions, found = heading(make_command("measure-intervals", arguments)), []
    for part in measure(tuple(KINDS), SIZES, options.repeats):
        found.append(part)
        tell(f"{len(found)} of {len(CASES) * len(KINDS) * len(SIZES)}: {part}")
    options.report.write_text(report(conditions, options.repeats, found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
