"""The results of the gate's measure as a page of Markdown."""

from collections.abc import Sequence

from benchmarks.gate.outcomes import COVERAGE, MOST_WRONG, OURS, Results, Verdicts, named, total
from benchmarks.gate.pairs import FRESH_ROWS, POINTS, SHARE, TOLERANCE, TREES, WRONG_LABELS

GIGA = 2**30


def markdown(results: Results) -> str:
    """The whole page."""
    gates = list(dict.fromkeys(found.gate for found in results.verdicts))
    every = [total(found for found in results.verdicts if found.gate == gate) for gate in gates]
    ours = [found for found in results.verdicts if found.gate == OURS]
    broken = results.broken()
    parts = [
        "# How often the gate is wrong",
        _how(results),
        "All promises hold." if not broken else "**Broken promises:** " + "; ".join(broken) + ".",
        "## Pairs that truly differ",
        PAIRS,
        _table("gate", [(found.gate, found) for found in every]),
        f"{OURS.capitalize()}, by split and rows:",
        _table("table", [(named(found), found) for found in ours]),
        "## Near ties",
        TIES,
        _ties(results),
    ]
    return "\n\n".join(parts) + "\n"


PAIRS = f"""\
Each pair is a champion, fitted on a table, and a challenger, fitted after the table has grown. By direction and seed:

- *labels*: forests of {TREES} trees. The labels of the challenger's new training rows are permuted
  (worse), or {WRONG_LABELS:.0%} of the champion's labels were random and have been corrected since (better).
- *overfitting*: one tree instead of {TREES}, for the challenger (worse) or the champion (better).
- *underfitting*: the same with a strongly regularised logistic regression.

The truth is the difference in accuracy on {FRESH_ROWS:,} fresh rows of the same distribution. Pairs with a
true difference below {POINTS * 100:g} points are discarded and created again with other random
numbers. Labels are wrong in training
only: no gate can be right if the holdout's labels are wrong.
`holdout_fraction` is {SHARE}, `tolerance` {TOLERANCE}, and there is neither a floor nor a `confidence`. Rows of a
group share features and noise; consecutive rows of a time series have correlated features. At most
{MOST_WRONG:.0%} of the verdicts may be wrong in each direction. The old gate drew a new holdout from all rows in
each training; its pairs are models fitted on its own splits."""

TIES = f"""\
Champion and challenger are the same estimator with the same parameters, on fewer and on more rows. The 95 % interval of
their difference must cover the true one, measured as above, in {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%} of all pairs."""


def _how(results: Results) -> str:
    machine = results.machine
    return (
        f"`{results.command}`, {machine.measured_at}, commit {results.commit[:12]}, {machine.processor}, "
        f"{machine.cores} cores, {machine.memory_bytes / GIGA:.0f} GiB, {machine.system}, Python {machine.python}; "
        f"{results.seconds / 60:.0f} minutes."
    )


def _table(first: str, rows: Sequence[tuple[str, Verdicts]]) -> str:
    lines = [
        f"| {first} | worse, yet promoted | better, yet rejected | scored rows trained on | pairs made |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, found in rows:
        wrong = (_share(found.promoted, found.worse), _share(found.rejected, found.better))
        lines.append(f"| {name} | {wrong[0]} | {wrong[1]} | {found.seen:,} | {found.attempts:,} |")
    return "\n".join(lines)


def _ties(results: Results) -> str:
    lines = ["| table | intervals that cover | mean width |", "| --- | ---: | ---: |"]
    lines += [f"| {named(ties)} | {_share(ties.covered, ties.pairs)} | {ties.width:.3f} |" for ties in results.ties]
    covered, pairs = sum(ties.covered for ties in results.ties), sum(ties.pairs for ties in results.ties)
    return "\n".join([*lines, f"| all | {_share(covered, pairs)} | |"])


def _share(count: int, of: int) -> str:
    return f"{count} of {of} ({count / of:.1%})" if of else "0 of 0"
