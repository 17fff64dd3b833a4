"""Draws what happened in the demo: accuracy over time, the live quality of each version, and the events."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from src.services.local.demo.story import Event, LiveScore
from src.services.local.demo.traffic import Answer

SLIDING = 100
MIN_ROWS = 20
GREY, COLOURS, SHADOW = "#8c8c8c", ("#4878a8", "#4f9d5d"), "#c9a227"
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
    right = np.array([answer.right for answer in answers], dtype=float)
    total = np.concatenate(([0.0], np.cumsum(right)))
    ends = np.arange(MIN_ROWS, len(right) + 1, 5)
    starts = np.maximum(0, ends - SLIDING)
    seconds = [answers[end - 1].seconds for end in ends]
    axes.plot(
        seconds, (total[ends] - total[starts]) / (ends - starts), color=GREY, label=f"the last {SLIDING} predictions"
    )
    champions = list(dict.fromkeys(score.version for score in scores if score.role == "champion"))
    for (version, role), colour in _series(champions):
        found = [score for score in scores if (score.version, score.role) == (version, role)]
        if found:
            label = f"version {version} in GET /quality" + (", as the shadow" if role == "shadow" else "")
            axes.plot(
                [s.seconds for s in found],
                [s.value for s in found],
                color=colour,
                linewidth=2.5,
                drawstyle="steps-post",
                label=label,
            )
    for event in events:
        if event.name in LINES:
            axes.axvline(event.seconds, color="black", linewidth=0.8, linestyle=":")
            axes.text(event.seconds, 1.02, f" {LINES[event.name]}", rotation=35, fontsize=8, va="bottom")
    axes.set(xlabel="seconds", ylabel="accuracy, by true labels", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _series(champions: Sequence[str]) -> list[tuple[tuple[str, str], str]]:
    """The versions and roles that are drawn, with their colours."""
    served = [((version, "champion"), colour) for version, colour in zip(champions, COLOURS, strict=False)]
    return [*served, ((champions[0], "shadow"), SHADOW)] if champions else served
