"""How well the quality that is estimated without labels agrees with the quality that the labels show.

``make measure-estimate`` trains models on known worlds, calibrates each on a holdout, and estimates accuracy and F1 of
windows of 1,000 rows: without a change, with other rows (covariate shift), and with another relation between rows and
classes (concept shift), which no estimate without labels can see. The constants of the estimate were chosen by other
worlds, changes and seeds: ``ESTIMATE_ARGS=--choice``.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.conditions import heading, make_command, tell
from benchmarks.estimate_choice import CHOICE_RELATIONS, CHOICE_SHIFTS
from benchmarks.estimate_worlds import (
    BEYOND,
    CONCEPT,
    HOLDOUT_ROWS,
    METRICS,
    MODELS,
    NONE,
    RELATIONS,
    SHIFTS,
    WINDOW_ROWS,
    Case,
    Found,
    Trained,
)

PUBLISHED = Path(__file__).parent / "results/estimate.md"
PUBLISHED_CHOICE = PUBLISHED.with_name("estimate_choice.md")
REPEATS = 8
# Windows of each model without a change, where the promise is the strictest; of each other kind there is one.
UNCHANGED_WINDOWS = 4
CLASSES = (2, 3)
# A score has moved if it differs from the holdout's by so much.
MOVED = 0.05


@dataclass(frozen=True)
class Worlds:
    """What is simulated.

    Attributes:
        relations: of rows and classes.
        shifts: the covariate shifts.
        seed: of the first model; each other one has the next.
    """

    relations: tuple[str, ...]
    shifts: tuple[str, ...]
    seed: int


CHOICE = Worlds(tuple(CHOICE_RELATIONS), tuple(CHOICE_SHIFTS), 77_000_000)
CONFIRMATION = Worlds(tuple(RELATIONS), tuple(SHIFTS)[1:], 43_000_000)


@dataclass(frozen=True)
class Outcome:
    """A trained model: why it has no estimates, or its windows."""

    case: Case
    reason: str | None
    windows: tuple[Found, ...]


def outcome_of(case: Case, shifts: Sequence[str], seed: int) -> Outcome:
    """Train, calibrate and estimate."""
    trained = Trained(case, seed)
    if trained.calibration.reason:
        return Outcome(case, trained.calibration.reason, ())
    kinds = [*[NONE] * UNCHANGED_WINDOWS, *shifts, BEYOND, CONCEPT]
    return Outcome(case, None, tuple(found for kind in kinds for found in trained.window(kind)))


def simulate(worlds: Worlds, repeats: int) -> Iterator[Outcome]:
    """Every case, so many times."""
    cases = [Case(*parts) for parts in product(worlds.relations, CLASSES, MODELS)] * repeats
    seeds = [worlds.seed + number for number in range(len(cases))]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(outcome_of, cases, [worlds.shifts] * len(cases), seeds)


def report(conditions: str, found: Sequence[Outcome]) -> str:
    """The figures as Markdown, below the lines that say how they were measured."""
    windows = [window for outcome in found for window in outcome.windows]
    shifts = dict.fromkeys(window.shift for window in windows)
    others = [shift for shift in shifts if shift not in {NONE, BEYOND, CONCEPT}]
    kinds = {
        "rows like the holdout's": [NONE],
        "other rows (covariate shift)": others,
        "rows beyond the known ones": [BEYOND],
        "another relation (concept shift)": [CONCEPT],
    }
    some = {name: [window for window in windows if window.shift in kind] for name, kind in kinds.items()}
    moved = [window for window in windows if window.shift in others and _change(window) >= MOVED]
    refused = [outcome for outcome in found if outcome.reason]
    lines = [
        "# Estimates without labels, against the labels",
        "",
        conditions,
        "",
        f"Windows of {WINDOW_ROWS:,} rows, holdouts of {HOLDOUT_ROWS:,}, {' and '.join(METRICS)}. The error is the",
        'estimate less what the labels show, the distance is its size, and "unchanged" is the distance of the',
        "holdout's score.",
        "",
        "| rows | estimates | mean error | mean distance | unchanged | interval covers |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_line(name, part) for name, part in some.items()),
        _line(f"covariate shift that moves the score by {MOVED:.0%} or more", moved),
        "",
        f"{len(refused)} of {len(found)} models have no estimates, because their calibration is bad:",
        *(f"- {name}: {count}" for name, count in _refused(refused).items()),
        "",
        "| model | rows | estimates | mean error | mean distance | unchanged | interval covers |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model, shift in product(MODELS, shifts):
        part = [window for window in windows if (window.case.model, window.shift) == (model, shift)]
        lines.append(_line(f"{model} | {shift}", part))
    return "\n".join(lines) + "\n"


def _refused(outcomes: Sequence[Outcome]) -> dict[str, int]:
    names = [f"{outcome.case.model}, {outcome.case.relation} relation" for outcome in outcomes]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _line(name: str, windows: Sequence[Found]) -> str:
    error = _mean(windows, lambda window: window.estimate - window.realised)
    figures = [_mean(windows, lambda window: abs(window.estimate - window.realised)), _mean(windows, _change)]
    covers = _mean(windows, lambda window: window.covered)
    return f"| {name} | {len(windows):,} | {error:+.1%} | {figures[0]:.1%} | {figures[1]:.1%} | {covers:.1%} |"


def _change(window: Found) -> float:
    return abs(window.holdout - window.realised)


def _mean(windows: Sequence[Found], of: Callable[[Found], float]) -> float:
    return float(np.mean([of(window) for window in windows])) if windows else float("nan")


def main(arguments: Sequence[str]) -> int:
    """Measure and write the report; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-estimate ESTIMATE_ARGS=...", description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="models of each case (%(default)s)")
    parser.add_argument("--choice", action="store_true", help="the worlds by which the constants were chosen")
    parser.add_argument("--report", type=Path, help="where the report is written (by default in benchmarks/results)")
    options = parser.parse_args(arguments)
    worlds, published = (CHOICE, PUBLISHED_CHOICE) if options.choice else (CONFIRMATION, PUBLISHED)
    conditions, found = heading(make_command("measure-estimate", arguments)), []
    for outcome in simulate(worlds, options.repeats):
        found.append(outcome)
        tell(f"{len(found)}: {outcome.case}: {outcome.reason or f'{len(outcome.windows)} estimates'}")
    (options.report or published).write_text(report(conditions, found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
