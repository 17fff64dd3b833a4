import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import BooleanFeature, CategoryFeature, Feature, NumberFeature
from src.training.check_columns import check_feature, check_target, missing_texts
from tests.support.training import config

NUMBER = NumberFeature(minimum=0, maximum=10)
OPTIONAL_NUMBER = NumberFeature(minimum=0, maximum=10, missing=True)
BOOLEAN = BooleanFeature(type="boolean")
OPTIONAL_BOOLEAN = BooleanFeature(type="boolean", missing=True)
COLOUR = CategoryFeature(type="category", values=["red", "NA"])
OPTIONAL_COLOUR = CategoryFeature(type="category", values=["red", "NA"], missing=True)


def checked(values: list[str | None], feature: Feature) -> tuple[pd.Series, list[str]]:
    problems: list[str] = []
    return check_feature(pd.Series(values, dtype="str"), "x", feature, problems), problems


@pytest.mark.parametrize(
    ("values", "feature", "expected", "dtype"),
    [
        (["1", "2.5"], NUMBER, [1.0, 2.5], "float64"),
        (["1", None], OPTIONAL_NUMBER, [1.0, None], "float64"),
        (["True", "false", "YES", "no", "1", "0"], BOOLEAN, [True, False, True, False, True, False], "bool"),
        (["true", None], OPTIONAL_BOOLEAN, [True, None], "object"),
        (["true", "false"], OPTIONAL_BOOLEAN, [True, False], "bool"),
        (["red", "NA"], COLOUR, ["red", "NA"], "object"),
        (["red", None], OPTIONAL_COLOUR, ["red", None], "object"),
    ],
)
def test_values_become_what_the_configuration_says(
    values: list[str | None], feature: Feature, expected: list[object], dtype: str
) -> None:
    found, problems = checked(values, feature)
    assert problems == []
    assert found.dtype == dtype
    assert [None if pd.isna(value) else value for value in found.tolist()] == expected


@pytest.mark.parametrize(
    ("values", "feature", "told"),
    [
        (["1", None], NUMBER, "x: missing: 1 row (2)"),
        (["x", "11"], OPTIONAL_NUMBER, "x: not a number: 1 row (1)"),
        (["true", None], BOOLEAN, "x: missing: 1 row (2)"),
        (["true", "maybe", "2"], OPTIONAL_BOOLEAN, "x: not true or false: 2 rows (2, 3)"),
        (["red", None], COLOUR, "x: missing: 1 row (2)"),
        (["red", "Red", "blue"], COLOUR, "x: not one of dataset.features.x.values ('Red', 'blue'): 2 rows (2, 3)"),
        ([None, None], OPTIONAL_NUMBER, "x: no row has a value"),
    ],
)
def test_what_is_wrong_is_told_with_its_rows(values: list[str | None], feature: Feature, told: str) -> None:
    assert told in checked(values, feature)[1]


def test_target_of_a_regression_is_a_number_in_its_range() -> None:
    dataset = config(
        dataset={"classes": None, "min_rows_per_class": None, "target_range": {"minimum": 0.0, "maximum": 5.0}},
        gate={"metric": "r2"},
    ).dataset
    problems: list[str] = []
    found = check_target(pd.Series(["1", "9", None, "x"], dtype="str"), dataset, problems)
    assert found.dtype == np.float64
    assert problems == [
        "species: missing: 1 row (3)",
        "species: not a number: 1 row (4)",
        "species: outside 0 to 5: 1 row (2)",
    ]


def test_a_text_that_is_a_name_in_the_configuration_is_not_missing() -> None:
    dataset = config(dataset={"classes": ["None", "some"], "features": {"a": COLOUR, "b": NUMBER}}).dataset
    texts = missing_texts(dataset)
    assert ["NA" in texts["a"], "NA" in texts["b"], "None" in texts["species"], "None" in texts["b"]] == [
        False,
        True,
        False,
        True,
    ]
