"""The Arrow types that a model's columns accept. For workers only."""

from collections.abc import Callable, Mapping

from arro3.core import DataType

from src.core.column_rules import SECONDS_PER_DAY
from src.core.errors import InvalidInputError
from src.core.feature_schema import ColumnType, FeatureSchema
from src.serving.tables.problems import (
    NOT_A_BOOLEAN,
    NOT_A_DATE,
    NOT_A_NUMBER,
    NOT_A_STRING,
    NOT_AN_INTEGER,
    InvalidRecordError,
)

UNITS_PER_DAY = {unit: SECONDS_PER_DAY * 1000**power for power, unit in enumerate(("s", "ms", "us", "ns"))}


def check_types(schema: FeatureSchema, places: list[int | None], types: list[DataType]) -> None:
    """Raise InvalidRecordError if the type of a column does not fit the model's."""
    problems: list[InvalidInputError] = []
    for column, place in zip(schema.columns, places, strict=True):
        if place is None:
            continue
        found = types[place]
        if DataType.is_dictionary(found) and found.value_type is not None:
            found = found.value_type
        what, kind, fits = CATEGORY if column.values else TAKEN[column.type]
        if not (fits(found) or is_text(found) or DataType.is_null(found)):
            text = f"{column.name} must be a column of {what}; its Arrow type is another"
            problems.append(InvalidInputError(text, kind=kind, field=column.name))
    if problems:
        raise InvalidRecordError(problems)


def _is_plain_number(found: DataType) -> bool:
    return DataType.is_integer(found) or DataType.is_floating(found)


def _is_number(found: DataType) -> bool:
    return _is_plain_number(found) or DataType.is_decimal(found)


def _is_moment(found: DataType) -> bool:
    return DataType.is_date(found) or DataType.is_timestamp(found)


def is_text(found: DataType) -> bool:
    """Whether values of a type are texts."""
    return DataType.is_string(found) or DataType.is_large_string(found) or DataType.is_string_view(found)


# By column type: its description, the problem of another type, and the Arrow types that it accepts besides texts.
TAKEN: Mapping[ColumnType, tuple[str, str, Callable[[DataType], bool]]] = {
    ColumnType.NUMBER: ("numbers", NOT_A_NUMBER, _is_number),
    ColumnType.INTEGER: ("integers, or of other numbers with whole values", NOT_AN_INTEGER, _is_number),
    ColumnType.BOOLEAN: (
        "booleans, or of 0 and 1",
        NOT_A_BOOLEAN,
        lambda found: DataType.is_boolean(found) or _is_number(found),
    ),
    ColumnType.STRING: ("texts, plain or in a dictionary", NOT_A_STRING, is_text),
    ColumnType.DATE: (
        "dates, timestamps, ISO 8601 texts, or numbers of days since 1970",
        NOT_A_DATE,
        lambda found: _is_moment(found) or _is_plain_number(found),
    ),
}
# A category may have been a number, boolean or date in the training data, where it was also read as text.
CATEGORY = (
    "texts, numbers, booleans or dates",
    NOT_A_STRING,
    lambda found: DataType.is_boolean(found) or _is_number(found) or _is_moment(found),
)
# The types whose arrays are checked as a whole.
PLAIN: Mapping[ColumnType, Callable[[DataType], bool]] = {
    ColumnType.NUMBER: _is_plain_number,
    ColumnType.INTEGER: _is_plain_number,
    ColumnType.BOOLEAN: DataType.is_boolean,
    ColumnType.STRING: lambda _: False,
    ColumnType.DATE: lambda found: _is_moment(found) or _is_plain_number(found),
}


def units_per_day(found: DataType) -> int:
    """The number of a date's or timestamp's units in a day; 0 for other types."""
    if DataType.is_date(found):
        return 1 if DataType.is_date32(found) else UNITS_PER_DAY["ms"]
    return UNITS_PER_DAY[str(found.time_unit)] if DataType.is_timestamp(found) else 0
