"""Measures that every estimator is trained, registered, gated and served as scikit-learn answers.

For each estimator and table: one ``run_pipeline.py`` against a shared MLflow server and ZenML store, then the inference
service, which is asked for every row of the table.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.conditions import heading, make_command, tell
from benchmarks.estimators.cases import TABLES, Outcome, cases
from benchmarks.estimators.measurement import PROBABILITY_TOLERANCE, VALUE_TOLERANCE, Measurement
from benchmarks.loop import mlflow_server
from src.services.local.processes import REPOSITORY

PUBLISHED = REPOSITORY / "benchmarks/results/estimators.md"
ALL_HOLD = "All are promoted, and served as scikit-learn answers."
HOW = f"""\
Each estimator has its default parameters. Each is trained by `run_pipeline.py`, which registers the version in MLflow
and lets the gate decide. The inference service then serves the champion and is asked for every row of the table by
`/predict`. A prediction is equal if it is that of the registered scikit-learn model, probabilities within
{PROBABILITY_TOLERANCE:g} and numbers within {VALUE_TOLERANCE:g} of their size. Seconds are those of the training, from
the start of its process to its end. The tag `onnx.parity` says whether ONNX follows the model exactly; a model that it
does not follow is served by pyfunc."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the report; return 0, or 1 where something is not as promised."""
    parser = argparse.ArgumentParser(prog="make measure-estimators ESTIMATORS_ARGS=...", description=__doc__)
    parser.add_argument("--report", type=Path, default=PUBLISHED, help="where the report is written (%(default)s)")
    names = list(dict.fromkeys(case.estimator for case in cases()))
    parser.add_argument("--estimator", action="append", choices=names, help="one of the estimators (all)")
    parser.add_argument("--table", action="append", choices=list(TABLES), help="one of the tables (all)")
    options = parser.parse_args(arguments)
    chosen = [
        case
        for case in cases()
        if case.estimator in (options.estimator or names) and case.table in (options.table or TABLES)
    ]
    how, outcomes = heading(make_command("measure-estimators", arguments)), list[Outcome]()
    with tempfile.TemporaryDirectory(prefix="estimators-") as folder, mlflow_server(Path(folder)) as url:
        measurement = Measurement(Path(folder), url)
        for case in chosen:
            outcomes.append(measurement.run(case))
            end = outcomes[-1].problem or "as promised"
            tell(f"{len(outcomes)} of {len(chosen)}: {case.estimator}, {case.table}: {end}")
    options.report.write_text(report(how, outcomes), encoding="utf-8")
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def report(how: str, outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown, below the lines that say how they were made."""
    problems = [f"{item.case.estimator} on {item.case.table}: {item.problem}" for item in outcomes if item.problem]
    lines = [
        "# Every estimator, from its table to a served prediction",
        "",
        how,
        "",
        HOW,
        "",
        f"**Not as promised:** {'; '.join(problems)}." if problems else ALL_HOLD,
        "",
        "| estimator | table | seconds | verdict | `onnx.parity` | served on | predictions | equal |",
        "| --- | --- | ---: | --- | --- | --- | ---: | ---: |",
    ]
    lines += [
        f"| {item.case.estimator} | {item.case.table} | {item.seconds:.0f} | {item.verdict} | {item.parity} "
        f"| {item.engine} | {item.compared:,} | {item.equal:,} |"
        for item in outcomes
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
