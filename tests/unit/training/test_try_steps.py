"""A broken transformer is found on a sample of the training rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from src.core.errors import ConfigError, DataError
from src.training import try_steps as module
from src.training.try_steps import try_steps
from tests.support.training import config, iris_parts

DATASET = config().dataset
TRAIN = iris_parts()[0]


class Own(TransformerMixin, BaseEstimator):
    """An adopter's transformer with a configurable transform."""

    def __init__(self, function: Callable[[pd.DataFrame], Any]) -> None:
        self.function = function

    def fit(self, *_: object) -> "Own":
        return self

    def transform(self, rows: pd.DataFrame) -> Any:
        return self.function(rows)


def tried(*steps: Any) -> None:
    named = [(f"step {index}", step) for index, step in enumerate(steps)]
    try_steps(lambda _: Pipeline([*named, ("estimator", LogisticRegression())]), TRAIN, DATASET)


def test_steps_that_return_numbers_pass() -> None:
    tried()
    tried(StandardScaler())
    tried(Own(lambda rows: rows.assign(area=rows["sepal_length"] * rows["sepal_width"])), StandardScaler())
    tried(Own(lambda rows: rows.assign(gap=np.nan, flag=pd.Series([None, True] * 60)[: len(rows)].to_numpy())))
    tried(OneHotEncoder(), Own(lambda rows: rows))
    tried(Own(lambda rows: rows.astype("category")))


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (
            lambda rows: rows["sepal_lenght"],
            r"the step 'step 0' \(Own\) fails on 104 training rows: KeyError: 'sepal_lenght'",
        ),
        (lambda rows: rows[:-1], "the last step before the estimator fails .* it returns 103 rows for 104"),
        (lambda rows: rows.assign(a="big"), "the last step before the estimator fails .* could not convert string"),
        (lambda rows: rows.astype(str).to_numpy(dtype=object) + "x", "could not convert string"),
    ],
)
def test_step_that_fails_is_named(function: Callable[[pd.DataFrame], Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"src/pipeline/features.py: .*{problem}"):
        tried(Own(function))


def test_error_has_the_line_of_the_adopter_s_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OWN_FOLDER", module.Path(__file__).parent)
    with pytest.raises(ConfigError, match=r"KeyError: 'x' \(test_try_steps.py, line \d+\)$"):
        tried(Own(lambda rows: rows["x"]))


def test_model_that_cannot_be_built_is_reported() -> None:
    def broken(_: object) -> Pipeline:
        raise AttributeError("no such thing")

    with pytest.raises(
        ConfigError, match=r"features.py: transformers\(\) fails on 104 .*AttributeError: no such thing"
    ):
        try_steps(broken, TRAIN, DATASET)

    def refused(_: object) -> Pipeline:
        raise DataError("as it is")

    with pytest.raises(DataError, match=r"^as it is$"):
        try_steps(refused, TRAIN, DATASET)


def test_sample_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_ROWS", 10)
    seen: list[int] = []

    def count(rows: pd.DataFrame) -> pd.DataFrame:
        seen.append(len(rows))
        return rows

    tried(Own(count))
    assert seen == [10]
