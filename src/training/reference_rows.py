"""What is registered beside a model: rows with its answers to them, and what the training rows looked like."""

from collections import Counter

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from src.core.dataset_config import DatasetConfig, NumberFeature
from src.core.feature_schema import FeatureSchema
from src.core.golden_rows import GoldenRows
from src.core.model_registry import DriftReference
from src.training.frames import rows_of, table_of
from src.training.sklearn_engine import SklearnEngine

BINS = 5
GOLDEN_PER_CLASS = 5
GOLDEN_NUMBERS = 15
GOLDEN_MADE_UP = 8


def golden_rows(
    model: Pipeline, schema: FeatureSchema, train: pd.DataFrame, target: str, made_up: pd.DataFrame
) -> GoldenRows:
    """Rows with the model's own answers.

    For a classification some rows of each class and the made-up ones that were the closest calls; for a regression rows
    from the least to the largest target, and some of the made-up ones.
    """
    known = train[list(schema.names)]
    if not is_classifier(model):
        places = np.linspace(0, len(train) - 1, min(GOLDEN_NUMBERS, len(train))).astype(int)
        typical = known.iloc[train[target].argsort(kind="stable").to_numpy()[places]]
        rows = pd.concat([typical, made_up.head(GOLDEN_MADE_UP)], ignore_index=True)
        table = table_of(rows, schema)
        return GoldenRows(rows=rows_of(table), values=list(SklearnEngine(model, ()).predict(table).values))
    engine = SklearnEngine(model, tuple(str(name) for name in model.classes_))
    typical = known.groupby(train[target].to_numpy(), sort=True).head(GOLDEN_PER_CLASS)
    answers = engine.predict(table_of(made_up, schema))
    ranked = np.sort(np.asarray(answers.probabilities), axis=1)
    # MLflow's own loaders break exact ties in another way, and may serve this model.
    ties = model.predict(made_up) != np.array(answers.values, dtype=object)
    closest = np.argsort(ranked[:, -1] - ranked[:, -2] + ties, kind="stable")[:GOLDEN_MADE_UP]
    table = table_of(pd.concat([typical, made_up.iloc[closest]], ignore_index=True), schema)
    found = engine.predict(table)
    return GoldenRows(
        rows=rows_of(table), labels=list(found.values), probabilities=np.asarray(found.probabilities).tolist()
    )


def drift_reference(train: pd.DataFrame, dataset: DatasetConfig) -> DriftReference:
    """The training rows' distribution: numbers by at most ``BINS`` quantile bins (fewer where values repeat), other
    columns by the shares of their values; all of the values that are not missing.
    """
    numbers = {name: train[name].dropna() for name, kind in dataset.features.items() if isinstance(kind, NumberFeature)}
    numbers = {name: values for name, values in numbers.items() if len(values)}
    bins = {name: _bins(values) for name, values in numbers.items()}
    others = {name: _shares(train[name]) for name in dataset.features if name not in numbers}
    return DriftReference(
        rows=len(train),
        edges={name: edges for name, (edges, _) in bins.items()},
        shares={name: shares for name, (_, shares) in bins.items()},
        category_shares=others,
        missing={name: float(train[name].isna().mean()) for name, kind in dataset.features.items() if kind.missing},
        minimum={name: float(values.min()) for name, values in numbers.items()},
        maximum={name: float(values.max()) for name, values in numbers.items()},
        class_shares=_shares(train[dataset.target]) if dataset.task == "classification" else {},
    )


def _bins(column: pd.Series) -> tuple[list[float], list[float]]:
    values = column.to_numpy(dtype=np.float64)
    # Edges that are values of the data, none of them the maximum: no bin is empty.
    inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    inner = inner[inner < values.max()]
    counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=len(inner) + 1)
    return inner.tolist(), (counts / len(values)).tolist()


def _shares(column: pd.Series) -> dict[str, float]:
    """By value, as JSON writes it."""
    names = [str(value).lower() if isinstance(value, bool) else value for value in column.dropna().tolist()]
    return {name: count / len(names) for name, count in sorted(Counter(names).items())}
