"""Finds the configured estimator, checks its parameters before data is read, and builds it."""

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier
from sklearn.utils.validation import has_fit_parameter

from src.core.dataset_config import DatasetConfig, Task
from src.core.errors import ConfigError, first_line
from src.core.misspelt import did_you_mean
from src.core.model_config import ModelConfig

# The default random_state: the same rows give the same model.
SEED = 42
# A trial fit finds invalid parameter values, with this many synthetic rows per class and few trees or rounds.
TRIAL_ROWS = 12
TRIAL_ROUNDS = 3
ROUNDS = ("n_estimators", "max_iter")


@dataclass(frozen=True)
class Estimator:
    """An entry of the catalogue.

    Attributes:
        classification: ``module:Class`` of the classifier, which needs ``predict_proba``; None if there is none.
        regression: ``module:Class`` of the regressor; None if there is none.
        defaults: parameters that differ from the class's own defaults; ``model.params`` take precedence.
        scaled: whether columns are standardised to mean 0 and variance 1 first.
        xgboost: whether it is XGBoost's, which requires numbers as classes and restricts column names.
        group: the dependency group that installs it; None if it is always installed.
    """

    classification: str | None = None
    regression: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False
    xgboost: bool = False
    group: str | None = None

    def path(self, task: Task) -> str | None:
        """``module:Class`` for this task."""
        return self.classification if task == "classification" else self.regression


Catalogue = Mapping[str, Estimator]


def find_estimator(config: ModelConfig, task: Task, catalogue: Catalogue, own_package: str) -> Estimator:
    """The configured entry of the catalogue, or an entry for the adopter's own class.

    Args:
        config: its ``estimator`` is a name in the catalogue, or ``module:Class`` below ``own_package``.
        task: classification or regression.
        catalogue: entries by name.
        own_package: such as ``src.pipeline``.

    Raises:
        ConfigError: there is no such estimator, or it does not support the task.
    """
    name = config.estimator
    if ":" in name:
        path = f"{own_package}.{name.removeprefix(f'{own_package}.')}"
        return Estimator(path, path)
    if name not in catalogue:
        own = f"module:Class below {own_package.replace('.', '/')}"
        raise ConfigError(f"model.estimator: no such name {name!r}; {meant(name, catalogue)}, or {own}")
    if catalogue[name].path(task) is None:
        fit = ", ".join(other for other, entry in catalogue.items() if entry.path(task) is not None)
        raise ConfigError(f"model.estimator: {name} does not support {task}; these do: {fit}")
    return catalogue[name]


def build_estimator(entry: Estimator, config: ModelConfig, dataset: DatasetConfig) -> BaseEstimator:
    """The unfitted estimator with its parameters.

    By default fits are repeatable and use all cores, where the estimator supports it.

    Raises:
        ConfigError: it cannot be imported, is not an estimator, or does not have these parameters.
    """
    estimator_class = _import_class(entry, dataset.task)
    known = _parameters_of(estimator_class)
    _require_known("model.params", config.params, known)
    _require_known("model.search.params", config.search.params if config.search else (), known)
    usual = {"random_state": SEED} if "random_state" in known else {}
    try:
        return estimator_class(**{**usual, **entry.defaults, **config.params})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.params: {error}") from error


def require_valid_values(estimator: BaseEstimator, dataset: DatasetConfig) -> None:
    """Refuse invalid parameter values with a trial fit, as estimators validate them only in ``fit``.

    Raises:
        ConfigError: with the estimator's own message.
    """
    target = np.repeat(np.arange(len(dataset.classes or [0])), TRIAL_ROWS)
    rows = np.random.default_rng(SEED).random((len(target), 3))
    params = estimator.get_params()
    few = {name: min(params[name], TRIAL_ROUNDS) for name in ROUNDS if type(params.get(name)) is int}
    trial = type(estimator)(**params | few)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few rounds do not converge
        try:
            trial.fit(rows, target)
        except Exception as error:  # errors about the synthetic rows are ignored
            if _is_about_parameters(error):
                raise ConfigError(f"model.params: {type(estimator).__name__}: {first_line(error)}") from error


