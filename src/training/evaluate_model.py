"""Scores models on the holdout, as they are served."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.predictions import labels_from
from src.core.retrain_record import Scores
from src.training.frames import table_of
from src.training.registry import FetchedModel

SHUFFLES = 20
SEED = 0


@dataclass(frozen=True)
class Answers:
    """What a model answers to the holdout, and what is true.

    ``truth`` and ``found`` are (n,): indices into ``classes`` or, where there are none, a regression's numbers;
    ``probabilities`` is (n, classes).
    """

    classes: tuple[str, ...]
    truth: NDArray[Any]
    found: NDArray[Any]
    probabilities: NDArray[np.float64]

    @property
    def quality(self) -> float:
        """What shuffling a column lessens: accuracy, or R² for a regression."""
        measure = accuracy_score if self.classes else r2_score
        return float(measure(self.truth, self.found))


@dataclass(frozen=True)
class Evaluation:
    """What a model did on the holdout; ``truth`` and ``found`` as in ``Answers``.

    ``importance`` is by column: the accuracy or R² lost when that column is shuffled.
    """

    scores: Scores
    classes: tuple[str, ...]
    truth: NDArray[Any]
    found: NDArray[Any]
    importance: dict[str, float]

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """(classes, classes), true classes in rows, both in the order of ``classes``."""
        counts: NDArray[np.intp] = confusion_matrix(self.truth, self.found, labels=np.arange(len(self.classes)))
        return counts

    @cached_property
    def report(self) -> dict[str, Any]:
        """Precision, recall and F1 by class."""
        names, indices = list(self.classes), np.arange(len(self.classes))
        report: dict[str, Any] = classification_report(
            self.truth, self.found, labels=indices, target_names=names, output_dict=True, zero_division=0.0
        )
        return report


def score(model: FetchedModel, holdout: pd.DataFrame, target: str) -> Scores:
    """Accuracy, macro F1 and log loss on the holdout, or a regression's R² and errors.

    Args:
        model: as serving loads it.
        holdout: feature columns and the target.
        target: the target's name.

    Raises:
        OtherSchemaError: the model takes other columns or answers something else than the holdout has.
        InvalidModelError: it cannot answer the holdout.
    """
    return _scores(_answers(model, holdout, target))


def evaluate(model: FetchedModel, holdout: pd.DataFrame, target: str) -> Evaluation:
    """Scores, answers and permutation importance; arguments and errors as ``score``."""
    answers = _answers(model, holdout, target)
    importance = _importance(model, holdout, answers)
    return Evaluation(_scores(answers), answers.classes, answers.truth, answers.found, importance)


def _scores(answers: Answers) -> Scores:
    truth, found = answers.truth, answers.found
    if not answers.classes:
        return {
            "r2": float(r2_score(truth, found)),
            "neg_root_mean_squared_error": -float(root_mean_squared_error(truth, found)),
            "neg_mean_absolute_error": -float(mean_absolute_error(truth, found)),
        }
    indices = np.arange(len(answers.classes))
    return {
        "accuracy": float(accuracy_score(truth, found)),
        "f1_macro": float(f1_score(truth, found, average="macro", labels=indices, zero_division=0.0)),
        "neg_log_loss": -float(log_loss(truth, answers.probabilities, labels=indices)),
    }


def _answers(model: FetchedModel, holdout: pd.DataFrame, target: str) -> Answers:
    columns, classes = model.schema.names, model.engine.classes
    if set(columns) != set(holdout.columns) - {target}:
        raise OtherSchemaError(f"version {model.version} takes other columns: {', '.join(columns)}")
    if (holdout[target].dtype.kind == "f") != (not classes):
        raise OtherSchemaError(f"version {model.version} answers with {'classes' if classes else 'numbers'}")
    truth = holdout[target].to_numpy()
    if classes:
        truth = np.array([classes.index(name) if name in classes else -1 for name in truth], dtype=np.intp)
        if set(truth.tolist()) != set(range(len(classes))):
            raise OtherSchemaError(f"version {model.version} knows other classes: {', '.join(classes)}")
    return _answers_to(model, holdout, truth)


def _answers_to(model: FetchedModel, rows: pd.DataFrame, truth: NDArray[Any]) -> Answers:
    classes = model.engine.classes
    try:
        answer = model.engine.predict(table_of(rows, model.schema))
        found = np.asarray(answer.probabilities if classes else answer.values, dtype=np.float64)
    except Exception as error:  # a graph of another shape fails in many ways, all meaning this
        raise InvalidModelError(f"version {model.version} cannot answer the holdout: {error}") from error
    if found.shape != (len(rows), *([len(classes)] if classes else [])) or not np.isfinite(found).all():
        what = "probabilities" if classes else "numbers"
        raise InvalidModelError(f"version {model.version} answers the holdout with no {what}")
    if not classes:
        return Answers(classes, truth, found, np.empty((len(rows), 0)))
    # float32 votes do not add up to one to the precision that the log loss asks for.
    return Answers(classes, truth, labels_from(found), found / found.sum(axis=1, keepdims=True))


def _importance(model: FetchedModel, holdout: pd.DataFrame, answers: Answers) -> dict[str, float]:
    random = np.random.default_rng(SEED)
    truth = np.tile(answers.truth, SHUFFLES)
    losses = {}
    for name in model.schema.names:
        shuffled = [holdout.assign(**{name: random.permutation(holdout[name].to_numpy())}) for _ in range(SHUFFLES)]
        losses[name] = answers.quality - _answers_to(model, pd.concat(shuffled, ignore_index=True), truth).quality
    return losses
