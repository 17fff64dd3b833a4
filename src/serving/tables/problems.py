"""Problems of a request's rows; messages name columns and do not repeat values of the request."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from src.core.errors import InvalidInputError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.misspelt import did_you_mean

# The kinds of a record's problems; they are also labels of a metric.
MISSING = "missing"
NOT_FINITE = "not_finite"
UNKNOWN_FIELD = "unknown_field"
MALFORMED = "malformed"
WRONG_TYPE = {
    ColumnType.NUMBER: "not_a_number",
    ColumnType.INTEGER: "not_an_integer",
    ColumnType.BOOLEAN: "not_a_boolean",
    ColumnType.STRING: "not_a_string",
    ColumnType.DATE: "not_a_date",
}
RECORD_PROBLEMS = (MISSING, *WRONG_TYPE.values(), NOT_FINITE, UNKNOWN_FIELD, MALFORMED)
# The kind of a body that is refused before its records are read.
TOO_LARGE = "too_large"
# Errors of decoding an invalid record; UnicodeDecodeError is a ValueError, deep nesting raises RecursionError.
UNFIT = (ValueError, KeyError, RecursionError, InvalidInputError)
# At most so many problems are reported: a batch may have one per cell.
MAX_TOLD = 100
# An error lists at most so many unknown names, each of at most so many characters; the first few with a suggestion.
MAX_NAMES, MAX_NAME, MAX_SUGGESTIONS = 10, 60, 3
NO_NAME = "one without a name (an index? pandas: index=False)"


class InvalidRecordError(InvalidInputError):
    """Records with at least one problem; kind and field of the error are those of the first."""

    def __init__(self, problems: list[InvalidInputError]) -> None:
        first = problems[0]
        super().__init__(str(first), kind=first.kind, field=first.field, row=first.row)
        self.problems = tuple(problems[:MAX_TOLD])


def malformed(message: str, row: int | None = None, kind: str = MALFORMED) -> InvalidRecordError:
    """The problem of a body, or of a row, that cannot be read."""
    return InvalidRecordError([InvalidInputError(message, kind=kind, row=row)])


def problem_of(column: Column, what: str, kind: str | None = None) -> InvalidInputError:
    """The problem of a column, or of one of its values: without a kind, that it is not of the column's type."""
    return InvalidInputError(f"{column.name} {what}", kind=kind or WRONG_TYPE[column.type], field=column.name)


def missing(column: Column) -> InvalidInputError:
    """The problem of a required column without a value."""
    return problem_of(column, "is required", MISSING)


def no_column(schema: FeatureSchema, hint: str = "") -> InvalidInputError:
    """The problem of a body without any of the model's columns, which may all be optional."""
    message = f"no column of the model is in the body; its columns are {', '.join(schema.names)}{hint}"
    return InvalidInputError(message, kind=MALFORMED)


def unknown_columns(schema: FeatureSchema, names: Iterable[str], what: str = "columns") -> InvalidInputError:
    """The problem of a batch's columns, or of a single record's fields, that the model does not have."""
    hint = "; extra_columns=ignore drops other columns, extra_columns=keep returns them with the predictions"
    takes = ", ".join(schema.names) + (" and nothing else" if what == "fields" else hint)
    listed = unknown_names(names, schema.names)
    return InvalidInputError(f"unknown {what}: {listed}; the model takes {takes}", kind=UNKNOWN_FIELD)


def unknown_names(names: Iterable[str], known: Sequence[str]) -> str:
    """The names that are not known, as far as they are short and printable, with suggestions from the known ones.

    Known names that are given, too, are not suggested.
    """
    given = dict.fromkeys(names)
    unknown = [name for name in given if name not in known]
    shown = [name for name in unknown if len(name) <= MAX_NAME and name.isprintable()][:MAX_NAMES]
    missing = [name for name in known if name not in given]
    hints = [did_you_mean(name, missing) for name in shown[:MAX_SUGGESTIONS]]
    listed = [f"{name} ({hint})" if hint else name or NO_NAME for name, hint in zip_longest(shown, hints)]
    if more := len(unknown) - len(shown):
        listed.append(f"{more} more" if shown else f"{more} with long or unprintable names")
    return ", ".join(listed)