def require_weights(config: ModelConfig, dataset: DatasetConfig, entry: Estimator, catalogue: Catalogue) -> None:
    """Refuse a weight of labelled live rows that the estimator cannot apply; the weight 1 works with each.

    Args:
        config: names the estimator.
        dataset: has the weight.
        entry: the configured estimator.
        catalogue: entries by name, of which those that can weight rows are suggested.

    Raises:
        ConfigError: saying what to change.
    """
    if not dataset.feedback.use or dataset.feedback.weight == 1:
        return
    if not _takes_weights(entry, dataset.task):
        able = [name for name, other in catalogue.items() if _takes_weights(other, dataset.task)]
        raise ConfigError(
            f"dataset.feedback.weight: the fit of {config.estimator} has no sample_weight, so that all rows count "
            f"alike; set it to 1, or model.estimator to one of {', '.join(able)}"
        )
    if config.calibrate is not None and (entry.xgboost or config.class_weight is not None):
        other = "model.class_weight" if config.class_weight is not None else config.estimator
        raise ConfigError(
            f"dataset.feedback.weight cannot be combined with model.calibrate and {other}, as the weights of rows "
            "would be lost; set it to 1, or remove model.calibrate"
        )


def with_names(estimator: BaseEstimator) -> BaseEstimator:
    """A classifier of class names from one that accepts numbers only: a voting classifier with one member."""
    return VotingClassifier([("classifier", estimator)], voting="soft", flatten_transform=False)


def meant(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name: the most similar known one, or all of them."""
    names = list(known)
    return did_you_mean(name, names) or f"it is one of {', '.join(names)}"


def _import_class(entry: Estimator, task: Task) -> Any:
    path = str(entry.path(task))
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if entry.group is not None:
            raise ConfigError(
                f"model.estimator needs the Python package {error.name}, which is not installed: add the dependency "
                f"group {entry.group} (.uv/bin/uv sync --locked --group {entry.group}; in Compose set "
                f"TRAIN_EXTRA_GROUPS={entry.group} in .env and run make up)"
            ) from error
        raise ConfigError(f"model.estimator: {path}: there is no module {error.name}") from error
    except AttributeError as error:
        raise ConfigError(f"model.estimator: {module} has no class {name!r}") from error
    if not (inspect.isclass(found) and all(hasattr(found, method) for method in ("fit", "predict", "get_params"))):
        raise ConfigError(f"model.estimator: {path} is not an estimator; derive it from scikit-learn's BaseEstimator")
    return found


def _takes_weights(entry: Estimator, task: Task) -> bool:
    if entry.path(task) is None:
        return False
    with contextlib.suppress(ConfigError):  # not installed
        return bool(has_fit_parameter(_import_class(entry, task), "sample_weight"))
    return False


def _parameters_of(estimator_class: Any) -> dict[str, Any]:
    try:
        return dict(estimator_class().get_params(deep=False))
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"model.estimator: {estimator_class.__name__} needs a default for each of its parameters ({error})"
        ) from error


def _require_known(section: str, given: Iterable[str], known: Mapping[str, Any]) -> None:
    unknown = [f"{name!r} ({meant(name, known)})" for name in given if name not in known]
    if unknown:
        raise ConfigError(
            f"{section}: the estimator has no parameter {', '.join(unknown)}; {section} belongs to model.estimator and "
            "must be replaced with it"
        )


def _is_about_parameters(error: Exception) -> bool:
    """Whether an estimator refuses one of its parameters' values, as scikit-learn and XGBoost do."""
    # Scikit-learn's InvalidParameterError is a TypeError, too; unsuitable rows raise a ValueError only.
    return isinstance(error, TypeError) or type(error).__name__ == "XGBoostError"
