"""Checks the rows of files and queries of labels one by one."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np

from src.core.counting import counted
from src.core.feedback import MAX_KEY, MAX_LABEL, label_time
from src.core.prediction_log import canonical_id
from src.core.typed_cells import number_cell, text_cell

REQUEST_ID, KEY, LABEL, TIME_COLUMN = "request_id", "id", "label", "time"
# In messages.
AN_ID, A_LABEL = "an id", "a label"
# Rows that a message lists.
MAX_LISTED = 5


class RawLabel(NamedTuple):
    """The cells of a row: any values, None where there are none. ``key`` is the team's own id, the column ``id``."""

    request_id: Any
    key: Any
    label: Any
    time: Any


class CheckedLabel(NamedTuple):
    """A label of a request's row, or of a key."""

    request_id: str | None
    key: str | None
    label: str
    time: datetime | None


class NumberedRow(NamedTuple):
    """A row of a source and what to call it, such as ``line 3``; a text says what is wrong with it."""

    place: str
    row: RawLabel | str


def check_label(raw: RawLabel, classes: Collection[str]) -> CheckedLabel:
    """A row as it is stored.

    Args:
        raw: the row.
        classes: the model's classes, of which a typed label is the one of equal value; none for a regression, whose
            labels are finite numbers.

    Raises:
        ValueError: what the row lacks, to follow "row 3".
    """
    request_id, key = _text(raw.request_id, AN_ID, MAX_KEY), _text(raw.key, AN_ID, MAX_KEY)
    if (request_id is None) == (key is None):
        raise ValueError("has no id" if request_id is None else f"has both {REQUEST_ID} and {KEY}")
    label = _text(raw.label, A_LABEL, MAX_LABEL, classes)
    if label is None:
        raise ValueError("has no label")
    if classes and label not in classes:
        raise ValueError("has a label that is not one of dataset.classes")
    if not classes and number_cell(label) is None:
        raise ValueError("has a label that is not a finite number")
    return CheckedLabel(None if request_id is None else canonical_id(request_id), key, label, _moment(raw.time))


def is_missing(cell: Any) -> bool:
    """Whether a cell of a typed table has no value: null, or not a number, or not a time."""
    return cell is None or (isinstance(cell, float | datetime) and cell != cell)  # noqa: PLR0124 - as NaN and NaT do


def _text(cell: Any, name: str, longest: int, known: Collection[str] = ()) -> str | None:
    """A cell as text, None if it is missing or empty."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if is_missing(cell):
        return None
    text = text_cell(cell, known)
    if text is None:
        raise ValueError(f"has {name} that is neither text nor a finite number")
    text = text if text in known else text.strip()
    if len(text) > longest:
        raise ValueError(f"has {name} of more than {longest} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"has {name} that is not valid Unicode") from None
    return text or None


def _moment(cell: Any) -> datetime | None:
    """A time in UTC, which is the zone where there is none; a date is the end of its day."""
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        return None
    written = cell.isoformat() if isinstance(cell, date) else cell
    try:
        return label_time(written.strip() if isinstance(written, str) else written)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("has a time that is not ISO 8601, such as 2026-03-04T12:00:00Z") from None


class CheckedRows:
    """Checks the rows of a source, and describes those that are left out.

    Args:
        classes: as for ``check_label``.
    """

    def __init__(self, classes: Collection[str]) -> None:
        self._classes = classes
        self._rows = 0
        self._wrong = 0
        self._listed: list[str] = []

    def valid(self, rows: Iterable[NumberedRow]) -> Iterator[CheckedLabel]:
        """The valid ones."""
        for place, row in rows:
            self._rows += 1
            try:
                if isinstance(row, str):
                    raise ValueError(row)  # noqa: TRY004, TRY301 - what is wrong with the row
                label = check_label(row, self._classes)
            except ValueError as error:
                self._wrong += 1
                if len(self._listed) < MAX_LISTED:
                    self._listed.append(f"{place} {error}")
                continue
            yield label

    @property
    def problem(self) -> str | None:
        """What is left out, to follow the source's name; None if nothing is."""
        if not self._wrong:
            return None
        more = "; …" if self._wrong > len(self._listed) else ""
        return f"has {counted(self._wrong, 'invalid row')} of {self._rows:,}, left out: {'; '.join(self._listed)}{more}"
