"""The prediction form: one field per column of the served model; a submitted form becomes a JSON record."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from src.core.column_rules import date_text
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Value
from src.core.model_registry import DriftReference
from src.services.inference.page.formatting import number
from src.serving.models.predictor import Predictor

Kind = Literal["number", "choice", "text", "date"]
KINDS: Mapping[ColumnType, Kind] = {
    ColumnType.NUMBER: "number",
    ColumnType.INTEGER: "number",
    ColumnType.BOOLEAN: "choice",
    ColumnType.STRING: "text",
    ColumnType.DATE: "date",
}
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
# A text column with at most so many known values is a drop-down; of more values, a browser suggests some.
MAX_CHOICES = 100
MAX_SUGGESTIONS = 50
# A form with more fields has the page's whole width.
MAX_NARROW = 12
YES_OR_NO = (("true", "yes"), ("false", "no"))


@dataclass(frozen=True)
class Field:
    """One field; its ``name`` is its position, because a column's name may contain any character.

    Attributes:
        step: for numbers: ``any`` or 1.
        hint: the type or the training rows' range, and whether the field may be empty.
        choices: for drop-downs: values and their labels.
        suggestions: for texts: values of the training rows.
    """

    name: str
    label: str
    kind: Kind
    value: str
    step: str
    required: bool
    hint: str
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """All fields, and a mark that identifies the columns that the form is for."""

    mark: str
    fields: list[Field]

    @property
    def is_wide(self) -> bool:
        """Whether the form needs the page's whole width."""
        return len(self.fields) > MAX_NARROW


def form_of(predictor: Predictor) -> Form:
    """The form for a model, filled with its typical row."""
    columns, example = predictor.schema.columns, predictor.shown_example
    fields = [
        _field(index, column, example.get(column.name), predictor.reference) for index, column in enumerate(columns)
    ]
    return Form(mark_of(predictor.schema), fields)


def mark_of(schema: FeatureSchema) -> str:
    """The same for models with the same columns."""
    return hashlib.sha256(repr(schema.columns).encode("utf-8", "replace")).hexdigest()[:16]


def record_of(schema: FeatureSchema, given: Mapping[str, str]) -> bytes:
    """A submitted form as the JSON of one record; the decoder checks it.

    Args:
        schema: the model's columns.
        given: the text of each field, by the field's name.
    """
    record: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        value = _typed(column, given.get(field_name(index), ""))
        if value is not None:
            record[column.name] = value
    return msgspec.json.encode(record)


def field_name(index: int) -> str:
    """The field's name of the column at this position, from 0."""
    return f"f{index}"


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


def _field(index: int, column: Column, value: Value, reference: DriftReference | None) -> Field:
    known, text = known_values(column, reference) or (), _shown(column, value)
    choices = _choices(column, known, text)
    return Field(
        name=field_name(index),
        label=column.name,
        kind="choice" if choices else KINDS[column.type],
        value=text,
        step="1" if column.type is ColumnType.INTEGER else "any",
        # An empty text is a value, so the browser must not require input.
        required=column.required and column.type is not ColumnType.STRING,
        hint=_hint(column, reference, "category" if choices and known else HINTS[column.type]),
        choices=choices,
        suggestions=() if choices else tuple(sorted(known)[:MAX_SUGGESTIONS]),
    )


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
        text = date_text if column.type is ColumnType.DATE else number
        hint = f"{text(reference.minimum[column.name])} to {text(reference.maximum[column.name])} in training"
    return hint if column.required else f"{hint}, may be empty"


def _shown(column: Column, value: Value) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text[:DATE_LENGTH] if column.type is ColumnType.DATE else text


def known_values(column: Column, reference: DriftReference | None) -> Collection[str] | None:
    """A text column's values in the training rows; None for other columns and if they are unknown."""
    if column.type is not ColumnType.STRING:
        return None
    if column.values:
        return column.known
    return reference.category_shares.get(column.name) if reference is not None else None
