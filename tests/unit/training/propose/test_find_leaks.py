"""Columns that give the target away are named."""

import pandas as pd
import pytest

from src.training.propose.find_leaks import find_leaks
from src.training.propose.guess_columns import guess_columns

LINE = "{}: determines the target; is it known when a prediction is made?"


def leaks(columns: dict[str, list[str]], target: list[str], *, is_number: bool, decimal: str = ".") -> list[str]:
    features = pd.DataFrame(columns)
    guesses = guess_columns(features, decimal, [], None)
    return find_leaks(features.assign(y=target), "y", guesses, is_number=is_number, decimal=decimal)


def test_column_of_which_each_value_has_one_class_is_named() -> None:
    target = ["yes", "no", "no", "yes"] * 10
    columns = {
        "closed": ["a", "b", "c", "a"] * 10,
        "region": ["a", "b", "c", "b"] * 10,
        "code": ["1", "2", "2", "1"] * 10,
        "gaps": ["a", "", "c", "a"] * 10,
    }
    assert leaks(columns, target, is_number=False) == [LINE.format(name) for name in ("closed", "code", "gaps")]


def test_column_with_only_one_class_beside_it_is_none() -> None:
    assert leaks({"seldom": ["a", "b", "", "", ""] * 10}, ["no", "no", "no", "yes", "yes"] * 10, is_number=False) == []


def test_column_with_very_many_values_is_none() -> None:
    def of(count: int, times: int) -> list[str]:
        values = [f"{row}.5" for row in range(count)] * times
        return leaks({"size": values}, ["yes", "no"] * (count // 2) * times, is_number=False)

    assert of(200, 2) == [LINE.format("size")]
    assert of(202, 2) == []
    # A value that occurs in one row determines nothing.
    assert of(200, 1) == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([2 * row + 1.0 for row in range(50)], True),
        ([-row / 3 for row in range(50)], True),
        ([row**2 / 1.0 for row in range(50)], False),
        ([0.0, *[1.0 + row for row in range(49)][::-1]], False),
    ],
)
def test_number_that_follows_a_numeric_target_is_named(values: list[float], *, found: bool) -> None:
    columns = {"tax": [str(value) for value in values], "colour": ["a", "b"] * 25}
    target = [str(float(row)) for row in range(50)]
    assert leaks(columns, target, is_number=True) == ([LINE.format("tax")] if found else [])


def test_decimal_commas_are_read() -> None:
    columns = {"tax": [f"{row},5" for row in range(50)]}
    assert leaks(columns, [f"{row},25" for row in range(50)], is_number=True, decimal=",") == [LINE.format("tax")]


def test_left_out_columns_are_not_looked_at() -> None:
    assert leaks({"id": [str(row) for row in range(50)]}, [str(float(row)) for row in range(50)], is_number=True) == []


def test_two_common_rows_are_no_evidence() -> None:
    columns = {"size": ["1.5", "2.5", *[""] * 48]}
    assert leaks(columns, [str(float(row)) for row in range(50)], is_number=True) == []
