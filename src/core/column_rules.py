"""Parses the cells of tables in every format, by the same rules in training and in serving.

A rule takes a text without white space around it and returns None where the text is not of its kind.
``typed_cells.read_cell`` applies them to a column, and to the cells of typed formats such as Parquet, JSON or SQL.
"""

import math
import re
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from src.core.feature_schema import Column, ColumnType
from src.core.feature_table import Value

# Texts that mean a missing value, as in pandas, unless they are a category of the column ("NA" may be North America).
MISSING_TEXTS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
BOOLEAN_TEXTS = {
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "1": True,
    "0": False,
    "1.0": True,
    "0.0": False,
}
LARGEST_INTEGER = 2**63 - 1
SECONDS_PER_DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The years 1 to 9999 in days since 1970, with a day for time zones. Numbers beyond, such as 20240131 or a count of
# seconds, are not days.
FIRST_DAY, LAST_DAY = -719_163.0, 2_932_898.0

_FIRST_SECOND, _LAST_SECOND = -719_162 * SECONDS_PER_DAY, 2_932_897 * SECONDS_PER_DAY - 1

# Possessive quantifiers: without backtracking, a long run of digits followed by another character takes linear time.
_NUMBER = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)
_PLAIN_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_MOST_DIGITS = 19
_HOUR, _SIXTY = r"(?:[01]\d|2[0-3])", r"[0-5]\d"
_ZONE = rf"Z|[+-]{_HOUR}(?::?{_SIXTY})?"
_TIME = rf"{_HOUR}:{_SIXTY}(?::{_SIXTY}(?:\.\d{{1,9}})?)?(?:{_ZONE})?"
_DATE = re.compile(rf"\d{{4}}-\d\d-\d\d(?:[T ]{_TIME})?", re.ASCII)


def is_missing(text: str, known: Collection[str] = ()) -> bool:
    """Whether a text means a missing value; ``known`` are the column's categories, which are never missing."""
    return text in MISSING_TEXTS and text not in known


def number_of(text: str, decimal: str = ".") -> float | None:
    """A finite number in decimal notation; thousands separators and digits of other scripts are refused."""
    if decimal != ".":
        if "." in text:
            return None
        text = text.replace(decimal, ".")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def integer_of(text: str) -> int | None:
    """An exact 64-bit integer; ``3.0`` and ``3e2`` are integers, ``3.5`` is not."""
    if _PLAIN_INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent of very many digits
        return None
    if value.adjusted() >= _MOST_DIGITS and value:
        return None
    whole = int(value)
    return whole if whole == value and -LARGEST_INTEGER - 1 <= whole <= LARGEST_INTEGER else None


def boolean_of(text: str) -> bool | None:
    """True or false: true, yes, 1, and false, no, 0, in upper or lower case."""
    return BOOLEAN_TEXTS.get(text.lower())


def days_of(text: str) -> float | None:
    """Days since 1970-01-01 UTC of an ISO 8601 date, or date and time; without a zone it is UTC."""
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # such as a 30th of February
        return None
    return days_of_moment(moment)


def days_of_moment(moment: datetime | date) -> float:
    """Days since 1970-01-01 UTC of a date, or date and time; without a zone it is UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH).total_seconds() / SECONDS_PER_DAY


def date_text(days: float) -> str:
    """Days since 1970-01-01 UTC as an ISO 8601 date, with the time of day in whole seconds unless it is midnight.

    Days before the year 1 or after 9999 are shown as the first or the last second of this range.
    """
    moment = EPOCH + timedelta(seconds=min(max(round(days * SECONDS_PER_DAY), _FIRST_SECOND), _LAST_SECOND))
    text = moment.strftime("%H:%M:%S")
    return moment.date().isoformat() + ("" if text == "00:00:00" else f"T{text}Z")


def shown(column: Column, value: Value) -> Value:
    """A column's value for JSON: a date as text, an integer without a decimal point."""
    if not isinstance(value, float):
        return value
    if column.type is ColumnType.DATE:
        return date_text(value)
    return int(value) if column.type is ColumnType.INTEGER else value


def category_of(text: str, known: Collection[str] = ()) -> str | None:
    """A text column's value, stripped unless it is a known category as it is; None where it is missing."""
    if text in known:
        return text
    text = text.strip()
    return None if is_missing(text, known) else text
