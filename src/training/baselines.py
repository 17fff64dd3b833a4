"""Baselines: predictions without features, which a model must beat to be promoted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor

from src.core.gate_config import GateConfig
from src.training.answers import Answers
from src.training.gate import ROUNDING
from src.training.resampling import defined
from src.training.scoring import Metric

SEED = 0


def best_baseline(
    gate: GateConfig, metrics: Mapping[str, Metric], train_target: NDArray[Any], answers: Answers
) -> Answers | None:
    """The best baseline by the gate's metric; its ``version`` is its name.

    A metric that a constant prediction maximises, such as recall, is constrained by ``gate.minimums``: baselines below
    them are ignored.

    Args:
        gate: names the metric.
        metrics: by name.
        train_target: (m,) the training rows' target, on which baselines are fitted.
        answers: a model's answers, which give the rows and the classes.

    Returns:
        The baseline; None where all are ignored, or the metric is undefined for all.
    """
    metric = metrics[gate.metric]
    minimums = {metrics[name]: limit for name, limit in gate.minimums.items()} if metric.constant_wins else {}
    best, best_score = None, -np.inf
    for candidate in baselines(train_target, answers):
        score = metric.sign * defined(metric, candidate)
        reached = all(m.sign * defined(m, candidate) >= m.sign * limit - ROUNDING for m, limit in minimums.items())
        if reached and score > best_score:
            best, best_score = candidate, score
    return best


def undefined_for_all(metric: Metric, train_target: NDArray[Any], answers: Answers) -> bool:
    """Whether the metric is undefined for every baseline, so that no model can be shown to beat one; see above."""
    return all(np.isnan(defined(metric, candidate)) for candidate in baselines(train_target, answers))


def baselines(train_target: NDArray[Any], answers: Answers) -> list[Answers]:
    """Every constant class, the class shares and a random draw from them; for a regression, mean and median.

    Args:
        train_target: (m,) the target on which they are fitted.
        answers: a model's answers, which give the rows and the classes.
    """
    features = np.zeros((len(train_target), 1))
    rows = np.zeros((len(answers), 1))
    if not answers.classes:
        regressors = {
            f"always the training rows' {name}": DummyRegressor(strategy=name).fit(features, train_target)
            for name in ("mean", "median")
        }
        return [Answers(name, (), answers.truth, found.predict(rows)) for name, found in regressors.items()]
    names = np.asarray(train_target, dtype=str)
    classifiers = {
        f"always {name!r}": DummyClassifier(strategy="constant", constant=name).fit(features, names)
        for name in np.unique(names).tolist()
    }
    classifiers["the classes' shares"] = DummyClassifier(strategy="prior").fit(features, names)
    classifiers["random answers"] = DummyClassifier(strategy="stratified", random_state=SEED).fit(features, names)
    return [_answered(name, found, rows, answers) for name, found in classifiers.items()]


def _answered(name: str, found: DummyClassifier, rows: NDArray[np.float64], answers: Answers) -> Answers:
    # Drawn once, so that the labels of random answers match their probabilities.
    probabilities = found.predict_proba(rows)
    classes = tuple(found.classes_.tolist())
    values = found.classes_[probabilities.argmax(axis=1)]
    return Answers(name, classes, answers.truth, values, probabilities).among(answers.classes)
