"""YOURS: the available estimators, and how the configured one is built and fitted.

The model is one scikit-learn Pipeline: preprocessing is registered and served with it.
"""

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from src.core.dataset_config import DatasetConfig
from src.core.model_config import ModelConfig
from src.core.own_code import OWN_PACKAGE
from src.pipeline.features import transformers
from src.training.estimators import (
    Estimator,
    build_estimator,
    find_estimator,
    require_valid_values,
    require_weights,
    with_names,
)
from src.training.fit_model import Study, fit_model
from src.training.model_options import require_options

# The names that ``model.estimator`` accepts in addition to ``module:Class`` below this package. Add your own here.
ESTIMATORS: dict[str, Estimator] = {
    "random_forest": Estimator(
        "sklearn.ensemble:RandomForestClassifier", "sklearn.ensemble:RandomForestRegressor", {"n_jobs": -1}
    ),
    "extra_trees": Estimator(
        "sklearn.ensemble:ExtraTreesClassifier", "sklearn.ensemble:ExtraTreesRegressor", {"n_jobs": -1}
    ),
    "gradient_boosting": Estimator(
        "sklearn.ensemble:GradientBoostingClassifier", "sklearn.ensemble:GradientBoostingRegressor"
    ),
    "hist_gradient_boosting": Estimator(
        "sklearn.ensemble:HistGradientBoostingClassifier", "sklearn.ensemble:HistGradientBoostingRegressor"
    ),
    "logistic_regression": Estimator("sklearn.linear_model:LogisticRegression", None, {"max_iter": 1000}, scaled=True),
    "ridge": Estimator(None, "sklearn.linear_model:Ridge", scaled=True),
    "xgboost": Estimator(
        "xgboost:XGBClassifier", "xgboost:XGBRegressor", {"n_jobs": -1}, xgboost=True, group="xgboost"
    ),
}


def check_model(config: ModelConfig, dataset: DatasetConfig) -> None:
    """Check the estimator, its parameters and the options, within a second and without the data.

    Raises:
        ConfigError: naming the invalid key.
    """
    entry = find_estimator(config, dataset.task, ESTIMATORS, OWN_PACKAGE)
    estimator = build_estimator(entry, config, dataset)
    require_options(config, dataset, estimator.get_params(deep=False))
    require_weights(config, dataset, entry, ESTIMATORS)
    if ":" not in config.estimator:  # your own class may not accept synthetic rows
        require_valid_values(estimator, dataset)


def build_model(config: ModelConfig, dataset: DatasetConfig) -> Pipeline:
    """The unfitted model: your transformers, a scaler for estimators that need one, and the estimator.

    Raises:
        ConfigError: the estimator or its parameters are invalid.
    """
    entry = find_estimator(config, dataset.task, ESTIMATORS, OWN_PACKAGE)
    estimator = build_estimator(entry, config, dataset)
    steps = transformers(dataset)
    if entry.xgboost and not steps:
        # Drops the columns' names: XGBoost accepts few characters in them.
        steps = [("columns", ColumnTransformer([("all", "passthrough", list(range(len(dataset.features))))]))]
    if entry.xgboost and dataset.task == "classification":
        estimator = with_names(estimator)
    scale = [("scale", StandardScaler())] if entry.scaled else []
    return Pipeline([*steps, *scale, ("estimator", estimator)])


def fit(train: pd.DataFrame, config: ModelConfig, dataset: DatasetConfig, study: Study = Study()) -> Pipeline:  # noqa: B008 - frozen
    """The model fitted on the training rows; a classification's classes are names.

    Args:
        train: the columns of ``dataset``.
        config: the estimator, its parameters and the options.
        dataset: names the features, learned values included.
        study: the context of the training: the split, the gate's metric and where to report progress.

    Raises:
        ConfigError: the estimator cannot learn with these parameters.
        DataError: an option cannot be applied to the rows.
    """
    return fit_model(build_model(config, dataset), train, config, dataset, study)
