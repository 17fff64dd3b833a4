"""Checks raw columns against the configuration and returns their values and problems."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from src.core.column_rules import number_of
from src.core.dataset_config import (
    LARGEST,
    BooleanFeature,
    CategoryFeature,
    DatasetConfig,
    DateFeature,
    Feature,
    IntegerFeature,
    NumberFeature,
    Range,
)
from src.core.feature_schema import EXACT_INTEGER
from src.core.misspelt import did_you_mean
from src.core.typed_cells import boolean_cell, text_cell
from src.training.cells import (
    Bools,
    Cells,
    dates,
    integers,
    numbers,
    objects,
)

EXAMPLES = 3
MAX_EXAMPLE = 40
NO_DATE = "not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z"
# At most so many wrong cells are compared with what was probably meant.
MAX_LOOKS = 1000


@dataclass(frozen=True)
class Problem:
    """A problem with some cells of a column: ``rows`` is a mask, (n,); ``examples`` are such cells, in brackets."""

    column: str
    what: str
    rows: Bools
    examples: str = ""


@dataclass(frozen=True)
class Column:
    """A column's cells, whether they may be missing, and its problems."""

    name: str
    cells: Cells
    optional: bool
    problems: list[Problem]

    def finished(self, keep: Bools) -> pd.Series:
        """The values of some rows: float64, int64 (float64 where one is missing), bool or objects.

        A cell that is missing or wrong is NaN or, among objects, None.
        """
        values, absent = self.cells.values[keep], (self.cells.missing | self.cells.wrong)[keep]
        if values.dtype == object:
            values[absent] = None
            return pd.Series(values, dtype=bool if set(map(type, values)) == {bool} else object)
        if absent.any():
            values = values.astype(np.float64)
            values[absent] = np.nan
        return pd.Series(values)


def check_columns(raw: pd.DataFrame, dataset: DatasetConfig) -> list[Column]:
    """All columns of the data set, in its order.

    Args:
        raw: (n, …) of raw cells, with at least the columns of the data set.
        dataset: their valid values.
    """
    found = [check_feature(raw[name], name, feature, dataset) for name, feature in _features(dataset).items()]
    found.append(check_target(raw[dataset.target], dataset))
    return found + [check_extra(raw[name], name, dataset) for name in dataset.extra_columns]


def finished_frame(columns: list[Column], keep: Bools, dataset: DatasetConfig) -> pd.DataFrame:
    """The finished columns of the rows that are kept, by name; columns other than features as numbers or text."""
    frame = pd.DataFrame({column.name: column.finished(keep) for column in columns})
    names = [name for name in frame.columns if name not in dataset.features and frame[name].dtype == object]
    return frame.astype(dict.fromkeys(names, "str"))


def _features(dataset: DatasetConfig) -> dict[str, Feature]:
    """The features; those that also identify a row or give its time are required."""
    needed = {*dataset.id, dataset.time}
    return {
        name: feature.model_copy(update={"missing": False}) if name in needed else feature
        for name, feature in dataset.features.items()
    }


def check_feature(raw: pd.Series, name: str, feature: Feature, dataset: DatasetConfig) -> Column:
    """One feature's cells against its type, its range or its values, and whether they may be missing."""
    optional = feature.missing
    match feature:
        case NumberFeature():
            return _number(raw, name, feature, dataset.csv.decimal, optional=optional)
        case IntegerFeature():
            return _integer(raw, name, feature)
        case BooleanFeature():
            return _column(name, objects(raw, boolean_cell), "not true or false", optional=optional)
        case DateFeature():
            return _column(name, dates(raw), NO_DATE, optional=optional)
        case CategoryFeature():
            return _names(raw, name, feature.values, f"dataset.features.{name}.values", optional=optional)


def check_target(raw: pd.Series, dataset: DatasetConfig) -> Column:
    """The target's class names, or a regression's numbers; none may be missing."""
    if dataset.target_range is not None:
        return _number(raw, dataset.target, dataset.target_range, dataset.csv.decimal, optional=False)
    return _names(raw, dataset.target, dataset.classes, "dataset.classes", optional=False)


