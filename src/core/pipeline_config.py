"""``config/pipeline.yaml``, read strictly: what is learned, from which columns, and when it may serve."""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from src.core.config_errors import explain
from src.core.dataset_config import DatasetConfig, Strict, Task
from src.core.errors import ConfigError
from src.core.former_layout import from_former_layout
from src.core.gate_config import GateConfig, MetricName, RetentionConfig, RolloutConfig, SplitConfig
from src.core.misspelt import did_you_mean
from src.core.model_config import ModelConfig

# The default of ``report``; scikit-learn's names.
REPORT: dict[Task, list[str]] = {
    "classification": ["accuracy", "f1_macro", "neg_log_loss"],
    "regression": ["r2", "neg_root_mean_squared_error", "neg_mean_absolute_error"],
}
# Keys of ``model`` that are for one kind of task only.
TASK_KEYS: dict[Task, tuple[str, ...]] = {
    "classification": ("class_weight", "calibrate", "threshold"),
    "regression": ("target_transform",),
}
# Types of columns with few values, whose rows can be scored per value.
SLICED = ("category", "boolean")


class LabelsConfig(Strict):
    """Where true labels come from, beside ``POST /feedback`` and the files in ``DATA_DIR/labels``.

    ``query`` selects them from the database of ``DATASET_URL``: the columns ``label``, ``id`` or ``request_id``, and
    optionally ``time``.
    """

    query: Annotated[str, Field(min_length=1)]


class PipelineConfig(Strict):
    """The whole of ``config/pipeline.yaml``; ``report`` lists metrics that are recorded in addition to the gate's."""

    dataset: DatasetConfig
    split: SplitConfig
    model: ModelConfig = ModelConfig()
    gate: GateConfig
    report: Annotated[list[MetricName], Field(max_length=20)] | None = None
    rollout: RolloutConfig = RolloutConfig()
    retention: RetentionConfig = RetentionConfig()
    labels: LabelsConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed = {"group": self.dataset.group, "time": self.dataset.time}
        if self.split.by in needed and needed[self.split.by] is None:
            raise ValueError(f"split.by is {self.split.by}; name the column in dataset.{self.split.by}")
        unknown = [name for name in self.gate.slices if name not in self.dataset.features]
        if unknown:
            meant = did_you_mean(unknown[0], self.dataset.features)
            hint = f"; {meant}" if meant else ""
            raise ValueError(f"gate.slices: {', '.join(unknown)} must be columns of dataset.features{hint}")
        uncounted = [name for name in self.gate.slices if self.dataset.features[name].type not in SLICED]
        if uncounted:
            raise ValueError(f"gate.slices: {', '.join(uncounted)} must be of the type {' or '.join(SLICED)}")
        return self

    @model_validator(mode="after")
    def _model_fits_task(self) -> Self:
        for_other = TASK_KEYS["regression" if self.dataset.task == "classification" else "classification"]
        wrong = [key for key in for_other if getattr(self.model, key) is not None]
        if wrong:
            raise ValueError(f"model.{wrong[0]} is not for a {self.dataset.task}; remove it")
        classes, weights = self.dataset.classes or [], self.model.class_weight
        if self.model.threshold is not None and self.dataset.positive is None:
            raise ValueError("model.threshold needs exactly two classes")
        if isinstance(weights, dict) and sorted(weights) != sorted(classes):
            raise ValueError(f"model.class_weight needs one weight for each class: {', '.join(classes)}")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that is computed: the gate's first, then its minimums', then the reported ones."""
        reported = REPORT[self.dataset.task] if self.report is None else self.report
        return tuple(dict.fromkeys((self.gate.metric, *self.gate.minimums, *reported)))


class _UniqueKeyLoader(yaml.SafeLoader):
    """Rejects a mapping with a duplicate key, for which PyYAML silently takes the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the base class's
        """The mapping. Raises yaml.constructor.ConstructorError for a duplicate key."""
        keys = [key.value for key, _ in node.value]
        for (key, _), name in zip(node.value, keys, strict=False):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} occurs twice", key.start_mark)
        return super().construct_mapping(node, deep)


def load_pipeline_config(path: Path) -> PipelineConfig:
    """Read and check the pipeline's configuration.

    Raises:
        ConfigError: with the file, the key, what is wrong and, for a misspelt name, the one that was meant.
    """
    try:
        # A subclass of PyYAML's safe loader.
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: not UTF-8, or no such date
        raise ConfigError(f"{path}: {_yaml_problem(error)}") from error
    try:
        return PipelineConfig.model_validate(from_former_layout(raw))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(explain(error, raw, PipelineConfig))) from None


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark and r"'\t'" in str(error.problem):
        return f"line {error.problem_mark.line + 1}: tabs are not allowed in YAML, use spaces"
    return f"not YAML: {' '.join(str(error).split())}"
