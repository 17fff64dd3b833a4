"""The prediction form: one field per column of the served model, and what is filled in as the JSON of a record."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Value
from src.core.model_registry import DriftReference
from src.services.inference.model.predictor import Predictor
from src.services.inference.page.words import number

Kind = Literal["number", "choice", "text"]
# What a browser's number field sends: as JSON has numbers, and leading zeros or none before the point.
NUMBER = re.compile(r"(-?)([0-9]*)((?:\.[0-9]+)?)((?:[eE][+-]?[0-9]+)?)")
# As many known values of a text as a browser suggests.
MAX_SUGGESTIONS = 50


@dataclass(frozen=True)
class Field:
    """One field; its ``name`` is its place, as a column may have any name.

    Attributes:
        step: of numbers: ``any`` or 1.
        hint: the type, what training has seen, and whether it may be left empty.
        suggestions: of texts: values that training has seen.
    """

    name: str
    label: str
    kind: Kind
    value: str
    step: str
    required: bool
    hint: str
    suggestions: list[str]


@dataclass(frozen=True)
class Form:
    """All fields, and a mark by which a form for other columns is known."""

    mark: str
    fields: list[Field]


def form_of(predictor: Predictor) -> Form:
    """The form for a model, filled with its typical row."""
    columns, example = predictor.schema.columns, predictor.example
    fields = [
        _field(index, column, example.get(column.name), predictor.reference) for index, column in enumerate(columns)
    ]
    return Form(mark_of(predictor.schema), fields)


def mark_of(schema: FeatureSchema) -> str:
    """The same for models with the same columns."""
    return hashlib.sha256(repr(schema.columns).encode("utf-8", "replace")).hexdigest()[:16]


def record_of(schema: FeatureSchema, given: Mapping[str, str]) -> bytes:
    """What was filled in as the JSON of one record; whether it fits is for the decoder to say.

    Args:
        schema: the model's columns.
        given: text by a field's name.
    """
    record: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        value = _typed(column, given.get(field_name(index), ""))
        if value is not None:
            record[column.name] = value
    return msgspec.json.encode(record)


def field_name(index: int) -> str:
    """The name of the field of the column in this place, from 0."""
    return f"f{index}"


def _typed(column: Column, text: str) -> Any:
    """The text as JSON's number or truth value where it is one; else as a text, for which the decoder has words."""
    if column.type is ColumnType.STRING:
        # An empty field is the empty text only where it cannot mean a missing one.
        return text if text or column.required else None
    text = text.strip()
    if not text:
        return None
    if column.type is ColumnType.BOOLEAN:
        return {"true": True, "false": False}.get(text, text)
    match = NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return text
    # Digit by digit as it was typed: whether it is too large is for the decoder to say.
    return msgspec.Raw(f"{match[1]}{match[2].lstrip('0') or '0'}{match[3]}{match[4]}")


def _field(index: int, column: Column, value: Value, reference: DriftReference | None) -> Field:
    kinds: Mapping[ColumnType, Kind] = {ColumnType.BOOLEAN: "choice", ColumnType.STRING: "text"}
    known = reference.category_shares.get(column.name, {}) if reference is not None else {}
    return Field(
        name=field_name(index),
        label=column.name,
        kind=kinds.get(column.type, "number"),
        value=_shown(value),
        step="1" if column.type is ColumnType.INTEGER else "any",
        # An empty text is one, so that the browser must not insist.
        required=column.required and column.type is not ColumnType.STRING,
        hint=_hint(column, reference),
        suggestions=sorted(known)[:MAX_SUGGESTIONS] if column.type is ColumnType.STRING else [],
    )


def _hint(column: Column, reference: DriftReference | None) -> str:
    words = {ColumnType.NUMBER: "number", ColumnType.INTEGER: "whole number", ColumnType.STRING: "text"}
    told = words.get(column.type, "yes or no")
    if reference is not None and column.name in reference.minimum:
        told = f"{number(reference.minimum[column.name])} to {number(reference.maximum[column.name])} in training"
    return told if column.required else f"{told}, may be empty"


def _shown(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
