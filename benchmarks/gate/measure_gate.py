"""Entry point: measures how often the gate is wrong on pairs of models whose true difference is known."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.conditions import commit, make_command, tell
from benchmarks.gate.outcomes import OLD, OURS, Results, Ties, Verdicts, always, named, ties_of, verdicts_of
from benchmarks.gate.pairs import CAUSES, Case, Direction, Gate, Pair, fair_gate, find, old_gate
from benchmarks.gate.report import markdown
from benchmarks.gate.tables import Kind
from benchmarks.machine import describe
from benchmarks.run_bench import PUBLISHED

KINDS: tuple[Kind, ...] = ("hash", "group", "time")
GROWTH = ((1000, 1250), (3000, 4000))
SEEDS = 200
TIES = 60


def main(arguments: list[str]) -> int:
    """Run the measure; return 0, or 1 where a promise does not hold."""
    options = _options(arguments)
    machine, measured, started = describe(), commit(), time.monotonic()
    with ProcessPoolExecutor(options.processes) as executor:
        verdicts, ties = measure(options.seeds, options.ties, partial(_parallel, executor))
    results = Results(
        machine=machine,
        commit=measured,
        command=make_command("measure-gate", arguments),
        seconds=round(time.monotonic() - started, 1),
        verdicts=verdicts,
        ties=ties,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gate.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    (options.out / "gate.md").write_text(markdown(results), encoding="utf-8")
    for problem in results.broken():
        tell(problem)
    return 1 if results.broken() else 0


Run = Callable[[Gate, Sequence[Case]], Iterable[Pair]]


def one_by_one(gate: Gate, cases: Sequence[Case]) -> Iterable[Pair]:
    """The pairs of these cases, created in this process."""
    return [find(case, gate) for case in cases]


def measure(
    seeds: int, ties: int, run: Run = one_by_one, growth: Sequence[tuple[int, int]] = GROWTH
) -> tuple[list[Verdicts], list[Ties]]:
    """Measure so many pairs, half of each direction, and so many near ties, on every table.

    The old gate supports neither groups nor time: it gets tables of independent rows, and half as many pairs.
    """
    verdicts, near = [], []
    for kind in KINDS:
        for rows in growth:
            cases = [_case(kind, rows, ("worse", "better")[seed % 2], seed) for seed in range(seeds)]
            ours = verdicts_of(OURS, list(zip(cases, run(fair_gate, cases), strict=True)))
            verdicts += [ours, always(ours, promote=True), always(ours, promote=False)]
            if kind == "hash":
                some = cases[: seeds // 2]
                verdicts.append(verdicts_of(OLD, list(zip(some, run(old_gate, some), strict=True))))
            tied = [_case(kind, rows, "tie", seed) for seed in range(ties)]
            near.append(ties_of(list(zip(tied, run(fair_gate, tied), strict=True))))
            tell(f"{named(ours)}: {ours.promoted} of {ours.worse} promoted, {ours.rejected} of {ours.better} rejected")
    return verdicts, near


def _case(kind: Kind, rows: tuple[int, int], direction: Direction, seed: int) -> Case:
    return Case(kind, rows, direction, CAUSES[seed // 2 % len(CAUSES)], seed)


def _parallel(executor: Executor, gate: Gate, cases: Sequence[Case]) -> Iterable[Pair]:
    return executor.map(partial(find, gate=gate), cases, chunksize=5)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make measure-gate GATE_ARGS=...", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="pairs of each table (%(default)s)")
    parser.add_argument("--ties", type=int, default=TIES, help="near ties of each table (%(default)s)")
    parser.add_argument("--processes", type=int, help="how many at a time (as many as there are cores)")
    parser.add_argument("--out", type=Path, default=PUBLISHED, help="folder for gate.json and gate.md (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
