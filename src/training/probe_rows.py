"""Synthetic rows that test a model's conversion where it most likely fails: at the decisions of its trees."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.core.dataset_config import CategoryFeature, DatasetConfig, DateFeature, Feature, IntegerFeature, NumberFeature
from src.training.tree_decisions import decisions_of

RANDOM_ROWS = 2000
MISSING_SHARE = 0.1
# At most so many training rows, drawn at random, are used to probe decisions.
MAX_BASE_ROWS = 5000
# The range of a date column without known values, in days since 1970-01-01: 1970 to 2100.
DATES = (0.0, 47482.0)
SEED = 0


def probe_rows(features: pd.DataFrame, dataset: DatasetConfig, model: Pipeline) -> pd.DataFrame:
    """Random rows where the data lie, random rows in the whole range, and rows around the model's decisions.

    Args:
        features: (n, features) the rows that the model was fitted on.
        dataset: the valid values of each column, learned values included.
        model: fitted; its decisions are probed where its last step contains trees.

    Returns:
        Rows of the same columns, the same for the same arguments.
    """
    random = np.random.default_rng(SEED)
    near = {name: _random_values(random, dataset.features[name], features[name]) for name in features.columns}
    wide = {name: _random_values(random, dataset.features[name], None) for name in features.columns}
    frames = (pd.DataFrame(near), pd.DataFrame(wide), decision_rows(features, model))
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _random_values(random: np.random.Generator, feature: Feature, known: pd.Series | None) -> pd.Series:
    """RANDOM_ROWS values of a column, from the range of its known values or else from its valid range."""
    missing = random.random(RANDOM_ROWS) < (MISSING_SHARE if feature.missing else 0)
    if isinstance(feature, NumberFeature | IntegerFeature | DateFeature):
        low, high = _range(feature, known)
        values = pd.Series(random.uniform(low, high, RANDOM_ROWS))
        whole = isinstance(feature, IntegerFeature)
        values = values.round() if whole else values
        return values.astype(np.int64) if whole and not feature.missing else values.mask(missing)
    if isinstance(feature, CategoryFeature):
        names = feature.values or []
        unknown = [] if known is not None else ["".join(names) + "?"]
        return pd.Series(random.choice([*names, *unknown], RANDOM_ROWS), dtype=object).mask(missing, None)
    chosen = pd.Series(random.choice([False, True], RANDOM_ROWS))
    return chosen.astype(object).mask(missing, None) if feature.missing else chosen


def _range(feature: NumberFeature | IntegerFeature | DateFeature, known: pd.Series | None) -> tuple[float, float]:
    """The range of the known values or, without any, the valid range of the column."""
    if known is not None and known.notna().any():
        return float(known.min()), float(known.max())
    if isinstance(feature, DateFeature):
        return DATES
    low = 0.0 if feature.minimum is None else feature.minimum
    return low, max(low, 1.0 if feature.maximum is None else feature.maximum)


def decision_rows(features: pd.DataFrame, model: Pipeline) -> pd.DataFrame:
    """For each decision in the model's trees, a row exactly on its threshold and its neighbours in both precisions.

    Each is a row of ``features`` with the decision's column changed. Where possible it reaches the decision and the two
    branches predict differently. Only decisions on numbers are probed. Earlier steps are supported where they pass
    numbers through or can be inverted; otherwise no rows are returned.

    Args:
        features: (n, features) the rows that the model was fitted on.
        model: fitted.

    Returns:
        (6 * decisions, features), of at most ``MAX_DECISIONS`` decisions.
    """
    if len(features) > MAX_BASE_ROWS:
        features = features.sample(MAX_BASE_ROWS, random_state=SEED)
    steps = model[:-1]
    sources = _sources(steps, features)
    if sources is None and not (len(steps) and hasattr(steps, "inverse_transform")):
        return features.iloc[:0]
    moved = np.asarray(steps.transform(features) if len(steps) else features, dtype=np.float64)
    decisions = decisions_of(model[-1], moved)
    if sources is not None:
        decisions = decisions[sources[decisions[:, 1].astype(int)] >= 0]
    values = around(decisions[:, 2])
    base, columns = (np.repeat(decisions[:, index].astype(int), values.shape[1]) for index in (0, 1))
    if sources is not None:
        return _with_values(features.iloc[base], sources[columns], values.ravel())
    rows = moved[base]
    rows[np.arange(len(rows)), columns] = values.ravel()
    return pd.DataFrame(steps.inverse_transform(rows) if len(rows) else rows, columns=features.columns)


def _sources(steps: Pipeline, features: pd.DataFrame) -> NDArray[np.intp] | None:
    """For each column that the trees get, the index of the numeric feature that it equals, or -1.

    None where steps change numbers, or text reaches the estimator.
    """
    numbers = np.array([dtype.kind == "f" for dtype in features.dtypes], dtype=bool)
    if not len(steps):
        if any(dtype.kind not in "fiub" for dtype in features.dtypes):
            return None
        return np.where(numbers, np.arange(len(numbers)), -1)
    columns = steps[0]
    if len(steps) > 1 or not isinstance(columns, ColumnTransformer):
        return None
    found = np.full(len(columns.get_feature_names_out()), -1)
    for name, step, positions in columns.transformers_:
        if isinstance(step, SimpleImputer | FunctionTransformer):  # FunctionTransformer implements "passthrough"
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
    """(n, 6): each value and its two neighbours, in double and in single precision."""
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
