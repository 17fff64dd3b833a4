import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import (
    BooleanFeature,
    CategoryFeature,
    DatasetConfig,
    DateFeature,
    Feature,
    IntegerFeature,
    NumberFeature,
)
from src.training.check_columns import Column, check_columns, check_extra, check_feature, check_target
from tests.support.training import config

NUMBER = NumberFeature(minimum=0, maximum=10)
OPTIONAL_NUMBER = NumberFeature(minimum=0, maximum=10, missing=True)
INTEGER = IntegerFeature(type="integer")
OPTIONAL_INTEGER = IntegerFeature(type="integer", missing=True)
BOOLEAN = BooleanFeature(type="boolean")
OPTIONAL_BOOLEAN = BooleanFeature(type="boolean", missing=True)
COLOUR = CategoryFeature(type="category", values=["red", "NA"])
OPTIONAL_COLOUR = CategoryFeature(type="category", values=["red", "NA"], missing=True)
ANY_COLOUR = CategoryFeature(type="category", missing=True)
DATE = DateFeature(type="date")
OPTIONAL_DATE = DateFeature(type="date", missing=True)
DATASET = config().dataset
COMMAS = config(dataset={"csv": {"decimal": ","}}).dataset


def problems_of(column: Column) -> dict[str, list[int]]:
    """What is wrong, with the positions of the rows."""
    return {
        problem.what + problem.examples: np.flatnonzero(problem.rows).tolist()
        for problem in column.problems
        if problem.rows.any()
    }


def values_of(column: Column) -> list[Any]:
    found = column.finished(np.ones(len(column.cells.values), dtype=bool))
    return [None if pd.isna(value) else value for value in found.tolist()]


def checked(values: list[Any], feature: Feature, dataset: DatasetConfig = DATASET) -> Column:
    dtype = "str" if all(isinstance(value, str) for value in values) else object
    return check_feature(pd.Series(values, dtype=dtype), "x", feature, dataset)


@pytest.mark.parametrize(
    ("values", "feature", "expected", "dtype"),
    [
        (["1", " 2.5 "], NUMBER, [1.0, 2.5], "float64"),
        (["1", "", " NA"], OPTIONAL_NUMBER, [1.0, None, None], "float64"),
        (["0", "10"], NUMBER, [0.0, 10.0], "float64"),
        (["3", "3.0", "-9223372036854775808"], INTEGER, [3, 3, -(2**63)], "int64"),
        (["9007199254740991", ""], OPTIONAL_INTEGER, [2.0**53 - 1, None], "float64"),
        (["True", "false", " YES", "no", "1", "0"], BOOLEAN, [True, False, True, False, True, False], "bool"),
        (["true", ""], OPTIONAL_BOOLEAN, [True, None], "object"),
        (["true", "false"], OPTIONAL_BOOLEAN, [True, False], "bool"),
        (["red", " NA "], COLOUR, ["red", "NA"], "object"),
        (["red", "null"], OPTIONAL_COLOUR, ["red", None], "object"),
        ([" 007", "NA", "b c"], ANY_COLOUR, ["007", None, "b c"], "object"),
        (["1970-01-02", "1970-01-02T12:00:00Z"], DATE, [1.0, 1.5], "float64"),
        (["1970-01-02", "n/a"], OPTIONAL_DATE, [1.0, None], "float64"),
    ],
)
def test_text_becomes_what_the_configuration_says(
    values: list[str], feature: Feature, expected: list[object], dtype: str
) -> None:
    column = checked(values, feature)
    assert problems_of(column) == {}
    assert values_of(column) == expected
    assert column.finished(np.ones(len(values), dtype=bool)).dtype == dtype


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (["1", "", "NA"], NUMBER, {"missing": [1, 2]}),
        (["x", "11", "-0.1", ""], OPTIONAL_NUMBER, {"not a finite number": [0], "outside 0 to 10": [1, 2]}),
        (["inf", "1e999", "1_0", "0x1"], NUMBER, {"not a finite number": [0, 1, 2, 3]}),
        (["1e39"], NumberFeature(), {"outside -3.40282e+38 to 3.40282e+38": [0]}),
        (["2.5", "9223372036854775808", "7"], INTEGER, {"not a whole number of 64 bits": [0, 1]}),
        (
            ["9007199254740993", "-9007199254740993", "1"],
            OPTIONAL_INTEGER,
            {"of 2^53 or more, where a column with missing values is not exact": [0, 1]},
        ),
        (["1", "5"], IntegerFeature(type="integer", minimum=2), {"outside 2 to 3.40282e+38": [0]}),
        (["5", ""], IntegerFeature(type="integer", minimum=2, missing=True), {}),
        (["5", "x", ""], NumberFeature(minimum=2, missing=True), {"not a finite number": [1]}),
        (["true", ""], BOOLEAN, {"missing": [1]}),
        (["true", "maybe", "2"], OPTIONAL_BOOLEAN, {"not true or false": [1, 2]}),
        (["red", ""], COLOUR, {"missing": [1]}),
        (["red", "Red", "blue"], COLOUR, {"not one of dataset.features.x.values ('Red', 'blue')": [1, 2]}),
        (
            ["d", "c" * 41, "b", "b", "a", "red", "NA"],
            COLOUR,
            {f"not one of dataset.features.x.values ('a', 'b', '{'c' * 40}')": [0, 1, 2, 3, 4]},
        ),
        (
            ["2026-02-30", "31.01.2026", "20260131", "1970-01-01"],
            DATE,
            {"not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z": [0, 1, 2]},
        ),
    ],
)
def test_what_is_wrong_is_reported_with_its_rows(
    values: list[str], feature: Feature, message: dict[str, list[int]]
) -> None:
    assert problems_of(checked(values, feature)) == message


