"""What can be wrong with the rows of a request; messages name columns of the model and repeat nothing of the input."""

from src.core.errors import InvalidInputError

# Every kind of a record's problems; they are also labels of a metric.
MISSING = "missing"
NOT_A_NUMBER = "not_a_number"
NOT_FINITE = "not_finite"
NOT_AN_INTEGER = "not_an_integer"
NOT_A_BOOLEAN = "not_a_boolean"
NOT_A_STRING = "not_a_string"
NOT_A_DATE = "not_a_date"
UNKNOWN_FIELD = "unknown_field"
MALFORMED = "malformed"
# Of a body, before any record is looked at.
TOO_LARGE = "too_large"
RECORD_PROBLEMS = (
    MISSING,
    NOT_A_NUMBER,
    NOT_FINITE,
    NOT_AN_INTEGER,
    NOT_A_BOOLEAN,
    NOT_A_STRING,
    NOT_A_DATE,
    UNKNOWN_FIELD,
    MALFORMED,
)
# What a record that does not fit raises on the way: UnicodeDecodeError is a ValueError, deep nesting a RecursionError.
UNFIT = (ValueError, KeyError, RecursionError, InvalidInputError)
# As many problems as an answer reports: a batch may have one per cell.
MAX_TOLD = 100


class InvalidRecordError(InvalidInputError):
    """Records with at least one problem; its own kind and field are the first's."""

    def __init__(self, problems: list[InvalidInputError]) -> None:
        first = problems[0]
        super().__init__(str(first), kind=first.kind, field=first.field, row=first.row)
        self.problems = tuple(problems[:MAX_TOLD])


def malformed(message: str, row: int | None = None, field: str | None = None) -> InvalidRecordError:
    """The one problem of a body that cannot be read, or of a row."""
    return InvalidRecordError([InvalidInputError(message, kind=MALFORMED, row=row, field=field)])
