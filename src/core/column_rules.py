"""What a cell of a table means, whatever format carries it: the same rules in training and in serving.

Every rule takes a text without white space around it and answers None where the text is nothing of the kind. A typed
carrier, such as Parquet, JSON or SQL, applies them only to what is still text.
"""

import math
import re
from collections.abc import Collection
from datetime import UTC, date, datetime

# Texts that mean a missing value, unless one is a category of its column ("NA" may be North America). They are the
# ones that pandas takes for missing.
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
SECONDS_PER_DAY = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

# Possessive: a long row of digits that ends in something else must not be tried again from each of its digits.
_NUMBER = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,400}(?:\.0*+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
LARGEST_INTEGER = 2**63 - 1


def is_missing(text: str, known: Collection[str] = ()) -> bool:
    """Whether a text means a missing value; ``known`` are the column's categories, which are values in any case."""
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
    """A whole number of 64 bits, exactly; ``3.0`` is one, ``3.5`` is not."""
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text.partition(".")[0])
    return value if -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER else None


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
    """The same of a date or a date and time; without a zone it is UTC."""
    if not isinstance(moment, datetime):
        return float(moment.toordinal() - EPOCH_ORDINAL)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.timestamp() / SECONDS_PER_DAY
