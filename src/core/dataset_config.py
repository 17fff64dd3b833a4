"""The ``dataset`` section of ``config/pipeline.yaml``: where rows come from, and what each column may hold."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from src.core.feature_schema import TYPES, Column, ColumnType, FeatureSchema
from src.core.misspelt import did_you_mean
from src.core.source_address import without_secrets

# Characters of a column's, a class's or a category's name.
MAX_NAME = 100
ColumnName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
# The largest single-precision number, the precision in which trees compare.
LARGEST = 3.4028234e38
Limit = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Task = Literal["classification", "regression"]
IRIS = "iris"
SQL = "sql"
# The type of a column that is not read.
IGNORE = "ignore"
BINARY = 2
# The column of a prepared data set that labelled rows of the prediction log have: when they were predicted, in days
# since 1970-01-01 UTC; NaN in the rows of the source.
FEEDBACK_TIME = "feedback_time"


class Strict(BaseModel):
    """A section of the file: unknown keys and values of other types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(Strict):
    """The inclusive range of valid numbers; a missing limit is learned from the training rows."""

    minimum: Limit | None = None
    maximum: Limit | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError("minimum must be less than maximum")
        return self


class NumberFeature(Range):
    """A column of numbers; a missing one is replaced by the median of the training rows."""

    type: Literal["number"] = "number"
    missing: bool = False


class IntegerFeature(Range):
    """A column of whole numbers of 64 bits; a missing one is replaced by the median of the training rows."""

    type: Literal["integer"]
    missing: bool = False


class BooleanFeature(Strict):
    """A column of true and false; a missing one is replaced by the more frequent value of the training rows."""

    type: Literal["boolean"]
    missing: bool = False


class CategoryFeature(Strict):
    """A column of texts, each one of a few; values that are left out are learned from the training rows.

    In a request any other text is accepted and, like a missing value, counts as none of them.
    """

    type: Literal["category"]
    values: Annotated[list[ColumnName], Field(min_length=1)] | None = None
    missing: bool = False

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.values is not None and len(set(self.values)) != len(self.values):
            raise ValueError("values must differ")
        return self


class DateFeature(Strict):
    """A column of ISO 8601 dates or times; the model sees days since 1970-01-01 UTC, as a number."""

    type: Literal["date"]
    missing: bool = False


FEATURE_TYPES: dict[str, type[Strict]] = {
    "number": NumberFeature,
    "integer": IntegerFeature,
    "boolean": BooleanFeature,
    "category": CategoryFeature,
    "date": DateFeature,
}
MLFLOW_TYPES = {"number": "double", "integer": "long", "boolean": "boolean", "category": "string", "date": "double"}


def _type_of(raw: Any) -> Any:
    """A column's type; a range alone, without one, is a number's."""
    return raw.get("type", "number") if isinstance(raw, dict) else getattr(raw, "type", "number")


Feature = Annotated[
    Annotated[NumberFeature, Tag("number")]
    | Annotated[IntegerFeature, Tag("integer")]
    | Annotated[BooleanFeature, Tag("boolean")]
    | Annotated[CategoryFeature, Tag("category")]
    | Annotated[DateFeature, Tag("date")],
    Discriminator(_type_of),
]


class CsvFormat(Strict):
    """How the cells of CSV and TSV files are written.

    ``delimiter`` unset means a comma, or a tab in files named ``.tsv``; a space cannot be one, as spaces after a
    delimiter are skipped. ``encoding`` is any encoding that Python supports.
    """

    delimiter: Annotated[str, Field(pattern=r'^[^ "\r\n]$')] | None = None
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _encoding_exists(self) -> Self:
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"Python has no text encoding {self.encoding!r}; use a name such as utf-8 or cp1252"
            ) from None
        return self


class InvalidRows(Strict):
    """What to do with rows whose cells are not what their columns may hold.

    ``fail`` stops the training; ``drop`` leaves the rows out; ``missing`` counts the cells as missing in columns that
    may be missing, and drops the row otherwise. More than ``max_share`` of all rows stops the training in any case.
    """

    policy: Literal["fail", "drop", "missing"] = "fail"
    max_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01


class FeedbackConfig(Strict):
    """Whether rows of the prediction log whose true labels have come are learned from, too.

    Only rows that were predicted in the last ``max_age_days``. Each of them counts ``weight`` times as much as a row
    of the source.
    """

    use: bool = False
    max_age_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 90.0
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0


