"""Columns of a batch that the model does not take: refused, ignored, or kept for the answers."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.misspelt import did_you_mean
from src.serving.tables.problems import UNKNOWN_FIELD

# An error lists at most so many unknown names, each of at most so many characters; the first few with a suggestion.
MAX_NAMES = 10
MAX_NAME = 60
MAX_SUGGESTIONS = 3
# The kinds of kept columns; the last one of a column without a value.
TEXT, DOUBLE, LONG, BOOLEAN, UNKNOWN = "text", "double", "long", "boolean", ""
KINDS: Mapping[frozenset[type], str] = {
    frozenset(): UNKNOWN,
    frozenset({bool}): BOOLEAN,
    frozenset({int}): LONG,
    frozenset({float}): DOUBLE,
    frozenset({int, float}): DOUBLE,
}
INTEGERS = range(-(2**63), 2**63)


class ExtraColumns(StrEnum):
    """What to do with columns that the model does not take."""

    REFUSE = "refuse"
    IGNORE = "ignore"
    KEEP = "keep"


class Kept(NamedTuple):
    """The kinds of kept columns by name, and lists of their n values by name as JSON: objects take too much memory."""

    kinds: dict[str, str]
    packed: bytes

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]]) -> "Kept":
        """Pack columns of n JSON values each."""
        return cls({name: _kind(values) for name, values in columns.items()}, msgspec.json.encode(columns))

    def columns(self) -> dict[str, list[Any]]:
        """The columns by name."""
        return msgspec.json.decode(self.packed)  # type: ignore[no-any-return]


NOTHING = Kept({}, b"{}")


def _kind(values: Sequence[Any]) -> str:
    kind = KINDS.get(frozenset(map(type, values)) - {type(None)}, TEXT)
    fits = kind != LONG or all(value in INTEGERS for value in values if value is not None)
    return kind if fits else TEXT


def joined_kinds(parts: Iterable[Kept]) -> dict[str, str]:
    """The kinds of all parts' columns, in the order of their first occurrence."""
    found: dict[str, str] = {}
    for part in parts:
        for name, kind in part.kinds.items():
            before = found.get(name, UNKNOWN)
            if UNKNOWN in {before, kind} or before == kind:
                found[name] = before or kind
            else:
                found[name] = DOUBLE if {before, kind} == {LONG, DOUBLE} else TEXT
    return found


def text_of(value: Any) -> str | None:
    """A kept value as text; None if it is missing."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def unknown_columns(schema: FeatureSchema, names: Iterable[str], what: str = "columns") -> InvalidInputError:
    """The problem of a batch's columns, or of a single record's fields, that the model does not have.

    It repeats short, printable names, with suggestions from the columns that are not given.
    """
    given = dict.fromkeys(names)
    unknown = [name for name in given if name not in schema.names]
    shown = [name for name in unknown if 0 < len(name) <= MAX_NAME and name.isprintable()][:MAX_NAMES]
    missing = [name for name in schema.names if name not in given]
    hints = [did_you_mean(name, missing) for name in shown[:MAX_SUGGESTIONS]]
    listed = [f"{name} ({hint})" if hint else name for name, hint in zip_longest(shown, hints)]
    if more := len(unknown) - len(shown):
        listed.append(f"{more} more" if shown else str(more))
    hint = "; extra_columns=ignore drops other columns, extra_columns=keep returns them with the predictions"
    takes = ", ".join(schema.names) + (hint if what == "columns" else " and nothing else")
    return InvalidInputError(f"unknown {what}: {', '.join(listed)}; the model takes {takes}", kind=UNKNOWN_FIELD)
