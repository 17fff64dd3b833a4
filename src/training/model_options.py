"""Refuses options of ``model`` that conflict with the estimator or with each other, before data is read."""

from collections.abc import Collection

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError
from src.core.model_config import ModelConfig


def require_options(config: ModelConfig, dataset: DatasetConfig, parameters: Collection[str]) -> None:
    """Refuse options that conflict with the estimator, other options or the target's range.

    Args:
        config: the options; ``PipelineConfig`` has checked them against the task.
        dataset: has the target's range.
        parameters: the names of the estimator's parameters.

    Raises:
        ConfigError: naming the key.
    """
    weight = config.class_weight
    if weight is not None and "class_weight" in config.params:
        raise ConfigError("class_weight is given in model and in model.params; keep one")
    if weight is not None and config.calibrate is not None and "class_weight" not in parameters:
        raise ConfigError(
            f"model.class_weight and model.calibrate cannot be combined for {config.estimator}, which would "
            "calibrate the weighted class shares; remove one of them, or use model.threshold instead of the weights"
        )
    limits = dataset.target_range
    if config.target_transform == "log" and limits is not None and (limits.minimum or 0) <= -1:
        raise ConfigError("model.target_transform: log needs targets above -1; raise dataset.target_range.minimum")
