"""Chooses the holdout rows for a comparison: the labelled live rows alone, where there are enough.

The holdout of the source shows how the world was. Labelled live rows show what production sees now. After a change of
the world, a model that has learned the new one is worse on the old rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.core.dataset_config import DatasetConfig
from src.training.live_rows import are_live
from src.training.splitting import Split, clusters

# With 300 rows, of which two models answer 18 % differently, the difference of their accuracies has a standard error of
# 2.4 points: of challengers that are worse by 5 points, about 5 % are within a tolerance of 1 point.
MIN_LIVE_ROWS = 300
# With fewer rows of a class, one row changes its recall by more than 10 points.
MIN_LIVE_ROWS_PER_CLASS = 10


@dataclass(frozen=True)
class Choice:
    """The holdout rows for a comparison.

    Attributes:
        mask: (n,) the rows.
        live: whether they are labelled live rows only.
        note: why not, where some are labelled live rows; empty otherwise.
    """

    mask: NDArray[np.bool_]
    live: bool = False
    note: str = ""


def choose_rows(split: Split, mask: NDArray[np.bool_], dataset: DatasetConfig) -> Choice:
    """Restrict a comparison to the labelled live rows of the holdout, if there are enough.

    Enough are ``MIN_LIVE_ROWS``, and ``MIN_LIVE_ROWS_PER_CLASS`` of each class. Rows with one key, or of one group,
    count as one, also for a class: repeated requests are no evidence.

    Args:
        split: the challenger's.
        mask: (n,) the rows of the holdout on which the models can be compared.
        dataset: names the target and its classes.
    """
    chosen = mask & are_live(split.holdout)
    if not chosen.any():
        return Choice(mask)
    rows = split.holdout[chosen]
    # By time, clusters are blocks of rows, and not what is repeated.
    keys = np.arange(len(rows)) if split.rule.by == "time" else clusters(split.rule, rows)
    count = len(np.unique(keys))
    counts = rows[dataset.target].groupby(keys).unique().explode().value_counts()
    few = [name for name in dataset.classes or [] if counts.get(name, 0) < MIN_LIVE_ROWS_PER_CLASS]
    if count >= MIN_LIVE_ROWS and not few:
        return Choice(chosen, live=True)
    problem = f"{count} are there, {MIN_LIVE_ROWS} are needed"
    if count >= MIN_LIVE_ROWS:
        problem = f"the class {', '.join(few)} has fewer than {MIN_LIVE_ROWS_PER_CLASS}"
    return Choice(mask, note=f"not on labelled live rows alone: {problem}")


def baseline_target(split: Split, target: str, *, live: bool) -> NDArray[np.object_]:
    """The target of the training rows from which constant answers are learned, shape (m,).

    For a comparison on labelled live rows those of the training, if there are any: the best constant answer of the
    present may be another one.
    """
    recent = are_live(split.train)
    rows = split.train[recent] if live and recent.any() else split.train
    found: NDArray[np.object_] = rows[target].to_numpy()
    return found
