"""The metrics of the gate and the report, from the catalogue or the adopter's own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from src.core.errors import ConfigError, InvalidModelError
from src.core.misspelt import did_you_mean
from src.core.pipeline_config import PipelineConfig
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE, Function, Recipe
from src.training.sums import Floats, SumsOf, Target

# The alternatives to metrics of two classes where there are more classes.
OF_MORE_CLASSES = {"roc_auc": "roc_auc_ovr", "average_precision": "roc_auc_ovr"}


@dataclass(frozen=True)
class Metric:
    """A score of a model's answers.

    Attributes:
        name: its name in ``gate.metric``, ``gate.minimums`` and ``report``.
        function: ``function(y_true, predictions, probabilities, sample_weight) -> float``, where ``y_true`` and
            ``predictions`` are (n,) class names, or numbers of a regression, ``probabilities`` is (n, classes) with
            the classes in sorted order (None for a regression), and ``sample_weight`` is (n,).
        greater_is_better: the direction.
        sums: the metric as a function of sums over rows; without it the gate calls ``function`` for each resample.
        probabilities: whether it requires probabilities; ``function`` may use them in any case.
        constant_wins: whether a constant prediction reaches the metric's best value.
    """

    name: str
    function: Function
    greater_is_better: bool = True
    sums: SumsOf | None = None
    probabilities: bool = False
    constant_wins: bool = False

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.greater_is_better else -1

    def of(self, answers: Answers, sample_weight: Floats | None = None) -> float:
        """The score; NaN where it is not defined for these rows.

        Raises:
            InvalidModelError: the metric needs probabilities, and the model has none.
            ConfigError: an own metric fails.
        """
        if self.probabilities and answers.probabilities is None:
            raise InvalidModelError(f"version {answers.version} has no probabilities, which {self.name} needs")
        weight = np.ones(len(answers)) if sample_weight is None else sample_weight
        try:
            return float(self.function(answers.truth, answers.values, answers.probabilities, weight))
        except Exception as error:  # the adopter's code may raise any error
            raise ConfigError(
                f"the metric {self.name} fails on {len(answers)} rows: {type(error).__name__}: {error}"
            ) from error


def metrics_of(config: PipelineConfig, own: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of a configuration, the gate's first.

    Args:
        config: names them in ``gate.metric``, ``gate.minimums`` and ``report``.
        own: the adopter's metrics by name; they take precedence over the catalogue.

    Raises:
        ConfigError: a name is unknown or unsuitable for the data set, or a constant prediction would pass the gate.
    """
    for name, metric in own.items():
        if metric.name != name:
            raise ConfigError(f"src/pipeline/metrics.py: the metric {metric.name!r} is listed as {name!r}")
    found = {name: own[name] if name in own else _from_catalogue(name, config, own) for name in config.metrics}
    chosen = found[config.gate.metric]
    if chosen.constant_wins and not set(config.gate.minimums) - {chosen.name}:
        raise ConfigError(
            f"gate.metric: always predicting {config.dataset.positive!r} has the best {chosen.name}; constrain it, for "
            "example with gate.minimums: {precision: 0.5}, or use f1"
        )
    return found


def scores_of(metrics: Mapping[str, Metric], answers: Answers) -> dict[str, float]:
    """The scores that are defined, by metric.

    Raises:
        ConfigError: an own metric fails or does not return a finite number. Undefined catalogue metrics are left out.
    """
    found = {name: metric.of(answers) for name, metric in metrics.items()}
    for name, value in found.items():
        if not math.isfinite(value) and metrics[name].sums is None:
            raise ConfigError(f"the metric {name} returns {value} for {len(answers)} rows; it must be a finite number")
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _from_catalogue(name: str, config: PipelineConfig, own: Mapping[str, Metric]) -> Metric:
    dataset = config.dataset
    known = [metric for metric, recipe in CATALOGUE.items() if recipe.task == dataset.task]
    recipe = CATALOGUE.get(name)
    if recipe is None or recipe.task != dataset.task:
        raise ConfigError(_unknown(name, dataset.task, [*known, *own], recipe))
    if recipe.binary and dataset.positive is None:
        instead = OF_MORE_CLASSES.get(name, f"{name}_macro")
        raise ConfigError(
            f"the metric {name} is for two classes, and dataset.classes has {len(dataset.classes or [])}; use {instead}"
        )
    target = Target(tuple(sorted(dataset.classes or ())), dataset.positive)
    sums = None if recipe.sums is None else recipe.sums(target)
    return Metric(
        name,
        recipe.function(target),
        sums=sums,
        probabilities=recipe.probabilities,
        constant_wins=recipe.constant_wins,
    )


def _unknown(name: str, task: str, known: list[str], recipe: Recipe | None) -> str:
    if recipe is not None:
        return f"the metric {name} is for a {recipe.task}, and the data set is a {task}; known: {', '.join(known)}"
    meant = did_you_mean(name, known) or f"known: {', '.join(known)}"
    return f"unknown metric {name!r}; {meant}; add your own to METRICS in src/pipeline/metrics.py"