def test_wrong_cells_become_missing_values() -> None:
    assert values_of(checked(["x", "11", "1"], OPTIONAL_NUMBER)) == [None, None, 1.0]
    assert values_of(checked(["blue", "red"], OPTIONAL_COLOUR)) == [None, "red"]


def test_decimal_commas_are_read_where_configured_and_named_where_not() -> None:
    assert values_of(checked(["1,5", "2", "-0,25"], NumberFeature(), COMMAS)) == [1.5, 2.0, -0.25]
    assert list(problems_of(checked(["1,5", "2,5", "x"], NumberFeature()))) == [
        "not a finite number (set dataset.csv.decimal: ','?)"
    ]
    assert list(problems_of(checked(["1.5", "1"], NumberFeature(), COMMAS))) == [
        "not a finite number (set dataset.csv.decimal: '.'?)"
    ]
    assert list(problems_of(checked(["1,5", "x"], NumberFeature()))) == ["not a finite number"]


def test_target_of_a_regression_is_a_number_in_its_range() -> None:
    dataset = config(
        dataset={"classes": None, "min_rows_per_class": None, "target_range": {"minimum": 0.0, "maximum": 5.0}},
        gate={"metric": "r2"},
    ).dataset
    column = check_target(pd.Series(["1", "9", "", "x"], dtype="str"), dataset)
    assert problems_of(column) == {"missing": [2], "not a finite number": [3], "outside 0 to 5": [1]}
    with_commas = dataset.model_copy(update={"csv": COMMAS.csv})
    assert values_of(check_target(pd.Series(["1,5"], dtype="str"), with_commas)) == [1.5]


