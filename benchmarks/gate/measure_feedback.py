"""How often the gate is wrong where labelled live rows are learned from and decide alone.

``make measure-feedback`` trains a champion on a table, and a challenger on the table and labelled live rows. In a
changed world their relation to the target is another one, and the challenger is right to learn it. In an unchanged one
the challenger is truly worse.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from benchmarks.conditions import heading, make_command, tell
from benchmarks.gate.pairs import FRESH_ROWS, MAX_ATTEMPTS, POINTS, TOLERANCE, TREES, Case, config_of
from benchmarks.gate.registry import TwoVersions
from benchmarks.gate.tables import FEATURES, TARGET, World
from src.core.dataset_config import FEEDBACK_TIME
from src.core.pipeline_config import PipelineConfig
from src.training.compare_models import compare
from src.training.fit_model import Study, fit_model
from src.training.gate import decide
from src.training.splitting import Split, split_rows

PUBLISHED = Path(__file__).parents[1] / "results/feedback.md"
SOURCE_ROWS = 3000
# About 330 of them are held out: little more than the gate needs to decide by live rows alone.
LIVE_ROWS = 1100
# The day of the first live row.
START = 20_000.0
# The trees of a worse challenger: it is worse by little more than POINTS, and a quarter of its answers differ.
FEW_TREES = 4
RUNS = 200
WEIGHTS = (1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Outcome:
    """One training.

    Attributes:
        truth: the challenger's accuracy minus the champion's on fresh live rows.
        promoted: whether the gate promotes it.
        by_all_rows: whether it would by the whole holdout.
        restricted: whether there were enough live rows.
    """

    truth: float
    promoted: bool
    by_all_rows: bool
    restricted: bool


def change(seed: int, weight: float) -> Outcome:
    """A training after the effect of a column has been reversed; the champion knows the former one."""
    random = np.random.default_rng([seed, 1])
    world, config = World("hash", random), settings(weight)
    split = split_rows(
        _joined(world.rows(SOURCE_ROWS), reversed_column(world.rows(LIVE_ROWS, start=START))), config, None
    )
    champion = _fit(_forest(seed), split.train[split.train[FEEDBACK_TIME].isna()], config)
    challenger = _fit(_forest(seed), split.train, config)
    return _judged(split, (champion, challenger), config, reversed_column(world.rows(FRESH_ROWS)))


def no_change(seed: int) -> Outcome:
    """A training in the same world whose challenger, a forest of few trees, is truly worse.

    Raises:
        RuntimeError: none of many challengers is worse by ``POINTS``.
    """
    config = settings(1.0)
    for attempt in range(MAX_ATTEMPTS):
        world = World("hash", np.random.default_rng([seed, 2, attempt]))
        split = split_rows(_joined(world.rows(SOURCE_ROWS), world.rows(LIVE_ROWS, start=START)), config, None)
        champion = _fit(_forest(seed), split.train[split.train[FEEDBACK_TIME].isna()], config)
        challenger = _fit(_forest(seed, FEW_TREES), split.train, config)
        found = _judged(split, (champion, challenger), config, world.rows(FRESH_ROWS))
        if found.truth <= -POINTS:
            return found
    raise RuntimeError(f"no challenger of {MAX_ATTEMPTS} is worse by {POINTS}")


def settings(weight: float) -> PipelineConfig:
    """The configuration of the gate's measure, with feedback."""
    raw = config_of(Case("hash", (0, 0), "tie", "labels", 0)).model_dump()
    return PipelineConfig.model_validate(
        raw | {"dataset": raw["dataset"] | {"feedback": {"use": True, "weight": weight}}}
    )


def reversed_column(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows after the change: the distribution of the columns is the same, the relation to the target is not."""
    return rows.assign(**{FEATURES[0]: -rows[FEATURES[0]]})


def _joined(source: pd.DataFrame, live: pd.DataFrame) -> pd.DataFrame:
    live = live.assign(**{FEEDBACK_TIME: live["day"]})
    return pd.concat([source.assign(**{FEEDBACK_TIME: np.nan}), live], ignore_index=True)


def _forest(seed: int, trees: int = TREES) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=seed)


def _fit(estimator: RandomForestClassifier, rows: pd.DataFrame, config: PipelineConfig) -> Any:
    model = Pipeline([("estimator", estimator)])
    return fit_model(model, rows, config.model, config.dataset, Study())


def _judged(split: Split, models: tuple[Any, Any], config: PipelineConfig, fresh: pd.DataFrame) -> Outcome:
    blind = Split(split.frame.drop(columns=FEEDBACK_TIME), split.mask, split.rule)
    promoted, restricted = [], False
    for part in (split, blind):
        _, comparison = compare(TwoVersions(models, (split.rule, split.rule)), "2", part, config, {})
        promoted.append(decide(config.gate, comparison)[0])
        restricted = restricted or comparison.live_days is not None
    scores = [float((model.predict(fresh[list(FEATURES)]) == fresh[TARGET]).mean()) for model in models]
    return Outcome(scores[1] - scores[0], promoted[0], promoted[1], restricted)


Run = Callable[[Callable[[int], Outcome], Sequence[int]], Iterable[Outcome]]


def measure(runs: int, run: Run = map) -> list[str]:
    """The table's lines, each of so many trainings."""
    cases: list[tuple[str, Callable[[int], Outcome]]] = [
        (f"changed; weight {weight:g}", partial(change, weight=weight)) for weight in WEIGHTS
    ]
    lines = []
    for name, case in [*cases, ("unchanged, the challenger is worse", no_change)]:
        found = list(run(case, range(runs)))
        truth = [100 * outcome.truth for outcome in found]
        counts = [
            sum(getattr(outcome, what) for outcome in found) for what in ("restricted", "promoted", "by_all_rows")
        ]
        points = f"{np.median(truth):+.1f} ({min(truth):+.1f} to {max(truth):+.1f})"
        lines.append(f"| {name} | {points} | {' | '.join(f'{count / runs:.1%}' for count in counts)} |")
        tell(lines[-1])
    return lines


def report(conditions: str, runs: int, lines: Sequence[str]) -> str:
    """The page."""
    text = f"""\
# The gate with labelled live rows

{conditions}

A champion is fitted on {SOURCE_ROWS:,} rows less the holdout, a challenger also on {LIVE_ROWS:,} labelled live rows
less the holdout. In a changed world, the effect of a column is reversed in the live rows, and the
challenger is right to learn that. In an unchanged one it is a forest of {FEW_TREES} trees instead of {TREES}, and
its true accuracy lower by at least {100 * POINTS:.0f} points. `gate.tolerance` is {TOLERANCE:g}.
Each line is {runs} trainings.

- difference: the challenger's accuracy minus the champion's on {FRESH_ROWS:,} fresh live rows, in points:
  median (least to largest);
- restricted: trainings with enough live rows to decide by them alone;
- by all rows: what would be promoted by the whole holdout.

| world | difference | restricted | promoted | by all rows |
| --- | ---: | ---: | ---: | ---: |
"""
    return text + "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure and write the page; return 0."""
    options = _options(arguments)
    conditions = heading(make_command("measure-feedback", arguments))
    with ProcessPoolExecutor(options.processes) as executor:
        lines = measure(options.runs, partial(executor.map, chunksize=5))
    options.report.write_text(report(conditions, options.runs, lines), encoding="utf-8")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make measure-feedback FEEDBACK_ARGS=...", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="trainings of each line (%(default)s)")
    parser.add_argument("--processes", type=int, help="how many at a time (as many as there are cores)")
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