def check_extra(raw: pd.Series, name: str, dataset: DatasetConfig) -> Column:
    """A column that is not a feature: the time in days since 1970 or as a number, others as text. All are required."""
    if name != dataset.time:
        return _column(name, objects(raw, text_cell), "not text or a number", optional=False)
    found = dates(raw)
    if (found.missing | found.wrong).all():
        return _column(name, numbers(raw, dataset.csv.decimal), f"{NO_DATE}, nor a number", optional=False)
    # A number among dates would be compared with days.
    return _column(name, found, NO_DATE, optional=False)


def _number(raw: pd.Series, name: str, limits: Range, decimal: str, *, optional: bool) -> Column:
    cells = numbers(raw, decimal)
    hint = _decimal_hint(raw[cells.wrong], decimal) if cells.wrong.any() else ""
    return _within(_column(name, cells, f"not a finite number{hint}", optional=optional), limits)


def _integer(raw: pd.Series, name: str, feature: IntegerFeature) -> Column:
    column = _within(_column(name, integers(raw), "not a whole number of 64 bits", optional=feature.missing), feature)
    values, there = column.cells.values, ~(column.cells.missing | column.cells.wrong)
    inexact = there & ((values > EXACT_INTEGER) | (values < -EXACT_INTEGER))
    return (
        _with(column, inexact, "of 2^53 or more, where a column with missing values is not exact")
        if feature.missing
        else column
    )


def _names(raw: pd.Series, name: str, known: list[str] | None, where: str, *, optional: bool) -> Column:
    """Names as text; where the known names are given, others are problems."""
    cells = objects(raw, partial(text_cell, known=known or ()), known or ())
    column = _column(name, cells, "not text or a number", optional=optional)
    if known is None:
        return column
    there = ~(cells.missing | cells.wrong)
    unknown = there.copy()
    unknown[there] = ~pd.Series(cells.values[there]).isin(known).to_numpy()
    found = sorted(set(cells.values[unknown]))
    examples = ", ".join(repr(text[:MAX_EXAMPLE]) for text in found[:EXAMPLES])
    unused = sorted(set(known) - set(cells.values[there]))[:EXAMPLES]
    hints = [f"; no row has {text!r}: {hint}" for text in unused if (hint := did_you_mean(text, found[:MAX_LOOKS]))]
    return _with(column, unknown, f"not one of {where}", f" ({examples}{''.join(hints)})")


def _within(column: Column, limits: Range) -> Column:
    """The column with numbers outside of the range as problems."""
    low = -LARGEST if limits.minimum is None else limits.minimum
    high = LARGEST if limits.maximum is None else limits.maximum
    values, there = column.cells.values, ~(column.cells.missing | column.cells.wrong)
    return _with(column, there & ((values < low) | (values > high)), f"outside {low:g} to {high:g}")


def _column(name: str, cells: Cells, wrong: str, *, optional: bool) -> Column:
    problems = [] if optional else [Problem(name, "missing", cells.missing)]
    return Column(name, cells, optional, [*problems, Problem(name, wrong, cells.wrong)])


def _with(column: Column, rows: Bools, what: str, examples: str = "") -> Column:
    """The column with one more problem, whose cells count as wrong."""
    cells = column.cells._replace(wrong=column.cells.wrong | rows)
    return replace(column, cells=cells, problems=[*column.problems, Problem(column.name, what, rows, examples)])


def _decimal_hint(wrong: pd.Series, decimal: str) -> str:
    """The setting to suggest where most invalid cells are numbers with the other decimal sign."""
    other = {",": ".", ".": ","}[decimal]
    texts = [cell.strip() for cell in wrong.head(MAX_LOOKS) if isinstance(cell, str)]
    meant = sum(number_of(text, other) is not None for text in texts)
    return f" (set dataset.csv.decimal: {other!r}?)" if meant > len(texts) / 2 else ""
