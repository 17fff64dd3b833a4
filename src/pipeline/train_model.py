"""Fits the model: one scikit-learn Pipeline, so that preprocessing is part of the model."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from src.core.dataset_config import CategoryFeature, DatasetConfig, Task
from src.core.model_config import ModelConfig

FORESTS: dict[Task, type[BaseEstimator]] = {
    "classification": RandomForestClassifier,
    "regression": RandomForestRegressor,
}


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
