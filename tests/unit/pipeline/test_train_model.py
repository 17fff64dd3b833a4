import pandas as pd
import pytest

from src.core.errors import DataError
from src.pipeline.train_model import fit, split
from tests.support.training import config, iris_parts


def test_split_keeps_the_classes_shares_and_every_row() -> None:
    train, holdout = iris_parts()
    assert holdout["species"].value_counts().to_dict() == {"setosa": 15, "versicolor": 15, "virginica": 15}
    assert len(train) + len(holdout) == 149
    assert pd.concat([train, holdout]).duplicated().sum() == 0


def test_split_follows_its_seed() -> None:
    frame = pd.concat(iris_parts(), ignore_index=True)
    settings = config().split
    again = [split(frame, "species", settings)[1] for _ in range(2)]
    other = split(frame, "species", settings.model_copy(update={"seed": 1}))[1]
    assert again[0].equals(again[1])
    assert not again[0].equals(other)


def test_split_says_when_there_are_too_few_rows() -> None:
    few = iris_parts()[0].groupby("species").head(2)
    with pytest.raises(DataError, match=r"cannot be split.*change split\.holdout_fraction"):
        split(few, "species", config(split={"holdout_fraction": 0.2}).split)


def test_fit_uses_the_configured_parameters_and_class_names() -> None:
    settings = config(model={"n_estimators": 7, "max_depth": 2, "min_samples_leaf": 3, "random_state": 5}).model
    model = fit(iris_parts()[0], "species", settings)
    assert model[-1].get_params() | settings.model_dump() == model[-1].get_params()
    assert [type(name) for name in model.classes_] == [str, str, str]
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert list(model.feature_names_in_) == list(config().dataset.features)
