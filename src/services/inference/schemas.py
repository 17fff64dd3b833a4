"""What goes in and out of ``/predict``: strict decoding of one record, and the answer's shape."""

from typing import Any

import msgspec

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema

FLOAT32_MAX = 3.4028234663852886e38
# Every kind of a record's problems; they are also labels of a metric.
MISSING = "missing"
NOT_A_NUMBER = "not_a_number"
NOT_FINITE = "not_finite"
UNKNOWN_FIELD = "unknown_field"
MALFORMED = "malformed"
RECORD_PROBLEMS = (MISSING, NOT_A_NUMBER, NOT_FINITE, UNKNOWN_FIELD, MALFORMED)


class InvalidRecordError(InvalidInputError):
    """A record with at least one problem; its own kind and field are the first's.

    Messages name columns of the model and never repeat anything of the input.
    """

    def __init__(self, problems: list[InvalidInputError]) -> None:
        first = problems[0]
        super().__init__(str(first), kind=first.kind, field=first.field)
        self.problems = tuple(problems)


class ModelName(msgspec.Struct, frozen=True):
    """Which model answered."""

    name: str
    version: str


class Prediction(msgspec.Struct, frozen=True):
    """The answer of ``POST /predict``; probabilities are in [0, 1] and sum to 1 up to rounding."""

    prediction: str
    probabilities: dict[str, float]
    model: ModelName
    request_id: str


class RecordDecoder:
    """Decodes one JSON object with exactly a model's columns, each a finite number that float32 can hold.

    The accepting path is one call into C; only a refused body is looked at a second time, to say why.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self._columns = schema.columns
        self._expected = ", ".join(schema.columns)
        # Not a msgspec struct: its fields refuse names with quotes or control characters, which columns may have.
        self._decoder = msgspec.json.Decoder(dict[str, float])
        self._loose_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def decode(self, body: bytes) -> tuple[float, ...]:
        """Values in the schema's column order.

        Raises:
            InvalidRecordError: the body is not such a record.
        """
        try:
            found = self._decoder.decode(body)
            values = tuple([found[column] for column in self._columns])
        # UnicodeDecodeError is a ValueError; deep nesting is a RecursionError.
        except (ValueError, KeyError, RecursionError):
            raise InvalidRecordError(self._explain(body)) from None
        if len(found) == len(values) and all(-FLOAT32_MAX <= value <= FLOAT32_MAX for value in values):
            return values
        raise InvalidRecordError(self._explain(body))

    def _explain(self, body: bytes) -> list[InvalidInputError]:
        """Every problem of a refused body, in the order of the columns."""
        try:
            found = self._loose_decoder.decode(body)
        except msgspec.ValidationError:
            return [self._malformed("the body must be one JSON object")]
        except (ValueError, RecursionError):
            return [self._malformed("the body is not valid JSON (NaN and Infinity are not JSON)")]
        problems = [
            problem
            for column in self._columns
            if (problem := _problem(column, found[column]) if column in found else _missing(column))
        ]
        if not found.keys() <= set(self._columns):
            message = f"unknown fields; the model takes {self._expected} and nothing else"
            problems.append(InvalidInputError(message, kind=UNKNOWN_FIELD))
        # Nothing found: one of two equal keys was wrong and the other right.
        return problems or [self._malformed("each field must be given once")]

    def _malformed(self, message: str) -> InvalidInputError:
        return InvalidInputError(f"{message} with the fields {self._expected}", kind=MALFORMED)


def _problem(column: str, raw: msgspec.Raw) -> InvalidInputError | None:
    """What is wrong with one column's value, if anything; the text of its JSON decides, so nothing is built."""
    text = bytes(raw)
    if text[:1] not in b"-0123456789":
        return InvalidInputError(f"{column} must be a number, without quotes", kind=NOT_A_NUMBER, field=column)
    try:
        value: Any = msgspec.json.decode(text, type=float)
    except ValueError:
        return _not_finite(column)
    return None if -FLOAT32_MAX <= value <= FLOAT32_MAX else _not_finite(column)


def _missing(column: str) -> InvalidInputError:
    return InvalidInputError(f"{column} is required", kind=MISSING, field=column)


def _not_finite(column: str) -> InvalidInputError:
    return InvalidInputError(f"{column} must be a finite number that float32 can hold", kind=NOT_FINITE, field=column)
