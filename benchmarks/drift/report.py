"""The page of what was measured."""

from collections.abc import Sequence

import msgspec

from benchmarks.drift.measures import FEATURES, WINDOW, Cell, Days, Whole
from benchmarks.machine import Machine
from src.serving.watch.drift import FALSE_ALARMS, LARGE


class Results(msgspec.Struct, frozen=True):
    """A whole run, and of which commit."""

    command: str
    commit: str
    machine: Machine
    seconds: float
    cells: list[Cell]
    wholes: list[Whole]
    days: list[Days]


def markdown(results: Results) -> str:
    """The page, in Markdown."""
    machine = results.machine
    return f"""# Drift: false alarms and power

`{results.command}`, commit {results.commit}, {machine.measured_at}, {machine.processor}, {machine.cores} cores,
Python {machine.python}, {results.seconds / 60:.0f} minutes.

A feature is called drifted where the difference from the training rows is significant (a false alarm in at most
{FALSE_ALARMS:.2%} of windows, over all features of the model; promised: 0.1 %) and large (a score of at least {LARGE}).
How it is tested: [decision 14](../../docs/decisions/0014-drift.md).

## False alarms, by column

Independent windows without drift, each with a fresh reference. Alarms: in a model of this feature alone. Positive:
windows with a score above 0; at most one in twenty is expected.

{_table(("column", "reference", "window", "windows", "alarms", "positive"), [_calm(cell) for cell in results.cells])}
## False alarms, by model

{FEATURES} features of all types above. Alarms: windows in which any feature was called drifted.

{_table(("features", "reference", "window", "windows", "alarms"), [_whole(whole) for whole in results.wholes])}
## Continuous looks

{FEATURES} numbers without drift, a window of {WINDOW} rows, evaluated every 5 seconds like Prometheus, so that
consecutive windows share most rows. Drifted: how often per day a feature becomes drifted. Fires: how often per day this
lasts a minute, so that FeatureDrift fires.

{_table(("reference", "rows per second", "days", "drifted / day", "fires / day"), [_day(day) for day in results.days])}
## Power

Windows with only drifted rows that are called drifted, in percent: in a model of this feature alone, and in one of
{FEATURES} features. Onto one category: a fifth of the mass moves from all other categories to one, in proportion.
Spread: a fifth of the mass moves to every second category from the others, in proportion, the hardest to detect.

{_table(("column", "drift", "reference", "window", "alone", f"of {FEATURES}"), _powers(results.cells))}"""


def _calm(cell: Cell) -> Sequence[str]:
    return cell.column, f"{cell.rows:,}", f"{cell.window:,}", f"{cell.windows:,}", f"{cell.alarms}", f"{cell.positive}"


def _whole(whole: Whole) -> Sequence[str]:
    return f"{whole.features}", f"{whole.rows:,}", f"{whole.window:,}", f"{whole.windows:,}", f"{whole.alarms}"


def _day(day: Days) -> Sequence[str]:
    return f"{day.rows:,}", f"{day.rows_per_second:g}", f"{day.days}", f"{day.drifted:.2f}", f"{day.fired:.2f}"


def _powers(cells: Sequence[Cell]) -> list[Sequence[str]]:
    return [
        (cell.column, kind, f"{cell.rows:,}", f"{cell.window:,}", f"{100 * alone:.1f}", f"{100 * together:.1f}")
        for cell in cells
        for kind, (alone, together) in cell.power.items()
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts on the left, numbers on the right."""
    rules = ["---" if title in {"column", "drift"} else "---:" for title in head]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rules, *rows))
