"""``config/pipeline.yaml``, read strictly: what is learned, from which columns, and when it may serve."""

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from src.core.errors import ConfigError

ColumnName = Annotated[str, Field(min_length=1, max_length=100)]
# Trees compare in single precision: no served value can lie beyond it.
LARGEST = 3.4028234e38
Limit = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FeatureConfig(_Strict):
    """One numeric input column and the range a believable value lies in (inclusive)."""

    minimum: Limit
    maximum: Limit

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be less than maximum")
        return self


class DatasetConfig(_Strict):
    """Where the rows come from and what must hold for them.

    ``source`` is ``iris`` (bundled with scikit-learn) or the path of a CSV file with a header.
    """

    source: str = Field(min_length=1)
    target: ColumnName
    features: dict[ColumnName, FeatureConfig] = Field(min_length=1)
    classes: list[ColumnName] = Field(min_length=2)
    min_rows_per_class: Annotated[int, Field(ge=2)]
    duplicates: Literal["keep", "drop", "error"]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.target in self.features:
            raise ValueError(f"the target {self.target!r} is also a feature")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ")
        return self


class SplitConfig(_Strict):
    """The stratified holdout on which challenger and champion are compared."""

    holdout_fraction: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]


class ModelConfig(_Strict):
    """The RandomForest's parameters, by scikit-learn's names."""

    n_estimators: Annotated[int, Field(ge=1)]
    max_depth: Annotated[int, Field(ge=1)] | None
    min_samples_leaf: Annotated[int, Field(ge=1)]
    random_state: Annotated[int, Field(ge=0, le=2**32 - 1)]


class GateConfig(_Strict):
    """When a challenger becomes champion: ``score >= floor`` and ``score >= champion - tolerance``."""

    metric: Literal["accuracy", "f1_macro"]
    floor: Score
    tolerance: Score


class PipelineConfig(_Strict):
    """The whole of ``config/pipeline.yaml``."""

    dataset: DatasetConfig
    split: SplitConfig
    model: ModelConfig
    gate: GateConfig


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
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is not UTF-8, or a date that is none
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return PipelineConfig.model_validate(raw)
    except ValidationError as error:
        # A misspelt key is two errors, one unknown and one missing: the unknown ones first tell what was meant.
        errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        problems = [_explain(item["type"], item["loc"], item["msg"], raw) for item in errors]
        raise ConfigError(f"{path}: " + "; ".join(problems)) from None


def _explain(kind: str, location: tuple[int | str, ...], message: str, raw: object) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        parent, name = location[:-1], str(location[-1])
        close = difflib.get_close_matches(name, _known_keys(parent), n=1)
        where = ".".join(str(part) for part in parent) or "the top level"
        meant = f"did you mean {close[0]!r}?" if close else f"{where} takes {', '.join(_known_keys(parent))}"
        return f"unknown key {key!r}; {meant}"
    if kind == "missing":
        return f"missing key {key!r}"
    if not location:
        return f"expected a mapping with the keys {', '.join(PipelineConfig.model_fields)}, got {type(raw).__name__}"
    return f"{key}: {message}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at this place of the file takes."""
    model: Any = PipelineConfig
    for part in location:
        if part == "features":
            return list(FeatureConfig.model_fields)
        model = model.model_fields[part].annotation
    return list(model.model_fields)
