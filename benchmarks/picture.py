"""The results as a picture: throughput, latency at a fixed rate, and the cost of a row."""

from operator import attrgetter
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.goals import BARE
from benchmarks.results import Outcome, Results

OURS_COLOUR = "#c8102e"
OTHER_COLOUR = "#4c72b0"
BARE_COLOUR = "#b0b0b0"
# Colours of the peers' lines, all different from this service's red.
LINE_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
# This service's formats, with their line styles.
OURS = {
    "ours": "-",
    "ours-mlflow": "--",
    "ours-columns": ":",
    "ours-csv": "-.",
    "ours-v2": (0, (8, 2)),
    "ours-v2-binary": (0, (8, 2, 2, 2)),
    "ours-arrow": (0, (2, 4)),
    "ours-parquet": (0, (8, 2, 2, 2, 2, 2)),
}
MICROSECONDS = 1000


def draw(results: Results, file: Path) -> None:
    """Write the picture in the format of the file's suffix."""
    figure = Figure(figsize=(14, 1.5 + 0.4 * max(len(results.measured), 6)), layout="constrained")
    throughput, latency, rows = figure.subplots(1, 3)
    if results.connections:
        most = results.connections[-1]
        values = [outcome.closed(most, attrgetter("per_second")) for outcome in results.measured_singly]
        _bars(throughput, results.measured_singly, values)
        throughput.set_title(f"requests/s, one row, {most} connections")
    if results.rates:
        rate = results.rates[0]
        values = [outcome.open(rate, attrgetter("p99")) for outcome in results.measured_singly]
        _bars(latency, results.measured_singly, values)
        latency.set_yticklabels([])
        latency.set_title(f"p99 in ms at {rate:g} requests/s, one row")
    _draw_rows(rows, results)
    figure.savefig(file, metadata={"Date": None})


def _draw_rows(axes: Axes, results: Results) -> None:
    axes.set_prop_cycle(color=LINE_COLOURS)
    for outcome in results.measured:
        medians = {size: outcome.batch(size, attrgetter("p50")) for size in results.sizes}
        points = {size: value * MICROSECONDS / size for size, value in medians.items() if value is not None}
        if points:
            (line,) = axes.plot([*points], [*points.values()], marker="o", markersize=3, label=_plain(outcome))
            if outcome.name in OURS:
                line.set(color=OURS_COLOUR, linewidth=2.5, linestyle=OURS[outcome.name])
    axes.set(xscale="log", yscale="log", xlabel="rows per request", title="µs per row")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7)


def _bars(axes: Axes, outcomes: list[Outcome], values: list[float | None]) -> None:
    """One bar per server on a logarithmic scale, labelled with its value; no bar where there is no value."""
    for position, (outcome, value) in enumerate(zip(outcomes, values, strict=True)):
        if value:
            axes.barh(position, value, color=_colour(outcome))
            # Measurements are significant to three digits at most.
            axes.text(value, position, f" {float(f'{value:.3g}'):,g}", va="center", fontsize=8)
    axes.set_yticks(range(len(outcomes)), [_plain(outcome) for outcome in outcomes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.2)


def _colour(outcome: Outcome) -> str:
    if outcome.name in OURS:
        return OURS_COLOUR
    return BARE_COLOUR if outcome.name in BARE else OTHER_COLOUR


def _plain(outcome: Outcome) -> str:
    """A title without Markdown."""
    return outcome.title.replace("`", "").replace("*", "")