class DatasetConfig(Strict):
    """Where the rows come from and what must hold for them.

    ``source`` is ``iris`` (bundled with scikit-learn), a CSV, TSV or Parquet file (also gzipped), a folder or a glob
    of such files, an ``https://`` or ``s3://`` address, or ``sql``, for which ``query`` selects the rows from the
    database of ``DATASET_URL``. With ``classes`` the target is one of these names; with ``target_range`` it is a
    number. ``id`` names the columns that identify a row, ``time`` when it happened, ``group`` whom it belongs to;
    ``ignored`` columns may be in the source and are not read.
    """

    source: Annotated[str, Field(min_length=1), AfterValidator(without_secrets)]
    query: Annotated[str, Field(min_length=1)] | None = None
    csv: CsvFormat = CsvFormat()
    target: ColumnName
    id: list[ColumnName] = []
    time: ColumnName | None = None
    group: ColumnName | None = None
    features: dict[ColumnName, Feature] = Field(min_length=1)
    ignored: list[ColumnName] = []
    classes: Annotated[list[ColumnName], Field(min_length=2)] | None = None
    positive_class: ColumnName | None = None
    target_range: Range | None = None
    min_rows_per_class: Annotated[int, Field(ge=2)] | None = None
    duplicates: Literal["keep", "drop", "error"]
    invalid_rows: InvalidRows = InvalidRows()
    feedback: FeedbackConfig = FeedbackConfig()

    @model_validator(mode="before")
    @classmethod
    def _set_ignored_aside(cls, raw: Any) -> Any:
        """Columns of the type ``ignore`` are listed among the features and are none."""
        features = raw.get("features") if isinstance(raw, dict) else None
        if not isinstance(features, dict):
            return raw
        ignored = [name for name, feature in features.items() if feature == {"type": IGNORE}]
        kept = {name: feature for name, feature in features.items() if name not in ignored}
        return raw | {"features": kept, "ignored": [*(raw.get("ignored") or []), *ignored]} if ignored else raw

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
        if self.positive_class is not None and self.positive_class not in (self.classes or []):
            meant = did_you_mean(self.positive_class, self.classes or [])
            raise ValueError("positive_class must be one of classes" + (f"; {meant}" if meant else ""))
        if self.positive_class is not None and len(self.classes or []) != BINARY:
            raise ValueError("positive_class needs exactly two classes")
        if (self.source == SQL) != (self.query is not None):
            raise ValueError("source: sql and query go together")
        return self

    @model_validator(mode="after")
    def _roles_differ(self) -> Self:
        named = {*self.id, self.time, self.group}
        if self.target in named | set(self.ignored):
            raise ValueError(f"the target {self.target!r} cannot be an id, time, group or ignored column, too")
        if len(set(self.id)) != len(self.id):
            raise ValueError("the id columns must differ")
        if FEEDBACK_TIME in {*named, *self.features, *self.ignored, self.target}:
            raise ValueError(f"the name {FEEDBACK_TIME!r} is reserved for labelled rows; rename the column")
        both = sorted(set(self.ignored) & (named | set(self.features)))
        if both:
            raise ValueError(f"ignored columns are used elsewhere: {', '.join(both)}")
        return self

    @property
    def task(self) -> Task:
        """What kind of model learns it."""
        return "regression" if self.classes is None else "classification"

    @property
    def positive(self) -> str | None:
        """The class that metrics of two classes such as ``f1`` and ``recall`` are about: the last one unless named."""
        if self.classes is None or len(self.classes) != BINARY:
            return None
        return self.positive_class or self.classes[-1]

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns other than features and target: those of ``id``, ``time`` and ``group``."""
        named = (*self.id, self.time, self.group)
        known = (*self.features, self.target)
        return tuple(dict.fromkeys(name for name in named if name is not None and name not in known))

    @property
    def columns(self) -> tuple[str, ...]:
        """The validated data set's columns in their order: the features, the target, then the extra columns."""
        return (*self.features, self.target, *self.extra_columns)

    @property
    def feature_schema(self) -> FeatureSchema:
        """The model's columns."""
        return FeatureSchema(
            tuple(
                Column(
                    name,
                    ColumnType.DATE if feature.type == "date" else TYPES[MLFLOW_TYPES[feature.type]],
                    required=not feature.missing,
                    mlflow_type=MLFLOW_TYPES[feature.type],
                    values=tuple(feature.values or ()) if isinstance(feature, CategoryFeature) else (),
                )
                for name, feature in self.features.items()
            ),
            ids=tuple(name for name in self.id if name not in self.features),
        )
