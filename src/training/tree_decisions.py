"""The decisions in a fitted model's trees, each with a row that reaches it."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.training.fitted_parts import parts_of

# A larger model is probed at this many random decisions: more would take longer than the training.
MAX_DECISIONS = 10_000
# Rows per decision that are tried to find one for which the two branches predict differently.
CANDIDATES = 16
SEED = 0

Decisions = NDArray[np.float64]


def decisions_of(estimator: Any, rows: NDArray[np.float64]) -> Decisions:
    """For each decision of each tree: a row that reaches it, its column and its threshold; (decisions, 3).

    Args:
        estimator: fitted; only trees, their ensembles and wrappers of them have decisions.
        rows: (n, columns) as the estimator gets them.
    """
    found = [_forest(part, rows) for part in parts_of(estimator)]
    found += [_boosted(part, rows) for part in parts_of(estimator) if hasattr(part, "get_booster")]
    decisions = np.concatenate(found)
    if len(decisions) > MAX_DECISIONS:
        decisions = np.random.default_rng(SEED).choice(decisions, MAX_DECISIONS, replace=False)
    return decisions


def _forest(estimator: Any, rows: NDArray[np.float64]) -> Decisions:
    """The decisions of scikit-learn's trees."""
    members = [estimator] if hasattr(estimator, "tree_") else np.ravel(getattr(estimator, "estimators_", ()))
    # An ensemble may fit each tree on a subset of the columns.
    trees = [
        member.tree_
        for member in members
        if hasattr(member, "tree_") and getattr(member, "n_features_in_", 0) == rows.shape[1]
    ]
    random, single = np.random.default_rng(SEED), rows.astype(np.float32)
    quota = max(1, MAX_DECISIONS // max(1, len(trees)))
    return np.concatenate([np.empty((0, 3)), *(_of_tree(tree, single, quota, random) for tree in trees)])


def _of_tree(tree: Any, rows: NDArray[np.float32], quota: int, random: np.random.Generator) -> Decisions:
    path = tree.decision_path(rows).tocsc()
    count = np.diff(path.indptr)
    inner = np.flatnonzero((tree.feature >= 0) & (count > 0))
    if len(inner) > quota:
        inner = np.sort(random.choice(inner, quota, replace=False))
    if not len(inner):  # a tree may be a single leaf
        return np.empty((0, 3))
    column, threshold = tree.feature[inner], tree.threshold[inner]
    # (decisions, CANDIDATES): some of the rows that reach it.
    steps = (np.linspace(0, 1, CANDIDATES) * (count[inner] - 1)[:, None]).astype(int)
    candidates = path.indices[path.indptr[inner][:, None] + steps]
    left, right = rows[candidates], rows[candidates]
    single = threshold.astype(np.float32)
    infinity = np.float32(np.inf)
    left[np.arange(len(inner)), :, column] = np.nextafter(single, -infinity)[:, None]
    right[np.arange(len(inner)), :, column] = np.nextafter(single, infinity)[:, None]
    # Only a row for which the branches predict differently can show a wrong decision.
    answers = [tree.predict(side.reshape(-1, rows.shape[1])).reshape(*candidates.shape, -1) for side in (left, right)]
    differs = (answers[0] != answers[1]).any(axis=2).argmax(axis=1)
    return np.column_stack([candidates[np.arange(len(inner)), differs], column, threshold])


def _boosted(estimator: Any, rows: NDArray[np.float64]) -> Decisions:
    """The decisions of XGBoost's trees, each with the next row, whether or not it reaches the decision."""
    table = estimator.get_booster().trees_to_dataframe()
    table = table[table["Feature"] != "Leaf"]
    columns = table["Feature"].str.removeprefix("f").astype(int).to_numpy()
    base = list(itertools.islice(itertools.cycle(range(len(rows))), len(table)))
    return np.column_stack([base, columns, table["Split"].to_numpy(dtype=np.float64)])
