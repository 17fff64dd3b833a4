"""Entry point: measures the drift test by simulation, and writes the figures and a page of them."""

import argparse
import functools
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.conditions import commit, make_command, tell
from benchmarks.drift.columns import COLUMNS
from benchmarks.drift.measures import WINDOW, measure_cell, measure_days, measure_whole
from benchmarks.drift.report import Results, markdown
from benchmarks.machine import describe
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results"
WINDOWS, MODELS, DAYS = 1000, 250, 20
REFERENCES, SIZES = (1000, 100_000), (WINDOW, 5000)
# From a window that is new at each look to one in which a single row is.
ROWS_PER_LOOK = (300, 30, 5, 1)


def main(arguments: list[str]) -> int:
    """Measure, and write ``drift.json`` and ``drift.md``; return 0."""
    parser = argparse.ArgumentParser(prog="make measure-drift DRIFT_ARGS=...", description=__doc__)
    parser.add_argument("--windows", type=int, default=WINDOWS, help="of each column and drift (%(default)s)")
    parser.add_argument("--models", type=int, default=MODELS, help="windows of whole models (%(default)s)")
    parser.add_argument("--days", type=int, default=DAYS, help="of continuous looks (%(default)s)")
    parser.add_argument("--to", type=Path, default=PUBLISHED, help="the folder to write to (benchmarks/results)")
    options = parser.parse_args(arguments)
    machine, measured, start = describe(), commit(), time.monotonic()
    sizes = [(rows, window) for rows in REFERENCES for window in SIZES]
    with ProcessPoolExecutor() as pool:
        one = functools.partial(measure_cell, windows=options.windows)
        cells = [pool.submit(one, name, rows, window) for name in COLUMNS for rows, window in sizes]
        many = functools.partial(measure_whole, windows=options.models)
        wholes = [pool.submit(many, rows, window) for rows, window in sizes]
        looks = functools.partial(measure_days, days=options.days)
        days = [pool.submit(looks, rows, looked) for rows in REFERENCES for looked in ROWS_PER_LOOK]
        tasks: list[Future[Any]] = [*cells, *wholes, *days]
        for number, task in enumerate(as_completed(tasks), start=1):
            tell(f"{number} of {len(tasks)}: {task.result()}")
    results = Results(
        command=make_command("measure-drift", arguments),
        commit=measured,
        machine=machine,
        seconds=time.monotonic() - start,
        cells=[task.result() for task in cells],
        wholes=[task.result() for task in wholes],
        days=[task.result() for task in days],
    )
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "drift.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    (options.to / "drift.md").write_text(markdown(results), encoding="utf-8")
    tell(f"wrote {options.to / 'drift.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
