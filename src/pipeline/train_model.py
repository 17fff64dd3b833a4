"""Splits the data set and fits the model: one scikit-learn Pipeline, so that preprocessing is part of the model."""

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from src.core.errors import DataError
from src.core.pipeline_config import ModelConfig, SplitConfig


def split(frame: pd.DataFrame, target: str, config: SplitConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and holdout rows, with the classes in equal shares; the same rows give the same split.

    Raises:
        DataError: too few rows for every class to be in both parts.
    """
    try:
        train, holdout = train_test_split(
            frame, test_size=config.holdout_fraction, random_state=config.seed, stratify=frame[target]
        )
    except ValueError as error:
        raise DataError(f"the data set cannot be split: {error}; add rows or change split.holdout_fraction") from error
    return train.reset_index(drop=True), holdout.reset_index(drop=True)


def build_model(config: ModelConfig) -> Pipeline:
    """The model, not fitted. Steps added before the forest are registered and served with it."""
    return Pipeline([("forest", RandomForestClassifier(**config.model_dump()))])


def fit(train: pd.DataFrame, target: str, config: ModelConfig) -> Pipeline:
    """A model fitted on the training rows; its classes are names."""
    # Plain Python strings: pandas' own string type would end up in the saved classes.
    return build_model(config).fit(train.drop(columns=target), train[target].to_numpy(dtype=object))
