"""Splits the data set and fits the model: one scikit-learn Pipeline, so that preprocessing is part of the model."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from src.core.dataset_config import CategoryFeature, DatasetConfig, Task
from src.core.errors import DataError
from src.core.gate_config import SplitConfig
from src.core.model_config import ModelConfig

FORESTS: dict[Task, type[BaseEstimator]] = {
    "classification": RandomForestClassifier,
    "regression": RandomForestRegressor,
}
REMEDY = "add rows or change split.holdout_fraction"


def split(frame: pd.DataFrame, dataset: DatasetConfig, config: SplitConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and holdout rows, with classes in equal shares; the same rows give the same split.

    Raises:
        DataError: too few rows for every class, or two rows of a regression, to be in both parts.
    """
    classes = frame[dataset.target] if dataset.task == "classification" else None
    try:
        train, holdout = train_test_split(
            frame, test_size=config.holdout_fraction, random_state=config.seed, stratify=classes
        )
    except ValueError as error:
        raise DataError(f"the data set cannot be split: {error}; {REMEDY}") from error
    if min(len(train), len(holdout)) < 2:  # noqa: PLR2004 - no score says anything of a single row
        parts = f"{len(train)} training rows and {len(holdout)} holdout rows"
        raise DataError(f"the data set cannot be split: {parts} are too few; {REMEDY}")
    return train.reset_index(drop=True), holdout.reset_index(drop=True)


def build_model(config: ModelConfig, dataset: DatasetConfig) -> Pipeline:
    """The model, not fitted. Steps added before the forest are registered and served with it."""
    forest = FORESTS[dataset.task](**config.params)
    columns = columns_step(dataset)
    return Pipeline([*([("columns", columns)] if columns else []), ("forest", forest)])


def columns_step(dataset: DatasetConfig) -> ColumnTransformer | None:
    """What makes complete numbers of all columns: one column per category, medians for what is missing.

    None where a forest can take the columns as they are.
    """
    # By position: names that are no Python identifiers would be other names in ONNX.
    features = list(enumerate(dataset.features.values()))
    categories = {index: feature.values for index, feature in features if isinstance(feature, CategoryFeature)}
    numbers = [index for index, _ in features if index not in categories]
    if not categories and not any(feature.missing for _, feature in features):
        return None
    # A category that is missing, or unknown to the configuration, is a row of zeros.
    one_hot = OneHotEncoder(
        categories=[np.array(values, dtype=object) for values in categories.values()],
        handle_unknown="ignore",
        sparse_output=False,
    )
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    steps = (("numbers", median, numbers), ("categories", one_hot, list(categories)))
    return ColumnTransformer([step for step in steps if step[2]])


def fit(train: pd.DataFrame, config: ModelConfig, dataset: DatasetConfig) -> Pipeline:
    """A model fitted on the training rows; a classification's classes are names."""
    # Plain Python strings: pandas' own string type would end up in the saved classes.
    dtype = np.float64 if dataset.task == "regression" else object
    model = build_model(config, dataset)
    return model.fit(train.drop(columns=dataset.target), train[dataset.target].to_numpy(dtype=dtype))
