"""Draws the pictures of a model's evaluation."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.training.comparison import Comparison, Difference
from src.training.evaluate_model import Evaluation

BLUE, RED = "#4878a8", "#b8483c"
MAX_SLICES = 30
MAX_CANDIDATES = 30


def draw(evaluation: Evaluation, comparison: Comparison, metric: str) -> dict[str, Figure]:
    """The pictures of a model and its comparison, by file name.

    Args:
        evaluation: the challenger's.
        comparison: with its rivals.
        metric: the gate's.
    """
    pictures = (
        {"confusion_matrix.png": draw_confusion_matrix(evaluation)}
        if evaluation.classes
        else {"predictions.png": draw_predictions(evaluation)}
    )
    differences = draw_differences(comparison, metric)
    return pictures | ({} if differences is None else {"differences.png": differences})


def draw_confusion_matrix(evaluation: Evaluation) -> Figure:
    """Counts of holdout rows by true and predicted class."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    confusion = evaluation.confusion
    axes.imshow(confusion, cmap="Blues")
    ticks = range(len(evaluation.classes))
    axes.set(xlabel="predicted class", ylabel="true class", title="Confusion matrix, rows of the holdout")
    axes.set_xticks(ticks, evaluation.classes, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(ticks, evaluation.classes, parse_math=False)
    dark = confusion.max() / 2
    for row, column in np.ndindex(confusion.shape):
        count = int(confusion[row, column])
        axes.text(column, row, str(count), ha="center", va="center", color="white" if count > dark else "black")
    return figure


def draw_predictions(evaluation: Evaluation) -> Figure:
    """Predicted against true numbers of the holdout, with the line of equality."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    truth, values = evaluation.answers.truth, evaluation.answers.values
    axes.scatter(truth, values, s=12, alpha=0.6, color=BLUE)
    ends = [truth.min(), truth.max()]
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(xlabel="true", ylabel="predicted", title="Predictions, rows of the holdout")
    return figure


def draw_importance(importance: Mapping[str, float], metric: str) -> Figure:
    """The score lost on the holdout when a column is shuffled, the most important column on top.

    Args:
        importance: the loss by column.
        metric: the name of the score.
    """
    ranked = sorted(importance.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1.5 + 0.4 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(ranked)), [loss for _, loss in ranked], color=BLUE)
    axes.set_yticks(range(len(ranked)), [name for name, _ in ranked], parse_math=False)
    axes.set(xlabel=f"{metric} lost when the column is shuffled", title="Feature importance on the holdout")
    return figure


def draw_search(table: pd.DataFrame, params: list[str]) -> Figure:
    """The best candidates' scores, with the deviation between folds."""
    best = table.head(MAX_CANDIDATES)[::-1]
    names = [", ".join(f"{name} {row[name]}" for name in params) for _, row in best.iterrows()]
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(best)), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(best["score"], range(len(best)), xerr=best["deviation"], fmt="o", capsize=3)
    axes.set_yticks(range(len(best)), names, parse_math=False)
    axes.set_xlabel("score on rows that the candidate was not fitted on")
    return figure


def draw_differences(comparison: Comparison, metric: str) -> Figure | None:
    """The challenger's difference to each rival with its 95 % interval, and to the champion by slice.

    Returns None where nothing was compared.

    Args:
        comparison: the challenger and its rivals.
        metric: the gate's.
    """
    intervals = list(_intervals(comparison))
    slices = [(found, found.difference) for found in comparison.slices if found.difference is not None]
    worst_first = sorted(slices, key=lambda item: comparison.sign(metric) * item[1])[:MAX_SLICES]
    names = [name for name, _ in intervals]
    names += [f"{found.column} = {found.value} ({found.rows} rows)" for found, _ in worst_first]
    if not names:
        return None
    figure = Figure(figsize=(7, 1.5 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, (_, interval) in enumerate(intervals):
        # Not an error bar: with a metric that is biased under resampling, the point may lie outside the interval.
        axes.plot([interval.low, interval.high], [place, place], "|-", color=BLUE)
        axes.plot([interval.point], [place], "o", color=BLUE)
    for place, (found, difference) in enumerate(worst_first, start=len(intervals)):
        axes.plot([difference], [place], "D", color=RED if found.worse else BLUE)
    axes.axvline(0.0, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel=f"difference of {metric}", title="The challenger less …")
    return figure


def _intervals(comparison: Comparison) -> Iterator[tuple[str, Difference]]:
    """The differences to rivals with finite intervals."""
    baseline = comparison.baseline
    found = (
        (f"champion (version {comparison.champion_version})", comparison.champion_difference),
        (f"best former champion (version {comparison.best_version})", comparison.best_difference),
        *([(baseline.name, baseline.difference)] if baseline is not None else []),
    )
    for name, difference in found:
        if difference is not None and np.isfinite([difference.low, difference.high]).all():
            yield name, difference
