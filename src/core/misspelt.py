"""Suggests known names for misspelt ones: configuration keys, columns, classes, and variables in ``.env``.

Uses the standard library alone, because the stack's set-up runs before any package is installed.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

# A variable in .env.example: with a value, or in the list of those that the set-up writes.
_NAMED = re.compile(r"\b([A-Z][A-Z0-9_]+)(?:=|  |$)", re.MULTILINE)
# The least similarity of a variable to a known one; lower, other tools' variables would be reported, too.
_SIMILARITY = 0.8
# Variables of older versions, and why they have no effect any more.
_REMOVED = {"ALERTMANAGER_PORT": "Alertmanager has no port on this machine any more"}


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The question ``did you mean …?`` with the most similar known name, in any case; None if none is similar.

    Where the two names look the same on a screen, it says how they differ.
    """
    folded = {_folded(item): item for item in known}
    close = difflib.get_close_matches(_folded(name), list(folded), n=1)
    return f"did you mean {folded[close[0]]!r}?{_difference(name, folded[close[0]])}" if close else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _difference(name: str, meant: str) -> str:
    """How two names differ that look the same; empty if the difference is visible."""
    composed, meant_composed = (unicodedata.normalize("NFC", text) for text in (name, meant))
    if composed.strip() != meant_composed.strip():
        return ""
    if composed != meant_composed:
        return " (the names differ in the spaces around them)"
    return " (the same letters in another Unicode normalization; copy the name from the data)"


def example_text(repository: Path) -> str:
    """The text of ``.env.example``; empty if the file was renamed or is not part of this copy."""
    path = repository / ".env.example"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def misspelt(names: Iterable[str], example: str, file: str = ".env") -> list[str]:
    """A message for each variable that is probably misspelt, or that only older versions read.

    Args:
        names: the variables that ``.env`` sets.
        example: the text of ``.env.example``, which lists all variables that are read.
        file: the file's name in messages.
    """
    known = set(_NAMED.findall(example))
    messages = []
    for name in dict.fromkeys(names):
        if name in _REMOVED:
            messages.append(f"{name} in {file} has no effect: {_REMOVED[name]}; remove the line")
            continue
        close = [] if name in known else difflib.get_close_matches(name.upper(), known, n=1, cutoff=_SIMILARITY)
        if close:
            messages.append(f"{name} in {file} is not read by any process; did you mean {close[0]}?")
    return messages
