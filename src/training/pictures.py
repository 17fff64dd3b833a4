"""Draws what a person looks at to judge a model."""

import numpy as np
from matplotlib.figure import Figure

from src.training.evaluate_model import Evaluation


def draw(evaluation: Evaluation) -> dict[str, Figure]:
    """The pictures of a model, by file name."""
    answers = (
        {"confusion_matrix.png": draw_confusion_matrix(evaluation)}
        if evaluation.classes
        else {"predictions.png": draw_predictions(evaluation)}
    )
    return answers | {"feature_importance.png": draw_importance(evaluation)}


def draw_confusion_matrix(evaluation: Evaluation) -> Figure:
    """Counts of holdout rows by true and predicted class."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    confusion = evaluation.confusion
    axes.imshow(confusion, cmap="Blues")
    ticks = range(len(evaluation.classes))
    axes.set(xlabel="predicted class", ylabel="true class", title="Confusion matrix, rows of the holdout")
    axes.set_xticks(ticks, evaluation.classes, rotation=30, ha="right")
    axes.set_yticks(ticks, evaluation.classes)
    dark = confusion.max() / 2
    for row, column in np.ndindex(confusion.shape):
        count = int(confusion[row, column])
        axes.text(column, row, str(count), ha="center", va="center", color="white" if count > dark else "black")
    return figure


def draw_predictions(evaluation: Evaluation) -> Figure:
    """Predicted against true numbers of the holdout, with the line on which they are equal."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(evaluation.truth, evaluation.found, s=12, alpha=0.6, color="#4878a8")
    ends = [evaluation.truth.min(), evaluation.truth.max()]
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(xlabel="true", ylabel="predicted", title="Predictions, rows of the holdout")
    return figure


def draw_importance(evaluation: Evaluation) -> Figure:
    """What is lost on the holdout when one column is shuffled, the most important column on top."""
    ranked = sorted(evaluation.importance.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1.5 + 0.4 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(ranked)), [loss for _, loss in ranked], color="#4878a8")
    axes.set_yticks(range(len(ranked)), [name for name, _ in ranked], parse_math=False)
    lost = "accuracy" if evaluation.classes else "R²"
    axes.set(xlabel=f"{lost} lost when the column is shuffled", title="Feature importance on the holdout")
    return figure
