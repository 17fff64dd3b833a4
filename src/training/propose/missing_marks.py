"""Finds texts that count as missing values although they may be a category, such as NA or None."""

from collections import Counter

import pandas as pd

from src.core.counting import counted

# Of the texts that count as missing, those that people also use as a name: North America, or no subscription.
AMBIGUOUS = ("NA", "N/A", "n/a", "None")
MAX_LISTED = 10


def ambiguous_marks(column: pd.Series) -> dict[str, int]:
    """The ambiguous texts of a column, with the number of their cells."""
    counts = Counter(cell.strip() for cell in column if isinstance(cell, str))
    return {mark: counts[mark] for mark in AMBIGUOUS if counts[mark]}


def describe_marks(marks: dict[str, int]) -> str:
    """How many cells count as missing because of which text."""
    cells = " and ".join(f"{text!r} in {counted(count, 'cell')}" for text, count in marks.items())
    return f"{cells} {'counts' if len(marks) == 1 else 'count'} as missing"


def keep_as_category(marks: dict[str, int], others: list[str], *, is_ignored: bool) -> str:
    """What to write so that these texts are categories in addition to the column's others."""
    names = sorted([*marks, *others])
    listed = ", ".join(map(repr, names)) if len(names) <= MAX_LISTED else f"all {len(names)} of them"
    return f"to keep it as a category, set {'type: category, ' if is_ignored else ''}values: [{listed}]"
