"""Scores models on the holdout, as they are served, and draws what a person looks at."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score, log_loss

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.model_registry import CHAMPION
from src.core.predictions import labels_from
from src.core.retrain_record import Scores
from src.pipeline.frames import table_of
from src.pipeline.gate import Comparison
from src.pipeline.registry import FetchedModel, ModelRegistry

SHUFFLES = 20
SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a model did on the holdout.

    ``confusion`` is (classes, classes), true classes in rows, both in the order of ``classes``; ``importance`` is
    by column: the accuracy lost when that column is shuffled.
    """

    scores: Scores
    classes: tuple[str, ...]
    report: dict[str, Any]
    confusion: NDArray[np.intp]
    importance: dict[str, float]


def score(model: FetchedModel, holdout: pd.DataFrame, target: str) -> Scores:
    """Accuracy, macro F1 and log loss on the holdout.

    Args:
        model: as serving loads it.
        holdout: feature columns and the target.
        target: the target's name.

    Raises:
        OtherSchemaError: the model takes other columns or knows other classes than the holdout has.
        InvalidModelError: it cannot answer the holdout.
    """
    return _scores(*_answers(model, holdout, target))


def evaluate(model: FetchedModel, holdout: pd.DataFrame, target: str) -> Evaluation:
    """Scores, per-class report, confusion matrix and permutation importance; arguments and errors as ``score``."""
    truth, probabilities = _answers(model, holdout, target)
    labels, classes = labels_from(probabilities), model.engine.classes
    indices = np.arange(len(classes))
    scores = _scores(truth, probabilities)
    return Evaluation(
        scores=scores,
        classes=classes,
        report=classification_report(
            truth, labels, labels=indices, target_names=list(classes), output_dict=True, zero_division=0.0
        ),
        confusion=confusion_matrix(truth, labels, labels=indices),
        importance=_importance(model, holdout, truth, scores.accuracy),
    )


def compare(
    registry: ModelRegistry, challenger: str, holdout: pd.DataFrame, target: str
) -> tuple[Evaluation, Comparison]:
    """Score a new version and the champion on the same holdout, both as serving would load them from the registry.

    Args:
        registry: holds both.
        challenger: the new version.
        holdout: feature columns and the target.
        target: the target's name.

    Raises:
        InvalidModelError: the challenger cannot be scored; a champion that is broken does not stand in its way.
    """
    evaluation = evaluate(registry.fetch(challenger), holdout, target)
    champion = registry.version_of(CHAMPION)
    if champion is None:
        return evaluation, Comparison(challenger=evaluation.scores)
    scores, problem, differs = None, None, False
    try:
        scores = score(registry.fetch(str(champion.version)), holdout, target)
    except InvalidModelError as error:
        problem, differs = str(error), isinstance(error, OtherSchemaError)
        logger.warning("the champion cannot be scored: %s", problem)
    return evaluation, Comparison(
        challenger=evaluation.scores,
        champion=scores,
        champion_version=str(champion.version),
        champion_problem=problem,
        champion_differs=differs,
    )


def draw_confusion_matrix(evaluation: Evaluation) -> Figure:
    """Counts of holdout rows by true and predicted class."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(evaluation.confusion, cmap="Blues")
    ticks = range(len(evaluation.classes))
    axes.set(xlabel="predicted class", ylabel="true class", title="Confusion matrix, rows of the holdout")
    axes.set_xticks(ticks, evaluation.classes, rotation=30, ha="right")
    axes.set_yticks(ticks, evaluation.classes)
    dark = evaluation.confusion.max() / 2
    for row, column in np.ndindex(evaluation.confusion.shape):
        count = int(evaluation.confusion[row, column])
        axes.text(column, row, str(count), ha="center", va="center", color="white" if count > dark else "black")
    return figure


def draw_importance(evaluation: Evaluation) -> Figure:
    """Accuracy lost on the holdout when one column is shuffled, the most important column on top."""
    ranked = sorted(evaluation.importance.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1.5 + 0.4 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in ranked], [loss for _, loss in ranked], color="#4878a8")
    axes.set(xlabel="accuracy lost when the column is shuffled", title="Feature importance on the holdout")
    return figure


def _scores(truth: NDArray[np.intp], probabilities: NDArray[np.float64]) -> Scores:
    """Scores of what ``_answers`` returns."""
    labels = labels_from(probabilities)
    indices = np.arange(probabilities.shape[1])
    return Scores(
        accuracy=float(accuracy_score(truth, labels)),
        f1_macro=float(f1_score(truth, labels, average="macro", labels=indices, zero_division=0.0)),
        log_loss=float(log_loss(truth, probabilities, labels=indices)),
    )


def _answers(model: FetchedModel, holdout: pd.DataFrame, target: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """True class indices (n,) and probabilities (n, classes), in the order of the model's classes."""
    columns, classes = model.schema.names, model.engine.classes
    if set(columns) != set(holdout.columns) - {target}:
        raise OtherSchemaError(f"version {model.version} takes other columns: {', '.join(columns)}")
    truth = np.array([classes.index(name) if name in classes else -1 for name in holdout[target]], dtype=np.intp)
    if set(truth.tolist()) != set(range(len(classes))):
        raise OtherSchemaError(f"version {model.version} knows other classes: {', '.join(classes)}")
    return truth, _probabilities(model, holdout)


def _probabilities(model: FetchedModel, holdout: pd.DataFrame) -> NDArray[np.float64]:
    try:
        found = np.asarray(model.engine.predict(table_of(holdout, model.schema)).probabilities, dtype=np.float64)
    except Exception as error:  # a graph of another shape fails in many ways, all meaning this
        raise InvalidModelError(f"version {model.version} cannot answer the holdout: {error}") from error
    if found.shape != (len(holdout), len(model.engine.classes)) or not np.isfinite(found).all():
        raise InvalidModelError(f"version {model.version} answers the holdout with no probabilities")
    # float32 votes do not add up to one to the precision that the log loss asks for.
    normalised: NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)
    return normalised


def _importance(
    model: FetchedModel, holdout: pd.DataFrame, truth: NDArray[np.intp], accuracy: float
) -> dict[str, float]:
    random = np.random.default_rng(SEED)
    losses = {}
    for name in model.schema.names:
        shuffled = [holdout.assign(**{name: random.permutation(holdout[name].to_numpy())}) for _ in range(SHUFFLES)]
        labels = labels_from(_probabilities(model, pd.concat(shuffled, ignore_index=True)))
        losses[name] = accuracy - float(accuracy_score(np.tile(truth, SHUFFLES), labels))
    return losses
