"""Made-up rows that try a model's conversion where it is likeliest to fail: at every decision of its trees."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from src.core.pipeline_config import FeatureConfig

RANDOM_ROWS = 2000
# Of a larger forest that many decisions, drawn at random, are tried: the rest would take longer than the training.
MAX_DECISIONS = 10_000
# As many rows that come by a decision are tried for one that tells its two sides apart.
CANDIDATES = 16
SEED = 0


def probe_rows(features: pd.DataFrame, limits: Mapping[str, FeatureConfig], model: Pipeline) -> pd.DataFrame:
    """Rows that try a model: random ones where the data lie, random ones in the whole range, and around its decisions.

    Args:
        features: (n, features) the rows that the model was fitted on.
        limits: each column's believable range.
        model: fitted; its decisions are tried where its last step is a tree or an ensemble of trees.

    Returns:
        Rows of the same columns, the same for the same arguments.
    """
    random = np.random.default_rng(SEED)
    near = features.to_numpy(dtype=np.float64)
    low, high = near.min(axis=0), near.max(axis=0)
    wide_low = np.array([limits[name].minimum for name in features.columns])
    wide_high = np.array([limits[name].maximum for name in features.columns])
    shape = (RANDOM_ROWS, features.shape[1])
    rows = [random.uniform(low, high, shape), random.uniform(wide_low, wide_high, shape)]
    frames = [pd.DataFrame(part, columns=features.columns) for part in rows]
    return pd.concat([*frames, decision_rows(features, model)], ignore_index=True)


def decision_rows(features: pd.DataFrame, model: Pipeline) -> pd.DataFrame:
    """For each decision in the model's trees a row exactly on its threshold, and its neighbours in both precisions.

    Each is a row of ``features`` that comes by the decision, with the deciding column moved, and the two sides of the
    decision answer it differently if any do so. Steps before the trees are followed where they can be inverted; where
    they cannot, there are no such rows.

    Args:
        features: (n, features) the rows that the model was fitted on.
        model: fitted.

    Returns:
        (6 * decisions, features).
    """
    steps = model[:-1]
    if len(steps) and not hasattr(steps, "inverse_transform"):
        return features.iloc[:0]
    moved = np.asarray(steps.transform(features) if len(steps) else features, dtype=np.float64)
    decisions = _decisions(model[-1], moved)
    if len(decisions) > MAX_DECISIONS:
        decisions = np.random.default_rng(SEED).choice(decisions, MAX_DECISIONS, replace=False)
    values = around(decisions[:, 2])
    rows = np.repeat(moved[decisions[:, 0].astype(int)], values.shape[1], axis=0)
    rows[np.arange(len(rows)), np.repeat(decisions[:, 1].astype(int), values.shape[1])] = values.ravel()
    # Plain numbers: the steps were fitted on names, and warn.
    found = steps.inverse_transform(rows) if len(steps) and len(rows) else rows
    return pd.DataFrame(np.asarray(found), columns=features.columns)


def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 6): each value, its neighbours, the same in single precision."""
    single = values.astype(np.float32)
    infinity = np.float32(np.inf)
    return np.column_stack(
        [
            values,
            np.nextafter(values, -np.inf),
            np.nextafter(values, np.inf),
            single,
            np.nextafter(single, -infinity),
            np.nextafter(single, infinity),
        ]
    )


def _decisions(estimator: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(decisions, 3): a row that comes by it, its column and its threshold, for each decision of each tree."""
    members = [estimator] if hasattr(estimator, "tree_") else np.ravel(getattr(estimator, "estimators_", ()))
    # An ensemble may give each of its trees some of the columns only.
    trees = [member.tree_ for member in members if getattr(member, "n_features_in_", 0) == rows.shape[1]]
    found = [_decisions_of(tree, rows.astype(np.float32)) for tree in trees]
    return np.concatenate(found) if found else np.empty((0, 3))


def _decisions_of(tree: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    path = tree.decision_path(rows).tocsc()
    count = np.diff(path.indptr)
    inner = np.flatnonzero((tree.feature >= 0) & (count > 0))
    column, threshold = tree.feature[inner], tree.threshold[inner]
    # (decisions, CANDIDATES): some of the rows that come by.
    steps = (np.linspace(0, 1, CANDIDATES) * (count[inner] - 1)[:, None]).astype(int)
    candidates = path.indices[path.indptr[inner][:, None] + steps]
    left, right = rows[candidates], rows[candidates]
    single = threshold.astype(np.float32)
    infinity = np.float32(np.inf)
    left[np.arange(len(inner)), :, column] = np.nextafter(single, -infinity)[:, None]
    right[np.arange(len(inner)), :, column] = np.nextafter(single, infinity)[:, None]
    # From one whose two sides answer alike, nobody could tell whether the decision was right.
    answers = [tree.predict(side.reshape(-1, rows.shape[1])).reshape(*candidates.shape, -1) for side in (left, right)]
    telling = (answers[0] != answers[1]).any(axis=2).argmax(axis=1)
    return np.column_stack([candidates[np.arange(len(inner)), telling], column, threshold])
