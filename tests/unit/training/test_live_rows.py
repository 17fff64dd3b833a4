"""The column with the time of prediction is no input of a model, and changes nothing that is registered with one."""

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import FEEDBACK_TIME
from src.pipeline import train_model
from src.training.describe_data import describe_columns
from src.training.folds import folds_of
from src.training.learned_columns import learn_columns
from src.training.live_rows import are_live, source_rows
from src.training.package_model import build_package
from tests.support.training import config, iris_parts, iris_rule

pytestmark = pytest.mark.slow


def timed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows, of which every third is a labelled live one."""
    return frame.assign(**{FEEDBACK_TIME: np.where(np.arange(len(frame)) % 3 == 0, 20_000.0, np.nan)})


def test_live_rows_are_those_with_a_time() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3], FEEDBACK_TIME: [np.nan, 0.0, 20_000.5]}, index=[7, 8, 9])
    assert are_live(frame).tolist() == [False, True, True]
    assert source_rows(frame).index.tolist() == [7]
    assert are_live(frame[["x"]]).tolist() == [False] * 3


def test_model_that_learns_from_live_rows_of_weight_one_is_registered_as_the_same() -> None:
    train, holdout = iris_parts()
    learning = config(dataset={"feedback": {"use": True}}).dataset
    packages = []
    for rows, held, dataset in ((train, holdout, config().dataset), (timed(train), timed(holdout), learning)):
        known = learn_columns(rows, dataset)
        model = train_model.fit(rows, config().model, known)
        assert FEEDBACK_TIME not in model.feature_names_in_
        packages.append(build_package(model, rows, held, known, iris_rule()))
    plain, live = packages
    assert live.schema == plain.schema
    assert (live.golden, live.drift, live.parity) == (plain.golden, plain.drift, plain.parity)
    assert live.example.equals(plain.example)


def test_folds_and_the_description_of_the_data_are_the_same() -> None:
    train, _ = iris_parts()
    dataset = config().dataset
    pairs = zip(
        folds_of(train, dataset, "hash", 3, each_row_once=True),
        folds_of(timed(train), dataset, "hash", 3, each_row_once=True),
        strict=True,
    )
    assert all(np.array_equal(one, other) for found in pairs for one, other in zip(*found, strict=True))
    assert describe_columns(timed(train), dataset) == describe_columns(train, dataset)
