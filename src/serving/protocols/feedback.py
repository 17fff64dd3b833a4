"""Reads true labels in JSON, JSON lines or CSV; problems are reported by row, without values of the input."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from src.core.errors import InvalidInputError
from src.core.feedback import MAX_KEY, MAX_LABEL, Label, label_time
from src.core.prediction_log import canonical_id
from src.core.predictions import Label as ClassLabel
from src.core.typed_cells import number_cell
from src.serving.tables.parts import Format
from src.serving.tables.problems import (
    MALFORMED,
    MAX_TOLD,
    MISSING,
    TOO_LARGE,
    UNKNOWN_FIELD,
    InvalidRecordError,
    malformed,
    unknown_names,
)
from src.serving.tables.raw_records import Record, raw_records

FORMATS = (Format.JSON, Format.NDJSON, Format.CSV)
REQUEST_ID, ID, LABEL, TIME = "request_id", "id", "label", "time"
FIELDS = (REQUEST_ID, ID, LABEL, TIME)
SHAPE = "a label has the fields request_id or id, label and, if known, time"
# At most so many classes are listed in a message.
MAX_SHOWN = 20
# As guards.REQUEST_ID, and a row's number.
ROW_ID = re.compile(r"[A-Za-z0-9._-]{1,64}(?:/[0-9]{1,9})?")


@dataclass
class LabelReader:
    """Reads the labels of one body, which must be read once.

    Attributes:
        form: one of ``FORMATS``.
        body: the labels.
        rule: what a label of the served model is.
        max_rows: the most rows of a body.
        received: when the body was received. Later rows count as received microseconds later, so that of two labels
            for the same prediction the last one counts.
        accepted: the number of valid rows so far.
        refused: the number of other rows so far.
        problems: the first problems, one per row.
    """

    form: Format
    body: bytearray
    rule: "LabelRule"
    max_rows: int
    received: datetime
    accepted: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    problems: list[InvalidInputError] = field(default_factory=list, init=False)

    def lines(self) -> Iterator[bytes]:
        """The valid labels as lines of JSON.

        Raises InvalidRecordError if the body cannot be read to its end, or has no valid label, and InvalidInputError
        if it has too many rows. The labels must not be stored then.
        """
        for row, record in enumerate(raw_records(self.form, self.body, FIELDS)):
            if row >= self.max_rows:
                message = f"there are more than {self.max_rows} labels; send several requests"
                raise InvalidInputError(message, kind=TOO_LARGE)
            try:
                label = self._label(record, self.received + timedelta(microseconds=row))
            except InvalidInputError as error:
                error.row = row
                self.refused += 1
                if len(self.problems) < MAX_TOLD:
                    self.problems.append(error)
            else:
                self.accepted += 1
                yield label.model_dump_json(exclude_none=True).encode() + b"\n"
        if self.problems and not self.accepted:
            raise InvalidRecordError(self.problems)
        if not self.accepted:
            raise malformed(f"there are no labels; send at least one; {SHAPE}")

    def _label(self, record: Record, received: datetime) -> Label:
        if isinstance(record, InvalidInputError):
            raise record
        if not record.keys() <= set(FIELDS):
            raise _problem(f"unknown fields: {unknown_names(record, FIELDS)}; {SHAPE}", kind=UNKNOWN_FIELD)
        given = {name: value for name, value in record.items() if value is not None}
        if (REQUEST_ID in given) == (ID in given):
            raise _problem("send request_id or id, and not both", kind=MALFORMED if ID in given else MISSING)
        if LABEL not in given:
            raise _problem("label is required", LABEL, kind=MISSING)
        text = self.rule.text_of(given[LABEL])
        if text is None:
            raise _problem(self.rule.message, LABEL, kind="unknown_label")
        return Label(
            request_id=_request_id(given[REQUEST_ID]) if REQUEST_ID in given else None,
            key=_key(given[ID]) if ID in given else None,
            label=text,
            time=_time(given[TIME]) if TIME in given else None,
            received=received,
        )


class LabelRule(NamedTuple):
    """What a model's true labels are.

    Attributes:
        text_of: the label's text for a JSON value or a CSV cell, or None if it is not a label.
        message: what a label must be.
    """

    text_of: Callable[[Any], str | None]
    message: str

    @classmethod
    def of(cls, classes: Sequence[ClassLabel]) -> "LabelRule":
        """The rule for a model with these classes; none for a regression."""
        if not classes:
            return cls(_number_text, "label must be a finite number")
        known = [label for label in classes if len(str(label)) <= MAX_LABEL]
        # Last the classes themselves: one may be the text by which another can be sent as well.
        names = {sent: str(label) for label in known for text in _texts(label) for sent in (text.strip(), text)}
        names |= {str(label): str(label) for label in known}
        shown = ", ".join(map(str, classes[:MAX_SHOWN])) + (", …" if len(classes) > MAX_SHOWN else "")
        return cls(
            lambda value: next((names[text] for text in _texts(value) if text in names), None),
            f"label must be a class of the served model: {shown}",
        )


def _number_text(value: Any) -> str | None:
    """The text of a regression's true value, a finite number; None for anything else."""
    number = number_cell(value)
    return None if number is None else repr(number)


def _texts(value: Any) -> Iterator[str]:
    """The texts by which a class is compared with what was sent: that of Python, that of JSON, and of equal numbers."""
    if not isinstance(value, str | int | float):
        return
    text = str(value)
    yield text
    if isinstance(value, bool):
        yield text.lower()
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        yield str(int(value))
        yield f"{int(value)}.0"


def _request_id(value: Any) -> str:
    if not isinstance(value, str) or not ROW_ID.fullmatch(value):
        message = "request_id is the answer's request_id or X-Request-ID; a row of a batch after the first adds /<row>"
        raise _problem(message, REQUEST_ID)
    return canonical_id(value)


def _key(value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text.strip() or len(text) > MAX_KEY:
        raise _problem(f"id must be a text of 1 to {MAX_KEY} characters, or an integer", ID)
    return text


def _time(value: Any) -> datetime:
    try:
        return label_time(value if isinstance(value, str) else "")
    except (ValueError, OverflowError):
        raise _problem("time must be an ISO 8601 date, or date and time (UTC without a zone)", TIME) from None


def _problem(message: str, name: str | None = None, kind: str = MALFORMED) -> InvalidInputError:
    return InvalidInputError(message, kind=kind, field=name)
