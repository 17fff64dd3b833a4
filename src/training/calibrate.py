"""Calibrates a classifier on its holdout, and checks where the calibration holds.

A curve is fitted by Newton's method, with a weak normal prior around the model's own probabilities, so that no
probability becomes 0 or 1 and that few rows change little. Whether the calibrated probabilities are right is judged out
of fold: every row by curves that were fitted without it.

They must be right for each level of confidence, and within each column too: for the low, middle and high values of a
number, and for each category. If they are not, more such rows would change the accuracy without a change of the
confidences. (Hébert-Johnson, Kim, Reingold & Rothblum 2018, Multicalibration, ICML; the groups by confidence are those
of Hosmer & Lemeshow 1980.)
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from src.core.calibration import (
    TERMS,
    Calibration,
    Floats,
    calibrated,
    calibration_file,
    curve_places,
    terms_of,
    write_calibration,
)
from src.core.errors import SpoolFullError
from src.core.retrain_record import Scores
from src.training.answers import Answers

MIN_ROWS, MAX_ROWS = 500, 5000
# A file with the curves of more classes would be large.
MAX_CLASSES = 20
FOLDS, RESAMPLES = 5, 100
SEED = 0
# Coefficients of a model that is calibrated, and how many times as certain as one unit of information it is.
PRIOR, PRECISION = np.array([1.0, 1.0, 0.0, 0.0]), 1.0
MAX_STEPS, LARGEST_LOGIT = 50, 30.0
# A group of rows counts if it has so many; its mean must be off by more, and not by chance, to be a problem.
MIN_GROUP, MAX_GAP, ALPHA = 50, 0.03, 0.01
LEVELS, PARTS, MAX_CATEGORIES = 10, 3, 10
DECIMALS = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Group:
    """Some rows, with a name to follow the word "for"."""

    name: str
    rows: NDArray[np.bool_]


def calibrate(answers: Answers, features: pd.DataFrame, clusters: NDArray[np.intp], scores: Scores) -> Calibration:
    """The calibration of a classifier.

    Args:
        answers: its answers to n rows that it was not trained on.
        features: (n, …) the columns of the data set that the model may depend on.
        clusters: (n,) each row's cluster; rows of a cluster depend on each other.
        scores: its scores on these rows.
    """
    count, size = len(answers), len(answers.classes)
    if count < MIN_ROWS:
        return Calibration(rows=count, reason=f"the holdout has {count} rows, and {MIN_ROWS} are needed")
    if size > MAX_CLASSES:
        return Calibration(rows=count, reason=f"the model has {size} classes, and at most {MAX_CLASSES} are supported")
    random = np.random.default_rng(SEED)
    chosen = np.sort(random.choice(count, min(count, MAX_ROWS), replace=False))
    some, columns = answers.take(chosen), features.iloc[chosen]
    _, codes = np.unique(clusters[chosen], return_inverse=True)
    places = {name: place for place, name in enumerate(some.classes)}
    predicted = np.array([places[name] for name in some.values.tolist()], dtype=np.intp)
    folds = random.permutation(codes.max() + 1)[codes] % FOLDS
    apart = _curves(some, predicted, np.array([folds != fold for fold in range(FOLDS)], dtype=np.float64))
    assert some.probabilities is not None  # noqa: S101 - a classifier's answers have them
    shares = calibrated(some.probabilities, predicted, apart[folds].transpose(1, 0, 2))
    reason = _problem(shares[np.arange(len(some)), predicted], some.truth == some.values, columns, codes)
    if reason:
        return Calibration(rows=count, reason=reason)
    clusters_drawn = random.multinomial(codes.max() + 1, np.full(codes.max() + 1, 1 / (codes.max() + 1)), RESAMPLES)
    curves = _curves(some, predicted, clusters_drawn[:, codes].astype(np.float64))
    return Calibration(rows=count, classes=answers.classes, scores=dict(scores), curves=curves.round(DECIMALS).tolist())


def store_calibration(folder: Path, model: str, version: str, calibration: Calibration | None) -> None:
    """Write a version's calibration for the quality service; a volume that cannot be written to is only logged.

    Args:
        folder: ``CommonSettings.calibration_dir``.
        model: the registered model's name.
        version: its version.
        calibration: None for a regression, which has no file.
    """
    if calibration is None:
        return
    try:
        write_calibration(calibration_file(folder, model, version), calibration)
    except (OSError, SpoolFullError) as error:
        logger.error("the quality of version %s will not be estimated: %s", version, error)  # noqa: TRY400 - says it all


def _curves(answers: Answers, predicted: NDArray[np.intp], weights: Floats) -> Floats:
    """(resamples, curves, 4) coefficients, of rows with weights (resamples, n)."""
    assert answers.probabilities is not None  # noqa: S101 - as above
    found = [
        _fit(
            terms_of(answers.probabilities[:, place], predicted == place),
            (answers.truth == answers.classes[place]).astype(np.float64),
            weights,
        )
        for place in curve_places(len(answers.classes))
    ]
    return np.stack(found, axis=1)


def _fit(terms: Floats, truth: Floats, weights: Floats) -> Floats:
    """(resamples, 4) coefficients of logistic regressions of the truth, (n,), on terms, (n, 4)."""
    found = np.tile(PRIOR, (len(weights), 1))
    squares = (terms[:, :, None] * terms[:, None, :]).reshape(len(terms), -1)
    for _ in range(MAX_STEPS):
        shares = 1 / (1 + np.exp(-np.clip(found @ terms.T, -LARGEST_LOGIT, LARGEST_LOGIT)))
        slope = (weights * (truth - shares)) @ terms - PRECISION * (found - PRIOR)
        bend = ((weights * shares * (1 - shares)) @ squares).reshape(-1, TERMS, TERMS) + PRECISION * np.eye(TERMS)
        # A bounded step: far from its optimum, a full one may go too far.
        step = np.clip(np.linalg.solve(bend, slope[..., None])[..., 0], -1, 1)
        found += step
        if np.abs(step).max() < 10**-DECIMALS:
            break
    return found


def _problem(
    confidence: Floats, is_right: NDArray[np.bool_], columns: pd.DataFrame, clusters: NDArray[np.intp]
) -> str | None:
    """The group of rows that the calibration is worst for, in a sentence; None if it is good for all of them."""
    groups = [group for group in _groups(confidence, columns) if group.rows.sum() >= MIN_GROUP]
    limit = norm.isf(ALPHA / 2 / len(groups))
    worst, largest = "", 0.0
    for group in groups:
        errors = np.where(group.rows, is_right - confidence, 0.0)
        size, total = int(group.rows.sum()), errors.sum()
        deviation = float(np.sqrt(np.square(np.bincount(clusters, errors)).sum()))
        gap = abs(total) / size
        if gap > max(MAX_GAP, largest) and abs(total) > limit * deviation:
            found = f"{confidence[group.rows].mean():.0%} of the predictions are expected to be right, and"
            worst = f"calibration is bad for {group.name}: {found} {is_right[group.rows].mean():.0%} of {size} are"
            largest = gap
    return worst or None


def _groups(confidence: Floats, columns: pd.DataFrame) -> Iterator[_Group]:
    """Rows by confidence, and by the values of each column."""
    for level, rows in enumerate(_parts(confidence, LEVELS), start=1):
        yield _Group(f"confidences in part {level} of {LEVELS}", rows)
    for name, column in columns.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            for kind, rows in zip(("low", "middle", "high"), _parts(values, PARTS), strict=True):
                yield _Group(f"{kind} values of {name}", rows)
        elif pd.api.types.is_datetime64_any_dtype(column):
            continue  # all later rows are new
        else:
            texts = column.astype("string")
            for value in texts.value_counts().index[:MAX_CATEGORIES]:
                yield _Group(f"{name} = {value}", (texts == value).to_numpy(dtype=bool, na_value=False))


def _parts(values: Floats, parts: int) -> Iterator[NDArray[np.bool_]]:
    """Masks of parts of about equally many rows, by value; equal values are in the same part, missing ones in none."""
    there = np.isfinite(values)
    limits = np.quantile(values[there], np.arange(1, parts) / parts) if there.any() else np.zeros(parts - 1)
    codes = np.searchsorted(limits, values, side="left")
    for part in range(parts):
        yield there & (codes == part)
