"""The prediction form: one field per column of the served model, the submitted record, and its prediction."""

import hashlib
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from src.core.category_keys import category_name
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Row
from src.core.model_registry import DriftReference
from src.serving.models.predictor import Predictor
from src.serving.watch.references import training_range

# The value of a browser's date field: year, month and day.
DATE_LENGTH = len("2024-02-29")
# The value of a browser's number field: a JSON number, but with any number of digits before the point.
NUMBER = re.compile(r"(-?)([0-9]*)((?:\.[0-9]+)?)((?:[eE][+-]?[0-9]+)?)")
# A text column with at most so many known values is a drop-down; of more values, a browser suggests some. A value that
# is unknown is answered with some of those that are known.
MAX_CHOICES, MAX_SUGGESTIONS, MAX_KNOWN = 100, 50, 8


class Field(NamedTuple):
    """One field; its ``name`` is its position, because a column's name may contain any character.

    ``limits`` is the training rows' range, ``choices`` the values of a drop-down with their labels, and ``suggestions``
    are values of the training rows for a text.
    """

    name: str
    column: Column
    value: str
    limits: str
    choices: tuple[tuple[str, str], ...]
    suggestions: tuple[str, ...]


def fields_of(predictor: Predictor) -> list[Field]:
    """The form for a model, filled with its typical row."""
    fields = []
    for index, column in enumerate(predictor.schema.columns):
        example = predictor.shown_example.get(column.name)
        value = "" if example is None else category_name(example)
        if column.type is ColumnType.DATE:
            value = value[:DATE_LENGTH]
        known = known_values(column, predictor.reference)
        choices = _choices(column, known, value)
        suggestions = () if choices else tuple(sorted(known)[:MAX_SUGGESTIONS])
        limits = training_range(column, predictor.reference, digits=4)
        fields.append(Field(f"f{index}", column, value, limits, choices, suggestions))
    return fields


def mark_of(predictor: Predictor | None) -> str:
    """The form's mark: the same for models with the same columns."""
    if predictor is None:
        return "none"
    return hashlib.sha256(repr(predictor.schema.columns).encode("utf-8", "replace")).hexdigest()[:16]


def record_of(schema: FeatureSchema, given: Mapping[str, str]) -> bytes:
    """A submitted form, the text of each field by its name, as the JSON of one record; the decoder checks it."""
    typed = {column.name: _typed(column, given.get(f"f{index}", "")) for index, column in enumerate(schema.columns)}
    return msgspec.json.encode({name: value for name, value in typed.items() if value is not None})


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


def _choices(column: Column, known: Collection[str], value: str) -> tuple[tuple[str, str], ...]:
    """The options of a drop-down, the empty one first where the value may be missing; none for other fields."""
    missing = () if column.required else (("", ""),)
    if column.type is ColumnType.BOOLEAN:
        return (*missing, ("true", "yes"), ("false", "no"))
    if not 0 < len(known) <= MAX_CHOICES:
        return ()
    # The typical row may have a value that is not known.
    texts = sorted(text for text in {*known, value} if text or (column.required and text in known))
    return (*missing, *((text, text or "(empty text)") for text in texts))


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
        if not reference.minimum[column.name] <= value <= reference.maximum[column.name]:
            limits = training_range(column, reference, digits=7)
            yield f"{column.name} is outside the training rows' range, {limits}."
