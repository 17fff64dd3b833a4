"""The prediction form: one field per column of the served model, the submitted record, and its prediction."""

import hashlib
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from src.core.column_rules import date_text
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Row, Value
from src.core.model_registry import DriftReference
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer

# A field's hint where the training rows' values are unknown.
HINTS: Mapping[ColumnType, str] = {
    ColumnType.NUMBER: "number",
    ColumnType.INTEGER: "whole number",
    ColumnType.BOOLEAN: "yes or no",
    ColumnType.STRING: "text",
    ColumnType.DATE: "date",
}
# The value of a browser's date field: year, month and day.
DATE_LENGTH = len("2024-02-29")
# The value of a browser's number field: a JSON number, but with any number of digits before the point.
NUMBER = re.compile(r"(-?)([0-9]*)((?:\.[0-9]+)?)((?:[eE][+-]?[0-9]+)?)")
# A text column with at most so many known values is a drop-down; of more values, a browser suggests some. A value that
# is unknown is answered with some of those that are known.
MAX_CHOICES, MAX_SUGGESTIONS, MAX_KNOWN = 100, 50, 8
YES_OR_NO = (("true", "yes"), ("false", "no"))


@dataclass(frozen=True)
class AnswerView:
    """The prediction for a submitted form, with a command that requests the same, or the form's problems."""

    problems: Sequence[str]
    answer: Answer | None = None
    version: str | None = None
    curl: str | None = None
    doubts: Sequence[str] = ()


@dataclass(frozen=True)
class Field:
    """One field; its ``name`` is its position, because a column's name may contain any character.

    Attributes:
        hint: the type or the training rows' range, and whether the field may be empty.
        choices: for drop-downs: values and their labels.
        suggestions: for texts: values of the training rows.
    """

    name: str
    column: Column
    value: str
    hint: str
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: tuple[str, ...] = ()


def fields_of(predictor: Predictor) -> list[Field]:
    """The form for a model, filled with its typical row."""
    example, reference = predictor.shown_example, predictor.reference
    return [
        _field(f"f{index}", column, _shown(column, example.get(column.name)), reference)
        for index, column in enumerate(predictor.schema.columns)
    ]


def mark_of(schema: FeatureSchema) -> str:
    """The same for models with the same columns."""
    return hashlib.sha256(repr(schema.columns).encode("utf-8", "replace")).hexdigest()[:16]


def record_of(schema: FeatureSchema, given: Mapping[str, str]) -> bytes:
    """A submitted form, the text of each field by its name, as the JSON of one record; the decoder checks it."""
    record: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        value = _typed(column, given.get(f"f{index}", ""))
        if value is not None:
            record[column.name] = value
    return msgspec.json.encode(record)


def _typed(column: Column, text: str) -> Any:
    """The text as a JSON number or boolean if it is one, else as a JSON string, which the decoder refuses."""
    if column.type is ColumnType.STRING:
        # An empty field is an empty text only if the value may not be missing.
        return text if text or column.required else None
    text = text.strip()
    if not text:
        return None
    if column.type is ColumnType.DATE:
        return text
    if column.type is ColumnType.BOOLEAN:
        return {"true": True, "false": False}.get(text, text)
    match = NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return text
    # The digits as typed: the decoder checks the size.
    return msgspec.Raw(f"{match[1]}{match[2].lstrip('0') or '0'}{match[3]}{match[4]}")


def _field(name: str, column: Column, value: str, reference: DriftReference | None) -> Field:
    known = known_values(column, reference)
    choices = _choices(column, known, value)
    hint = _hint(column, reference, "category" if choices and known else HINTS[column.type])
    return Field(name, column, value, hint, choices, () if choices else tuple(sorted(known)[:MAX_SUGGESTIONS]))


def _choices(column: Column, known: Collection[str], value: str) -> tuple[tuple[str, str], ...]:
    """The options of a drop-down, the empty one first where the value may be missing; none for other fields."""
    if column.type is not ColumnType.BOOLEAN and not 0 < len(known) <= MAX_CHOICES:
        return ()
    missing = () if column.required else (("", ""),)
    if column.type is ColumnType.BOOLEAN:
        return (*missing, *YES_OR_NO)
    # The typical row may have a value that is not known.
    texts = sorted(text for text in {*known, value} if text or (column.required and text in known))
    return (*missing, *((text, text or "(empty text)") for text in texts))


def _hint(column: Column, reference: DriftReference | None, hint: str) -> str:
    if reference is not None and column.name in reference.minimum:
        text = date_text if column.type is ColumnType.DATE else "{:.4g}".format
        hint = f"{text(reference.minimum[column.name])} to {text(reference.maximum[column.name])} in training"
    return hint if column.required else f"{hint}, may be empty"


def _shown(column: Column, value: Value) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text[:DATE_LENGTH] if column.type is ColumnType.DATE else text


def known_values(column: Column, reference: DriftReference | None) -> Collection[str]:
    """A text column's values in the training rows; none for other columns and if they are unknown."""
    if column.type is not ColumnType.STRING:
        return ()
    return column.known or (reference.category_shares.get(column.name, ()) if reference is not None else ())


def curl_of(base_url: str, record: bytes) -> str:
    """A command for a POSIX shell that sends this record."""
    return shlex.join(["curl", "-H", "Content-Type: application/json", "-d", record.decode(), f"{base_url}predict"])


def doubts_of(predictor: Predictor, row: Row) -> Iterator[str]:
    """A sentence for each value that lies outside the training rows' range, or does not occur in them."""
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
