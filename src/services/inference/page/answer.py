"""The model's prediction for the form: a bar per class or a number, and the same request as a curl command."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import UnsetType

from src.core.column_rules import date_text
from src.core.feature_schema import ColumnType
from src.core.feature_table import Row
from src.services.inference.page.form import known_values
from src.services.inference.page.formatting import percent
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer

# Bars for at most so many classes, those with the highest probabilities; the others are counted.
MAX_BARS = 12
# At most so many known values are listed for a value that is not one of them.
MAX_KNOWN = 8


@dataclass(frozen=True)
class Bar:
    """A class and its probability, as a number in [0, 1] and formatted."""

    label: str
    share: float
    shown: str
    chosen: bool


@dataclass(frozen=True)
class AnswerView:
    """The prediction, or the problems of the submitted form.

    Attributes:
        more: the number of classes without a bar.
        doubts: a sentence for each value that lies outside the training rows' range, or does not occur in them.
    """

    problems: list[str]
    prediction: str | None = None
    bars: tuple[Bar, ...] = ()
    more: int = 0
    version: str | None = None
    curl: str | None = None
    doubts: tuple[str, ...] = ()


def answer_view(predictor: Predictor, row: Row, answer: Answer, record: bytes, base_url: str) -> AnswerView:
    """The prediction for a record, and the command that requests it.

    Args:
        predictor: the model that predicted.
        row: the record's values in the schema's order.
        answer: the prediction for it.
        record: the request's body.
        base_url: the service's URL as the browser has it, with a trailing slash.
    """
    label = answer.prediction
    bars = [] if isinstance(answer.probabilities, UnsetType) else sorted(answer.probabilities.items(), key=_by_share)
    return AnswerView(
        problems=[],
        prediction=f"{label:.6g}" if isinstance(label, float) else str(label),
        bars=tuple(Bar(name, share, percent(share), name == str(label)) for name, share in bars[:MAX_BARS]),
        more=max(0, len(bars) - MAX_BARS),
        version=predictor.version.version,
        curl=curl_of(base_url, record),
        doubts=tuple(_doubts(predictor, row)),
    )


def curl_of(base_url: str, record: bytes) -> str:
    """A command for a POSIX shell that sends this record."""
    words = ["curl", "-H", "Content-Type: application/json", "-d", record.decode(), f"{base_url}predict"]
    return shlex.join(words)


def _doubts(predictor: Predictor, row: Row) -> Iterator[str]:
    reference = predictor.reference
    for column, value in zip(predictor.schema.columns, row, strict=True):
        known = known_values(column, reference)
        if known and value is not None and value not in known:
            listed = ", ".join(sorted(known)[:MAX_KNOWN]) + (", …" if len(known) > MAX_KNOWN else "")
            yield f"{column.name} has a value that does not occur in the training rows; known values: {listed}."
        if reference is None or column.name not in reference.minimum or not isinstance(value, int | float):
            continue
        low, high = reference.minimum[column.name], reference.maximum[column.name]
        if not low <= value <= high:
            text = date_text if column.type is ColumnType.DATE else "{:.7g}".format
            yield f"{column.name} is outside the training rows' range, {text(low)} to {text(high)}."


def _by_share(item: tuple[str, float]) -> float:
    return -item[1]
