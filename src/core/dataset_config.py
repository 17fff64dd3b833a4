"""The ``dataset`` section of ``config/pipeline.yaml``: which rows are learned from, and what each column may hold."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from src.core.feature_schema import TYPES, Column, FeatureSchema

ColumnName = Annotated[str, Field(min_length=1, max_length=100)]
# Trees compare in single precision: no served value can lie beyond it.
LARGEST = 3.4028234e38
Limit = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Task = Literal["classification", "regression"]


class Strict(BaseModel):
    """A section of the file: unknown keys and values of other types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(Strict):
    """The range a believable number lies in (inclusive)."""

    minimum: Limit
    maximum: Limit

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError("minimum must be less than maximum")
        return self


class NumberFeature(Range):
    """A column of numbers; one that is missing counts as the median of the training rows."""

    type: Literal["number"] = "number"
    missing: bool = False


class BooleanFeature(Strict):
    """A column of true and false; one that is missing counts as what is more frequent in the training rows."""

    type: Literal["boolean"]
    missing: bool = False


class CategoryFeature(Strict):
    """A column of texts, each one of a few; in a request another one counts as none of them, as a missing one does."""

    type: Literal["category"]
    values: list[ColumnName] = Field(min_length=1)
    missing: bool = False

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError("values must differ")
        return self


FEATURE_TYPES: dict[str, type[Strict]] = {
    "number": NumberFeature,
    "boolean": BooleanFeature,
    "category": CategoryFeature,
}
MLFLOW_TYPES = {"number": "double", "boolean": "boolean", "category": "string"}


def _type_of(raw: Any) -> Any:
    """A column's type; a range alone, without one, is a number's."""
    return raw.get("type", "number") if isinstance(raw, dict) else getattr(raw, "type", "number")


Feature = Annotated[
    Annotated[NumberFeature, Tag("number")]
    | Annotated[BooleanFeature, Tag("boolean")]
    | Annotated[CategoryFeature, Tag("category")],
    Discriminator(_type_of),
]


class DatasetConfig(Strict):
    """Where the rows come from and what must hold for them.

    ``source`` is ``iris`` (bundled with scikit-learn) or the path of a CSV file with a header. With ``classes`` the
    target is one of these names; with ``target_range`` it is a number.
    """

    source: str = Field(min_length=1)
    target: ColumnName
    features: dict[ColumnName, Feature] = Field(min_length=1)
    classes: Annotated[list[ColumnName], Field(min_length=2)] | None = None
    target_range: Range | None = None
    min_rows_per_class: Annotated[int, Field(ge=2)] | None = None
    duplicates: Literal["keep", "drop", "error"]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.target in self.features:
            raise ValueError(f"the target {self.target!r} is also a feature")
        if (self.classes is None) == (self.target_range is None):
            raise ValueError("give either classes, for a classification, or target_range, for a regression")
        if (self.classes is None) != (self.min_rows_per_class is None):
            raise ValueError("classes and min_rows_per_class go together")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ")
        return self

    @property
    def task(self) -> Task:
        """What kind of model learns it."""
        return "regression" if self.classes is None else "classification"

    @property
    def feature_schema(self) -> FeatureSchema:
        """The model's columns."""
        kinds = {name: MLFLOW_TYPES[feature.type] for name, feature in self.features.items()}
        return FeatureSchema(
            tuple(
                Column(name, TYPES[kind], required=not self.features[name].missing, mlflow_type=kind)
                for name, kind in kinds.items()
            )
        )
