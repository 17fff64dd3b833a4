"""Guesses what kind of target a column is and which metric fits it, or says why nothing can be learned from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from src.core.column_rules import integer_of, number_of
from src.core.errors import ConfigError, DataError
from src.core.misspelt import did_you_mean
from src.training.propose.guess_columns import MAX_TEXT, MOSTLY, texts_of
from src.training.propose.missing_marks import ambiguous_marks, describe_marks
from src.training.propose.wording import SHOWN_VALUES, number_text, percent, shown, value_shares

MIN_ROWS = 30
MIN_CLASS_ROWS = 10
MAX_CLASSES = 100
# Whole numbers are classes up to so many values.
MAX_NUMBERED_CLASSES = 10
MAX_MISSING = 0.5
# Shares of the less frequent of two classes.
BALANCED = 0.4
RARE = 0.2
# Where the largest value is so many times the median, a squared error would be about a few rows alone.
HEAVY_TAIL = 10
BINARY = 2


@dataclass(frozen=True)
class TargetGuess:
    """What the target is.

    Attributes:
        why: what it was seen by.
        metric: the gate's metric, and ``why_metric`` the reason.
        tolerance: how much worse a challenger may be, in units of the metric.
        unusable: rows without a usable target.
        classes: in alphabetical order; None for a regression.
        positive: of two classes the less frequent one.
        least_rows: ``dataset.min_rows_per_class``.
    """

    why: str
    metric: str
    why_metric: str
    tolerance: float
    unusable: int
    classes: list[str] | None = None
    positive: str | None = None
    least_rows: int | None = None
    check: str | None = None


def require_column(name: str, columns: Sequence[str], option: str) -> None:
    """Raise ConfigError, with the most similar name, where the table lacks a column."""
    if name not in columns:
        meant = did_you_mean(name, columns) or f"the columns are {', '.join(columns)}"
        raise ConfigError(f"{option}: there is no column {name!r}; {meant}")


def guess_target(column: pd.Series, decimal: str) -> TargetGuess:
    """The task, its classes and a metric.

    Args:
        column: (rows,) texts or typed values.
        decimal: the sign before a number's fraction.

    Raises:
        DataError: nothing can be learned from this column, and why.
    """
    name, texts = str(column.name), texts_of(column)
    counts, missing = texts.value_counts(), len(column) - len(texts)
    marks = ambiguous_marks(column)
    if missing > MAX_MISSING * len(column):
        hint = f" ({describe_marks(marks)}; to make it a class, write it differently, such as 'none')" if marks else ""
        raise DataError(f"the target {name!r} is missing in {percent(missing, len(column))} of the rows{hint}")
    if len(texts) < MIN_ROWS:
        raise DataError(f"{len(texts)} rows have a target; at least {MIN_ROWS} are needed")
    if len(counts) == 1:
        raise DataError(f"the target {name!r} is {shown(str(counts.index[0]))} in every row: there is nothing to learn")
    numbers = pd.Series([number_of(str(text), decimal) for text in counts.index], index=counts.index, dtype="float64")
    numeric_cells = int(counts[numbers.notna()].sum())
    if numeric_cells >= MOSTLY * len(texts) and not _are_classes(counts):
        return _regression(counts, numbers, len(column) - numeric_cells)
    guess = _classification(name, counts, missing)
    if not marks:
        return guess
    remark = f"{name}: {describe_marks(marks)}, and these rows are not used; to keep it as a class, add it to classes"
    return replace(guess, check="; ".join(filter(None, [guess.check, remark])))


def _are_classes(counts: pd.Series) -> bool:
    """Whether these numbers name classes."""
    if len(counts) == BINARY:
        return True
    whole = all(integer_of(str(text)) is not None for text in counts.index)
    return whole and len(counts) <= MAX_NUMBERED_CLASSES and int(counts.min()) >= MIN_CLASS_ROWS


def _classification(name: str, counts: pd.Series, missing: int) -> TargetGuess:
    rows = int(counts.sum())
    classes = sorted(str(text) for text in counts.index)
    if len(classes) == rows:
        raise DataError(f"the target {name!r} is another text in every row, such as {shown(classes[0])}")
    if len(classes) > MAX_CLASSES:
        raise DataError(f"the target {name!r} has {len(classes):,} classes; at most {MAX_CLASSES} can be learned")
    long = [text for text in classes if len(text) > MAX_TEXT]
    if long:
        raise DataError(f"the target {name!r} has texts of over {MAX_TEXT} characters, such as {shown(long[0])}")
    few = counts[counts < MIN_CLASS_ROWS]
    if len(few):
        raise DataError(
            f"the target {name!r} has classes with fewer than {MIN_CLASS_ROWS} rows: "
            + ", ".join(f"{shown(str(text))} {count}" for text, count in few.iloc[:SHOWN_VALUES].items())
            + (", …" if len(few) > SHOWN_VALUES else "")
            + "; collect more rows, merge these classes or remove their rows"
        )
    rare, share = str(counts.index[-1]), float(counts.iloc[-1]) / rows
    metric, why_metric = _metric(len(classes), share, rare)
    return TargetGuess(
        why=value_shares(counts),
        metric=metric,
        why_metric=why_metric,
        tolerance=0.01,
        unusable=missing,
        classes=classes,
        positive=rare if len(classes) == BINARY else None,
        least_rows=max(2, min(20, int(counts.iloc[-1]) // 2)),
        check=_doubt(name, classes),
    )


def _doubt(name: str, classes: list[str]) -> str | None:
    if len(classes) > BINARY and all(integer_of(text) is not None for text in classes):
        return (
            f"{name}: {len(classes)} numbers, taken for classes; for a regression give target_range instead of classes"
        )
    if len({text.lower() for text in classes}) < len(classes):
        return f"{name}: some classes differ only in upper and lower case"
    return None


def _metric(classes: int, share: float, rare: str) -> tuple[str, str]:
    """The metric for so many classes, of which the least frequent one has this share."""
    if classes > BINARY:
        return "f1_macro", "every class counts the same, however rare it is"
    if share >= BALANCED:
        return "accuracy", "the classes are about equally frequent"
    if share >= RARE:
        return "f1_macro", f"both classes count the same, although {shown(rare)} is less frequent"
    return "average_precision", f"{shown(rare)} is rare: how well the model ranks it first"


def _regression(counts: pd.Series, numbers: pd.Series, unusable: int) -> TargetGuess:
    usable = numbers.notna()
    values = pd.Series(numbers[usable].to_numpy().repeat(counts[usable].to_numpy()))
    low, middle, high = float(values.min()), float(values.median()), float(values.max())
    why = f"{number_text(low)} to {number_text(high)}, median {number_text(middle)}"
    if high - middle > HEAVY_TAIL * (middle - low):
        tolerance = float(f"{0.01 * (values - middle).abs().mean():.1g}")
        reason = "a few large values would dominate r2; model.target_transform: log may help"
        return TargetGuess(why, "neg_mean_absolute_error", reason, tolerance, unusable)
    return TargetGuess(why, "r2", "the share of the variance that the model explains", 0.01, unusable)
