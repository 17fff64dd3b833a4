"""YOURS: how the columns of the data set become the numbers that the estimator learns from.

Add a transformer as one more step of ``transformers``. It is fitted on the training rows, registered with the model
and runs on every request. Scikit-learn's transformers run on ONNX where a converter exists. A class of your own runs
through pyfunc, and only from the copy of ``src/pipeline`` in the serving image. For example, in
``src/pipeline/area.py``::

    from sklearn.base import BaseEstimator, TransformerMixin

    class PricePerArea(TransformerMixin, BaseEstimator):
        def fit(self, rows, target=None):
            return self

        def transform(self, rows):  # rows: the data set's feature columns, a pandas DataFrame
            return rows.assign(per_area=rows["price"] / rows["area"])

and here, before the columns step, ``[("per_area", PricePerArea()), *steps]``.
"""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from src.core.dataset_config import CategoryFeature, DatasetConfig


def transformers(dataset: DatasetConfig) -> list[tuple[str, TransformerMixin]]:
    """The unfitted steps before the estimator, by name and in order.

    The first step gets the feature columns as a DataFrame; the last one must return numbers.
    """
    columns = columns_step(dataset)
    return [("columns", columns)] if columns else []


def columns_step(dataset: DatasetConfig) -> ColumnTransformer | None:
    """A transformer that one-hot encodes categories and replaces missing numbers by the column's median.

    None where all columns are numbers without missing values.
    """
    # Columns by position: ONNX renames columns whose names are not Python identifiers.
    features = list(enumerate(dataset.features.values()))
    categories = {index: feature.values for index, feature in features if isinstance(feature, CategoryFeature)}
    numbers = [index for index, _ in features if index not in categories]
    if not categories and not any(feature.missing for _, feature in features):
        return None
    # A missing or unknown category is encoded as zeros.
    one_hot = OneHotEncoder(
        categories=[np.array(values, dtype=object) for values in categories.values()],
        handle_unknown="ignore",
        sparse_output=False,
    )
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    steps = (("numbers", median, numbers), ("categories", one_hot, list(categories)))
    # Numeric columns added by your own transformers pass through unchanged.
    return ColumnTransformer([step for step in steps if step[2]], remainder="passthrough")
