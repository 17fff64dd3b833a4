"""Refuses options of ``model`` that the task or the estimator cannot have, before any row is read."""

from collections.abc import Collection

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError
from src.core.model_config import ModelConfig
from src.training.estimators import meant


def require_options(config: ModelConfig, dataset: DatasetConfig, parameters: Collection[str]) -> None:
    """Refuse what the task or the estimator cannot have.

    Args:
        config: the options.
        dataset: the task and its classes.
        parameters: the names of the estimator's parameters.

    Raises:
        ConfigError: naming the key.
    """
    classification = {"class_weight": config.class_weight, "calibrate": config.calibrate, "threshold": config.threshold}
    regression = {"target_transform": config.target_transform}
    for name, value in (regression if dataset.task == "classification" else classification).items():
        if value is not None:
            raise ConfigError(f"model.{name} is not for a {dataset.task}; leave it out")
    if config.threshold is not None and dataset.positive is None:
        raise ConfigError(f"model.threshold is for two classes; dataset.classes has {len(dataset.classes or [])}")
    weight = config.class_weight
    unknown = [name for name in (weight if isinstance(weight, dict) else ()) if name not in (dataset.classes or ())]
    if unknown:
        raise ConfigError(
            f"model.class_weight: no such class {unknown[0]!r}; {meant(unknown[0], dataset.classes or ())}"
        )
    if weight is not None and "class_weight" in config.params:
        raise ConfigError("class_weight is given in model and in model.params; keep one")
    if weight is not None and config.calibrate is not None and "class_weight" not in parameters:
        raise ConfigError(
            f"model.class_weight and model.calibrate do not go together for {config.estimator}, which would calibrate "
            "the weighted shares of classes; leave out one of them, or set model.threshold in place of the weights"
        )
    limits = dataset.target_range
    if config.target_transform == "log" and limits is not None and (limits.minimum or 0) <= -1:
        raise ConfigError("model.target_transform: log needs targets above -1; raise dataset.target_range.minimum")
