"""Describes a data set column by column, for `make check-data`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.core.column_rules import date_text
from src.core.dataset_config import DatasetConfig
from src.training.check_columns import Column, check_columns
from src.training.propose.wording import number_text, percent, shown, value_shares
from src.training.splitting import Split

HEADER = ("column", "type", "missing", "distinct", "values", "problems")
MAX_NAME = 40


@dataclass(frozen=True)
class ColumnSummary:
    """One line of the table: what a column is, what its valid cells are, and what is wrong with the others."""

    name: str
    type: str
    missing: str
    distinct: str
    values: str
    problems: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The line's cells, in the order of ``HEADER``."""
        name = self.name if len(self.name) <= MAX_NAME else f"{self.name[: MAX_NAME - 1]}…"
        return name, self.type, self.missing, self.distinct, self.values, self.problems


def describe_columns(raw: pd.DataFrame, dataset: DatasetConfig) -> list[ColumnSummary]:
    """A line for each column of the data set, in its order.

    Args:
        raw: (rows, …) of raw cells, with at least the data set's columns.
        dataset: what they may hold.
    """
    return [_summary(column, dataset) for column in check_columns(raw, dataset)]


def describe_classes(target: pd.Series) -> str:
    """Each class with its rows and their share, the most frequent first."""
    counts = target.value_counts()
    return ", ".join(f"{name} {count:,} ({percent(int(count), len(target))})" for name, count in counts.items())


def describe_split(split: Split, dataset: DatasetConfig) -> str:
    """How many rows are held out by which rule and, for a classification, of which classes."""
    rule, features = split.rule, list(dataset.features)
    by = f"{rule.by} of all features" if rule.columns == features and len(features) > 1 else str(rule)
    held = f"{len(split.holdout):,} of {len(split.frame):,} rows are held out by {by}"
    return held if dataset.classes is None else f"{held}: {describe_classes(split.holdout[dataset.target])}"


def as_table(lines: Iterable[Sequence[str]]) -> list[str]:
    """The lines with their cells below each other; columns of the table without any text are left out."""
    rows = [HEADER, *(tuple(line) for line in lines)]
    used = [place for place in range(len(HEADER)) if any(row[place] for row in rows[1:])]
    widths = {place: max(len(row[place]) for row in rows) for place in used}
    return ["  ".join(row[place].ljust(widths[place]) for place in used).rstrip() for row in rows]


def _summary(column: Column, dataset: DatasetConfig) -> ColumnSummary:
    cells, total = column.cells, len(column.cells.values)
    valid = pd.Series(cells.values[~(cells.missing | cells.wrong)], dtype=cells.values.dtype)
    problems = [
        f"{problem.what}{problem.examples}: {int(problem.rows.sum()):,}"
        for problem in column.problems
        if problem.rows.any()
    ]
    return ColumnSummary(
        name=column.name,
        type=_type_of(column.name, dataset),
        missing=percent(int(cells.missing.sum()), total) if cells.missing.any() else "",
        distinct=f"{valid.nunique():,}",
        values=_values(column.name, valid, dataset),
        problems="; ".join(problems),
    )


def _type_of(name: str, dataset: DatasetConfig) -> str:
    if name == dataset.target:
        return "target"
    roles = [role for role, there in _roles(name, dataset) if there]
    kind = [dataset.features[name].type] if name in dataset.features else []
    return ", ".join(kind + roles)


def _roles(name: str, dataset: DatasetConfig) -> list[tuple[str, bool]]:
    return [("id", name in dataset.id), ("time", name == dataset.time), ("group", name == dataset.group)]


def _values(name: str, valid: pd.Series, dataset: DatasetConfig) -> str:
    """The range of numbers and dates, the most frequent ones of texts."""
    if valid.empty:
        return ""
    feature = dataset.features.get(name)
    if (feature is not None and feature.type == "date") or name == dataset.time:
        return f"{date_text(float(valid.min()))} to {date_text(float(valid.max()))}"
    if valid.dtype == np.dtype(object):
        counts = valid.map(str).value_counts()
        return value_shares(counts) if counts.iloc[0] > 1 else f"such as {shown(str(counts.index[0]))}"
    return f"{number_text(float(valid.min()))} to {number_text(float(valid.max()))}"
