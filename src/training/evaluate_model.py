"""Scores models on the holdout as they are served, and compares the challenger with its rivals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix

from src.core.calibration import Calibration
from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.feature_table import FeatureTable
from src.core.pipeline_config import PipelineConfig
from src.core.retrain_record import Scores
from src.training.answers import Answers
from src.training.baselines import best_baseline, undefined_for_all
from src.training.comparison import Baseline, Comparison
from src.training.frames import table_of
from src.training.registry import FetchedModel
from src.training.resampling import LEVEL, bootstrap
from src.training.scoring import Metric, scores_of
from src.training.slices import score_slices

CHAMPION, BEST = "champion", "best"


@dataclass(frozen=True)
class Evaluation:
    """A model's scores and answers on the holdout; for a classifier, with its calibration."""

    scores: Scores
    answers: Answers
    calibration: Calibration | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes; empty for a regression."""
        return self.answers.classes

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """(classes, classes), true classes in rows, both in the order of ``classes``."""
        known = set(self.classes)
        rows = [true in known for true in self.answers.truth.tolist()]
        if not any(rows):
            return np.zeros((len(known), len(known)), dtype=np.intp)
        truth, values = self.answers.truth[rows], self.answers.values[rows]
        counts: NDArray[np.intp] = confusion_matrix(truth, values, labels=list(self.classes))
        return counts

    @cached_property
    def report(self) -> dict[str, Any]:
        """Precision, recall and F1 by class."""
        report: dict[str, Any] = classification_report(
            self.answers.truth, self.answers.values, labels=list(self.classes), output_dict=True, zero_division=0.0
        )
        return report


@dataclass(frozen=True)
class Material:
    """What a comparison needs in addition to the models' answers to the n holdout rows.

    Attributes:
        config: names the gate's metric, the minimums, the slices and the classes.
        metrics: as ``metrics_of`` returns them.
        train_target: (m,) the target of training rows, from which the baselines are fitted.
        rows: (n, …) the holdout rows; only the columns of ``gate.slices`` are read.
        clusters: (n,) each row's cluster; a cluster is resampled as a whole.
    """

    config: PipelineConfig
    metrics: Mapping[str, Metric]
    train_target: NDArray[Any]
    rows: pd.DataFrame
    clusters: NDArray[np.intp]


def answers_of(model: FetchedModel, rows: pd.DataFrame, target: str) -> Answers:
    """A model's answers to rows.

    Args:
        model: as serving loads it.
        rows: with the model's columns and the target; other columns are ignored.
        target: the target's name.

    Raises:
        OtherSchemaError: the rows lack some of its columns, or it predicts classes where the target is numeric, or
            numbers where it is not.
        InvalidModelError: it fails on the rows.
    """
    version, classes = model.version, model.engine.classes
    missing = [name for name in model.schema.names if name not in rows.columns]
    if missing:
        raise OtherSchemaError(f"version {version} takes other columns: {', '.join(missing)}")
    if pd.api.types.is_numeric_dtype(rows[target]) != (not classes):
        raise OtherSchemaError(f"version {version} answers with {'classes' if classes else 'numbers'}")
    truth = rows[target].to_numpy(dtype=str if classes else np.float64)
    try:
        table = table_of(rows, model.schema)
    except (ValueError, TypeError) as error:
        raise InvalidModelError(f"version {version} cannot answer the holdout: {error}") from error
    return answers_to(model, table, truth)


def answers_to(model: FetchedModel, table: FeatureTable, truth: NDArray[Any]) -> Answers:
    """A model's answers to a table of n rows.

    Args:
        model: as serving loads it.
        table: with the model's schema.
        truth: (n,) class names, or numbers for a regression.

    Raises:
        InvalidModelError: it fails on the rows.
    """
    version, classes = model.version, model.engine.classes
    try:
        answer = model.engine.predict(table)
        values = np.asarray(answer.values, dtype=str if classes else np.float64)
        probabilities = np.asarray(answer.probabilities, dtype=np.float64) if classes else None
    except Exception as error:  # a graph of another shape raises errors of many types
        raise InvalidModelError(f"version {version} cannot answer the holdout: {error}") from error
    if probabilities is None:
        if values.shape != truth.shape or not np.isfinite(values).all():
            raise InvalidModelError(f"version {version} does not return a finite number for each holdout row")
        return Answers(version, (), truth, values)
    if probabilities.shape != (len(truth), len(classes)) or not np.isfinite(probabilities).all():
        raise InvalidModelError(f"version {version} does not return finite probabilities for each holdout row")
    # Sums of float32 votes are not exactly 1, as the log loss requires.
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Answers(version, classes, truth, values, probabilities)


def judge(challenger: Answers, rivals: Mapping[str, Answers], material: Material) -> tuple[Evaluation, Comparison]:
    """Score the challenger and its rivals on the same rows, with the differences' uncertainty.

    Args:
        challenger: its answers to the holdout rows.
        rivals: the answers of ``champion`` and ``best``, the best former champion, where they can be compared.
        material: the context of the comparison.

    Returns:
        The challenger's evaluation, and the comparison; the caller adds basis, problems, breaking changes and repeats.

    Raises:
        InvalidModelError: a metric needs probabilities that a model does not have.
        ConfigError: an own metric fails.
    """
    gate, metrics = material.config.gate, material.metrics
    classes = tuple(sorted(material.config.dataset.classes or ()))
    ours = challenger.among(classes)
    theirs = {name: answers.among(classes) for name, answers in rivals.items()}
    evaluation = Evaluation(scores_of(metrics, ours), challenger)
    found: dict[str, Any] = {
        "challenger": evaluation.scores,
        "lower_is_better": tuple(name for name, metric in metrics.items() if not metric.greater_is_better),
        "rows": len(ours),
    }
    for name, answers in theirs.items():
        found |= {name: scores_of(metrics, answers), f"{name}_version": answers.version}
    if gate.metric in evaluation.scores:
        found |= _differences(ours, theirs, material)
        if gate.slices:
            columns = material.rows[gate.slices]
            found["slices"] = tuple(
                score_slices(metrics[gate.metric], ours, theirs.get(CHAMPION), columns, material.clusters)
            )
    return evaluation, Comparison(**found)


def _differences(ours: Answers, theirs: Mapping[str, Answers], material: Material) -> dict[str, Any]:
    """The challenger's difference to each rival and to the best baseline, from the same resamples."""
    gate = material.config.gate
    metric = material.metrics[gate.metric]
    baseline = best_baseline(gate, material.metrics, material.train_target, ours)
    compared: Sequence[Answers] = [ours, *theirs.values(), *([] if baseline is None else [baseline])]
    resampled = bootstrap(metric, compared, material.clusters)
    confidence = LEVEL if gate.confidence is None else gate.confidence
    found: dict[str, Any] = {"skipped": resampled.skipped}
    if baseline is None:
        found["baselines_undefined"] = undefined_for_all(metric, material.train_target, ours)
    for place, name in enumerate(theirs, start=1):
        found[f"{name}_difference"] = resampled.difference(0, place, sign=metric.sign, confidence=confidence)
    if baseline is not None:
        place = len(compared) - 1
        difference = resampled.difference(0, place, sign=metric.sign)
        found["baseline"] = Baseline(name=baseline.version, score=float(resampled.points[place]), difference=difference)
    return found
