"""Made-up rows that try a model's conversion where it is likeliest to fail: at every decision of its trees."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline

from src.core.dataset_config import CategoryFeature, DatasetConfig, Feature, NumberFeature

RANDOM_ROWS = 2000
MISSING_SHARE = 0.1
# Of a larger forest that many decisions, drawn at random, are tried: the rest would take longer than the training.
MAX_DECISIONS = 10_000
# As many rows that come by a decision are tried for one that tells its two sides apart.
CANDIDATES = 16
SEED = 0


def probe_rows(features: pd.DataFrame, dataset: DatasetConfig, model: Pipeline) -> pd.DataFrame:
    """Rows that try a model: random ones where the data lie, random ones in the whole range, and around its decisions.

    Args:
        features: (n, features) the rows that the model was fitted on.
        dataset: what each column may hold.
        model: fitted; its decisions are tried where its last step is a tree or an ensemble of trees.

    Returns:
        Rows of the same columns, the same for the same arguments.
    """
    random = np.random.default_rng(SEED)
    near = {name: _random_values(random, dataset.features[name], features[name]) for name in features.columns}
    wide = {name: _random_values(random, dataset.features[name], None) for name in features.columns}
    frames = (pd.DataFrame(near), pd.DataFrame(wide), decision_rows(features, model))
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _random_values(random: np.random.Generator, feature: Feature, known: pd.Series | None) -> pd.Series:
    """RANDOM_ROWS values of a column: those of its range or, where values are known, of theirs."""
    missing = random.random(RANDOM_ROWS) < (MISSING_SHARE if feature.missing else 0)
    if isinstance(feature, NumberFeature):
        low, high = feature.minimum or 0.0, feature.maximum or 0.0
        if known is not None and known.notna().any():
            low, high = known.min(), known.max()
        return pd.Series(random.uniform(low, high, RANDOM_ROWS)).mask(missing)
    if isinstance(feature, CategoryFeature):
        values = feature.values or []
        unknown = [] if known is not None else ["".join(values) + "?"]
        return pd.Series(random.choice([*values, *unknown], RANDOM_ROWS), dtype=object).mask(missing, None)
    chosen = pd.Series(random.choice([False, True], RANDOM_ROWS))
    return chosen.astype(object).mask(missing, None) if feature.missing else chosen


def decision_rows(features: pd.DataFrame, model: Pipeline) -> pd.DataFrame:
    """For each decision in the model's trees a row exactly on its threshold, and its neighbours in both precisions.

    Each is a row of ``features`` that comes by the decision, with the deciding column moved, and the two sides of the
    decision answer it differently if any do so. Only decisions on numbers are tried. Steps before the trees are
    followed where they pass numbers on or can be inverted; where they do neither, there are no such rows.

    Args:
        features: (n, features) the rows that the model was fitted on.
        model: fitted.

    Returns:
        (6 * decisions, features).
    """
    steps = model[:-1]
    sources = _sources(steps, features)
    if sources is None and not hasattr(steps, "inverse_transform"):
        return features.iloc[:0]
    moved = np.asarray(steps.transform(features) if len(steps) else features, dtype=np.float64)
    decisions = _decisions(model[-1], moved)
    if sources is not None:
        decisions = decisions[sources[decisions[:, 1].astype(int)] >= 0]
    if len(decisions) > MAX_DECISIONS:
        decisions = np.random.default_rng(SEED).choice(decisions, MAX_DECISIONS, replace=False)
    values = around(decisions[:, 2])
    base, columns = (np.repeat(decisions[:, index].astype(int), values.shape[1]) for index in (0, 1))
    if sources is not None:
        return _with_values(features.iloc[base], sources[columns], values.ravel())
    rows = moved[base]
    rows[np.arange(len(rows)), columns] = values.ravel()
    return pd.DataFrame(steps.inverse_transform(rows) if len(rows) else rows, columns=features.columns)


def _sources(steps: Pipeline, features: pd.DataFrame) -> NDArray[np.intp] | None:
    """For each column that the trees see, the column of numbers that it is, or -1; None where steps change numbers."""
    numbers = np.array([dtype.kind == "f" for dtype in features.dtypes])
    if not len(steps):
        return np.where(numbers, np.arange(len(numbers)), -1)
    columns = steps[0]
    if len(steps) > 1 or not isinstance(columns, ColumnTransformer):
        return None
    found = np.full(len(columns.get_feature_names_out()), -1)
    for name, step, positions in columns.transformers_:
        if isinstance(step, SimpleImputer):
            found[columns.output_indices_[name]] = np.where(numbers[positions], positions, -1)
    return found


def _with_values(rows: pd.DataFrame, columns: NDArray[np.intp], values: NDArray[np.float64]) -> pd.DataFrame:
    """The rows, each with one value replaced."""
    changed = {
        name: np.where(columns == index, values, rows[name]) if (columns == index).any() else rows[name].to_numpy()
        for index, name in enumerate(rows.columns)
    }
    return pd.DataFrame(changed)


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