def target(values: list[Any], *classes: str) -> Column:
    return check_target(pd.Series(values, dtype=object), config(dataset={"classes": list(classes)}).dataset)


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ([1, 0], ("0", "1"), ["1", "0"]),
        ([1.0, 0.0], ("0", "1"), ["1", "0"]),
        ([True, False], ("0", "1"), ["1", "0"]),
        ([True, False], ("no", "yes"), ["yes", "no"]),
        ([True, False], ("True", "False"), ["True", "False"]),
        (["None", " some"], ("None", "some"), ["None", "some"]),
    ],
)
def test_classes_may_come_as_numbers_and_booleans(
    values: list[Any], classes: tuple[str, ...], expected: list[str]
) -> None:
    column = target(values, *classes)
    assert (problems_of(column), values_of(column)) == ({}, expected)


def test_unknown_and_missing_classes_are_reported() -> None:
    column = target(["a", "None", 3, True], "a", "b")
    assert problems_of(column) == {"missing": [1], "not one of dataset.classes ('3', 'true')": [2, 3]}


def test_configured_name_that_no_row_has_is_reported_with_the_one_that_was_meant() -> None:
    column = check_target(pd.Series(["setosa", "virginca", "versicolor"], dtype="str"), DATASET)
    problem = "not one of dataset.classes ('virginca'; no row has 'virginica': did you mean 'virginca'?)"
    assert problems_of(column) == {problem: [1]}
    column = checked(["gren", "red"], CategoryFeature(type="category", values=["red", "green", "blue"]))
    problem = "not one of dataset.features.x.values ('gren'; no row has 'green': did you mean 'gren'?)"
    assert problems_of(column) == {problem: [0]}


EXTRA = config(dataset={"id": ["key"], "time": "at", "group": "who"}).dataset


def test_ids_and_groups_are_text_and_may_not_be_missing() -> None:
    key = check_extra(pd.Series([7, 8.0, "009", None], dtype=object), "key", EXTRA)
    assert values_of(key) == ["7", "8", "009", None]
    assert problems_of(key) == {"missing": [3]}
    assert problems_of(check_extra(pd.Series(["a", "NA"]), "who", EXTRA)) == {"missing": [1]}


def test_time_is_days_or_a_number_but_not_both() -> None:
    assert values_of(check_extra(pd.Series(["1970-01-03", "1970-01-01T06:00"]), "at", EXTRA)) == [2.0, 0.25]
    assert values_of(check_extra(pd.Series(["1700000000", "5.5"]), "at", EXTRA)) == [1700000000.0, 5.5]
    with_commas = EXTRA.model_copy(update={"csv": COMMAS.csv})
    assert values_of(check_extra(pd.Series(["1700000000", "5,5"]), "at", with_commas)) == [1700000000.0, 5.5]
    assert problems_of(check_extra(pd.Series(["1970-01-03", "5", ""]), "at", EXTRA)) == {
        "missing": [2],
        "not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z": [1],
    }
    assert problems_of(check_extra(pd.Series(["soon", "", "2"]), "at", EXTRA)) == {
        "missing": [1],
        "not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z, nor a number": [0],
    }


def test_all_columns_are_checked_in_the_data_set_s_order() -> None:
    names = ["species", "who", *DATASET.features, "at", "key"]
    raw = pd.DataFrame({name: ["1"] for name in names})
    columns = check_columns(raw, EXTRA)
    assert [column.name for column in columns] == list(EXTRA.columns)
    assert list(problems_of(columns[4])) == ["not one of dataset.classes ('1')"]
    assert math.isclose(columns[-2].cells.values[0], 1.0)


def test_feature_that_identifies_or_dates_a_row_may_not_be_missing() -> None:
    features = {name: {"missing": True} for name in ("key", "x")} | {"at": {"type": "date", "missing": True}}
    dataset = config(dataset={"features": features, "id": ["key"], "time": "at"}).dataset
    raw = pd.DataFrame({"key": ["", "1"], "x": ["", "1"], "at": ["", "2026-01-01"], "species": ["setosa", "setosa"]})
    assert [problems_of(column) for column in check_columns(raw, dataset)] == [
        {"missing": [0]},
        {},
        {"missing": [0]},
        {},
    ]
