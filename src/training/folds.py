"""Splits the training rows into folds that respect groups, repeated keys and time, as the holdout split does."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError
from src.training.row_keys import days, row_hashes

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
SEED = 0
TIME = "time"
REMEDY = "add rows, or remove the options that need folds: model.search, model.calibrate, model.threshold: tune"


def folds_of(train: pd.DataFrame, dataset: DatasetConfig, by: str, count: int, *, each_row_once: bool) -> list[Fold]:
    """Positions of the rows to fit on and of those to validate on, ``count`` times.

    Rows of one group, or with equal ids, share a fold; without groups and ids, so do rows with equal features where
    ``dataset.duplicates`` keeps them. With ``time``, validation rows are newer than the rows of the fit, unless each
    row must be validated once: then the folds are blocks of time.

    Args:
        train: the data set's columns.
        dataset: names the columns.
        by: how the holdout is split off, as in ``split.by``.
        count: the number of folds, at least 2.
        each_row_once: whether every row must be in exactly one validation part.

    Raises:
        DataError: a fold's part lacks a class, or there are fewer groups or rows of a class than folds.
    """
    classes = train[dataset.target].to_numpy() if dataset.task == "classification" else None
    if classes is not None and by != TIME:
        names, counts = np.unique(classes.astype(str), return_counts=True)
        few = [f"{name} ({rows})" for name, rows in zip(names, counts, strict=True) if rows < count]
        if few:
            raise DataError(f"fewer training rows than {count} folds: class {', '.join(few)}; {REMEDY}")
    try:
        found = _folds(train, dataset, by, count, classes, each_row_once=each_row_once)
    except ValueError as error:
        raise DataError(f"the training rows cannot be split into {count} folds: {error}") from error
    if classes is not None:
        _require_classes(found, classes, validated=by != TIME)
    return found


def _folds(  # noqa: PLR0913 - as the public function, and the classes
    train: pd.DataFrame,
    dataset: DatasetConfig,
    by: str,
    count: int,
    classes: NDArray[np.object_] | None,
    *,
    each_row_once: bool,
) -> list[Fold]:
    rows = np.zeros(len(train))
    if by == TIME:
        order = np.argsort(days(train[str(dataset.time)]), kind="stable")
        parts = (KFold(count) if each_row_once else TimeSeriesSplit(count)).split(rows)
        return [(order[fit], order[check]) for fit, check in parts]
    keys = [dataset.group] if dataset.group is not None else dataset.id
    if not keys:
        return _by_features(train, dataset, count, classes)
    groups = row_hashes(train, keys, SEED)
    if classes is None:
        return list(GroupKFold(count, shuffle=True, random_state=SEED).split(rows, groups=groups))
    return list(StratifiedGroupKFold(count, shuffle=True, random_state=SEED).split(rows, classes, groups))


def _by_features(
    train: pd.DataFrame, dataset: DatasetConfig, count: int, classes: NDArray[np.object_] | None
) -> list[Fold]:
    """Folds of single rows; a row that repeats an earlier one is in the same fold."""
    codes = np.arange(len(train))
    if dataset.duplicates == "keep":
        codes = pd.factorize(row_hashes(train, list(dataset.features), SEED))[0]
    # Numbered in order of first occurrence, so that without repeated rows nothing changes.
    _, first = np.unique(codes, return_index=True)
    if classes is None:
        parts = KFold(count, shuffle=True, random_state=SEED).split(first)
    else:
        parts = StratifiedKFold(count, shuffle=True, random_state=SEED).split(first, classes[first])
    masks = [np.isin(codes, check) for _, check in parts]
    return [(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in masks]


def _require_classes(folds: list[Fold], classes: NDArray[np.object_], *, validated: bool) -> None:
    known = set(classes.tolist())
    for number, (fit, check) in enumerate(folds, start=1):
        for part, rows in (("fitted", fit), *([("validated", check)] if validated else [])):
            lacking = sorted(known - set(classes[rows].tolist()))
            if lacking:
                raise DataError(
                    f"no row of class {', '.join(lacking)} is {part} on in fold {number} of {len(folds)}; {REMEDY}"
                )
