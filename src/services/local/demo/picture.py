"""Draws what happened in the demo: accuracy over time, the live quality of each version, and the events."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from src.services.local.demo.story import Event, LiveScore
from src.services.local.demo.traffic import Answer

SLIDING = 100
MIN_ROWS, STEP = 20, 5
GREY, COLOURS = "#8c8c8c", ("#4878a8", "#4f9d5d", "#c9a227", "#b8483c", "#7a5aa6")
LINES = {
    "changed": "the world changes",
    "alert": "alert",
    "requested": "retrain requested",
    "promoted": "promoted",
    "recovered": "recovered",
}


def draw(file: Path, answers: Sequence[Answer], scores: Sequence[LiveScore], events: Sequence[Event]) -> None:
    """Write the picture in the format of the file's suffix.

    Raises:
        OSError, ValueError: the file cannot be written, or its suffix is no format.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(*sliding(answers), color=GREY, label=f"the last {SLIDING} predictions")
    series = dict.fromkeys((score.version, score.role) for score in scores)
    for (version, role), colour in zip(series, COLOURS, strict=False):
        found = [score for score in scores if (score.version, score.role) == (version, role)]
        label = f"version {version} in GET /quality" + (", as the shadow" if role == "shadow" else "")
        points = [one.seconds for one in found], [one.value for one in found]
        axes.plot(*points, color=colour, linewidth=2.5, drawstyle="steps-post", marker="o", markevery=[-1], label=label)
    for event in events:
        if event.name in LINES:
            axes.axvline(event.seconds, color="black", linewidth=0.8, linestyle=":")
            axes.text(event.seconds, 1.02, f" {LINES[event.name]}", rotation=35, fontsize=8, va="bottom")
    axes.set(xlabel="seconds", ylabel="accuracy, by true labels", ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    # Words stay words, and a picture of the same data stays the same.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "demo"}):
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def sliding(answers: Sequence[Answer]) -> tuple[list[float], list[float]]:
    """Seconds, and the share of right answers among the last ``SLIDING`` up to then."""
    total = np.concatenate(([0], np.cumsum([answer.right for answer in answers])))
    ends = np.arange(MIN_ROWS, len(total), STEP)
    starts = np.maximum(0, ends - SLIDING)
    values: list[float] = ((total[ends] - total[starts]) / (ends - starts)).tolist()
    return [answers[end - 1].seconds for end in ends.tolist()], values
