"""Models as MLflow's users save them, without the training pipeline. Importing this takes seconds."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

# Else MLflow finds the requirements out in a process of its own.
QUICKLY = {"pip_requirements": ["mlflow"]}
TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.Interval",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfBinomialLoss",
]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without MLflow's advice on how to log a model better."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def iris() -> tuple[pd.DataFrame, Any]:
    """The rows, with MLflow-unfriendly names such as "sepal length (cm)", and the flowers' names."""
    data = load_iris(as_frame=True)
    return data.data, data.target_names[data.target]


def passengers() -> pd.DataFrame:
    """120 rows of every type of column, each but ``fare`` with missing values."""
    rng = np.random.default_rng(7)
    rows = 120
    frame = pd.DataFrame(
        {
            "age": rng.integers(1, 80, rows).astype(float),
            "fare": rng.gamma(2.0, 20.0, rows),
            "siblings": pd.array(rng.integers(0, 5, rows), dtype="Int64"),
            "alone": rng.random(rows) < 0.5,
            "port": rng.choice(["Cherbourg", "Queenstown", "Southampton"], rows),
        }
    )
    frame["alone"] = frame["alone"].astype(object)
    for column in ("age", "siblings", "alone", "port"):
        frame.loc[rng.random(rows) < 0.2, column] = None
    return frame


def as_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Missing integers as NaN, as a model is given them."""
    return frame.astype({name: "float64" for name, kind in frame.dtypes.items() if kind == "Int64"})


def typed_pipeline(last: Any) -> Any:
    """An estimator on all columns of ``passengers``; scikit-learn's boosting takes missing values as they are."""
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["port"]), remainder="passthrough"
    )
    return make_pipeline(encode, last)


def save_sklearn(directory: Path, model: Any, frame: pd.DataFrame, **options: Any) -> None:
    """Save a fitted model with a signature inferred from a frame, and with an example of it."""
    with quietly():
        chosen = {
            "signature": infer_signature(frame, model.predict(as_numbers(frame))),
            "input_example": frame.head(5),
            "skops_trusted_types": TRUSTED,
            **QUICKLY,
            **options,
        }
        mlflow.sklearn.save_model(model, str(directory), **chosen)


def forest() -> tuple[Any, pd.DataFrame]:
    """Three classes on columns whose names are no identifiers."""
    rows, names = iris()
    return RandomForestClassifier(n_estimators=10, random_state=0).fit(rows, names), rows


def boosting() -> tuple[Any, pd.DataFrame]:
    """Three classes by a model that no ONNX graph follows."""
    rows, names = iris()
    return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(rows, names), rows


def typed_binary() -> tuple[Any, pd.DataFrame]:
    """Two classes, booleans, on columns of every type."""
    frame = passengers()
    survived = (frame["fare"] > 30).to_numpy()
    return typed_pipeline(HistGradientBoostingClassifier(max_iter=5)).fit(as_numbers(frame), survived), frame


def typed_regression() -> tuple[Any, pd.DataFrame]:
    """A number on columns of every type."""
    frame = passengers()
    fare = frame["fare"].to_numpy() * 2
    return typed_pipeline(HistGradientBoostingRegressor(max_iter=5)).fit(as_numbers(frame), fare), frame


with quietly():  # MLflow looks at the class when it is made

    class Function(mlflow.pyfunc.PythonModel):
        """Answers with what a function makes of the frame."""

        def __init__(self, function: Any) -> None:
            self._function = function

        # Without type hints: MLflow would take them for the model's signature.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002
            return self._function(model_input)


def save_function(directory: Path, function: Any, frame: pd.DataFrame, answers: Sequence[Any], **options: Any) -> None:
    """Save a Python model; its signature is inferred from the frame and these answers."""
    with quietly():
        chosen = {
            "signature": infer_signature(frame, np.asarray(answers)),
            "input_example": frame.head(2),
            **QUICKLY,
            **options,
        }
        mlflow.pyfunc.save_model(str(directory), python_model=Function(function), **chosen)
