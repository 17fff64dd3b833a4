"""``config/pipeline.yaml``, read strictly: what is learned, from which columns, and when it may serve."""

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from src.core.dataset_config import FEATURE_TYPES, DatasetConfig, Strict, Task
from src.core.errors import ConfigError
from src.core.gate_config import GateConfig, MetricName, RetentionConfig, SplitConfig
from src.core.model_config import ModelConfig

Location = tuple[int | str, ...]
# dataset.features.<name>
FEATURE_DEPTH = 3
# What is recorded of every model where ``report`` does not say otherwise; scikit-learn's names.
REPORT: dict[Task, list[str]] = {
    "classification": ["accuracy", "f1_macro", "neg_log_loss"],
    "regression": ["r2", "neg_root_mean_squared_error", "neg_mean_absolute_error"],
}


class PipelineConfig(Strict):
    """The whole of ``config/pipeline.yaml``; ``report`` lists metrics that are recorded beside the gate's own."""

    dataset: DatasetConfig
    split: SplitConfig
    model: ModelConfig = ModelConfig()
    gate: GateConfig
    report: Annotated[list[MetricName], Field(max_length=20)] | None = None
    retention: RetentionConfig = RetentionConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed = {"group": self.dataset.group, "time": self.dataset.time}
        if self.split.by in needed and needed[self.split.by] is None:
            raise ValueError(f"split.by is {self.split.by}; name the column in dataset.{self.split.by}")
        unknown = [name for name in self.gate.slices if name not in self.dataset.features]
        if unknown:
            raise ValueError(f"gate.slices: {', '.join(unknown)} must be columns of dataset.features")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that is computed: the gate's first, then its minimums', then the reported ones."""
        reported = REPORT[self.dataset.task] if self.report is None else self.report
        return tuple(dict.fromkeys((self.gate.metric, *self.gate.minimums, *reported)))


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the base class's
        """The mapping. Raises yaml.constructor.ConstructorError for a key that stands there twice."""
        keys = [key.value for key, _ in node.value]
        for (key, _), name in zip(node.value, keys, strict=False):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def load_pipeline_config(path: Path) -> PipelineConfig:
    """Read and check the pipeline's configuration.

    Raises:
        ConfigError: naming the file, the key, what is wrong and, for a misspelt key, what was meant.
    """
    try:
        # The loader is a safe one that is stricter still.
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError is not UTF-8, or a date that is none
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return PipelineConfig.model_validate(raw)
    except ValidationError as error:
        # A misspelt key is two errors, one unknown and one missing: the unknown ones first tell what was meant.
        errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        problems = [_explain(item, raw) for item in errors]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None


def _explain(error: ErrorDetails, raw: object) -> str:
    """One problem, by its key in the file."""
    kind, location, message = error["type"], error["loc"], error["msg"].removeprefix("Value error, ")
    model, location = _model_of(location[:-1]), _without_type(location)
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        where = ".".join(str(part) for part in location[:-1]) or "the top level"
        known = list(model.model_fields)
        return f"unknown key {key!r}; {_meant(str(location[-1]), known) or f'{where} takes ' + ', '.join(known)}"
    if kind == "missing":
        return f"missing key {key!r}"
    if kind == "union_tag_invalid":
        known = list(FEATURE_TYPES)
        return f"{key}.type: no such type; {_meant(error['ctx']['tag'], known) or 'it is one of ' + ', '.join(known)}"
    if kind == "string_type" and not isinstance(error["input"], dict | list):
        # YAML reads no, yes and 1 as other things than text.
        return f"{key}: {error['input']!r} is no text here; put it in quotes"
    if not location and kind != "value_error":
        return f"expected a mapping with the keys {', '.join(PipelineConfig.model_fields)}, got {type(raw).__name__}"
    return f"{key}: {message}" if key else message


def _meant(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _is_feature(location: Location) -> bool:
    """Whether this place lies in a column of ``dataset.features``, after whose name pydantic puts the column's type."""
    return location[:2] == ("dataset", "features") and len(location) > FEATURE_DEPTH


def _without_type(location: Location) -> Location:
    return location[:FEATURE_DEPTH] + location[FEATURE_DEPTH + 1 :] if _is_feature(location) else location


def _model_of(location: Location) -> type[BaseModel]:
    """The model at this place of the file, or the last one on the way there."""
    if _is_feature(location):
        return FEATURE_TYPES[str(location[FEATURE_DEPTH])]
    model: type[BaseModel] = PipelineConfig
    for part in location:
        inner: Any = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        found = next((kind for kind in (inner, *get_args(inner)) if isinstance(kind, type)), None)
        if found is None or not issubclass(found, BaseModel):
            return model
        model = found
    return model
