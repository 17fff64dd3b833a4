"""Finds columns that give the target away: often they are known only after it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from src.core.column_rules import number_of
from src.training.propose.guess_columns import ColumnGuess, texts_of

MAX_VALUES = 200
MIN_ROWS_PER_VALUE = 2
# Of the absolute correlation (Pearson) of a column with a numeric target.
SAME = 0.9999


def find_leaks(
    frame: pd.DataFrame, target: str, columns: Iterable[ColumnGuess], *, is_number: bool, decimal: str
) -> list[str]:
    """A line for each feature that determines the target.

    Args:
        frame: (rows, columns) of texts or typed values, with the target.
        target: the column to predict.
        columns: what the columns are taken for.
        is_number: whether the target is a number.
        decimal: the sign before a number's fraction.
    """
    features = [column for column in columns if column.role == "feature" and column.type != "ignore"]
    answers = texts_of(frame[target])
    if is_number:
        numbers = _numbers(answers, decimal)
        found = [
            column.name
            for column in features
            if column.type in {"number", "integer"}
            and _follows(_numbers(texts_of(frame[column.name]), decimal), numbers)
        ]
    else:
        found = [column.name for column in features if _determines(texts_of(frame[column.name]), answers)]
    return [f"{name}: determines the target; is it known when a prediction is made?" for name in found]


def _numbers(texts: pd.Series, decimal: str) -> pd.Series:
    return texts.map(lambda text: number_of(text, decimal)).astype("float64")


def _follows(values: pd.Series, target: pd.Series) -> bool:
    both = pd.concat([values, target], axis="columns", join="inner").dropna().to_numpy()
    if len(both) < 3 or not both.std(axis=0).all():  # noqa: PLR2004 - two points always lie on a line
        return False
    return bool(abs(np.corrcoef(both[:, 0], both[:, 1])[0, 1]) > SAME)


def _determines(values: pd.Series, answers: pd.Series) -> bool:
    """Whether each of a few values goes with one class, and all classes are reached so."""
    if not 1 < values.nunique() <= min(MAX_VALUES, len(values) / MIN_ROWS_PER_VALUE):
        return False
    pairs = pd.DataFrame({"value": values, "answer": answers}).dropna().drop_duplicates()
    return not pairs["value"].duplicated().any() and pairs["answer"].nunique() > 1
