"""What kind of target a column is, which metric fits it, and when nothing can be learned."""

from typing import Any

import pandas as pd
import pytest

from src.core.errors import ConfigError, DataError
from src.training.propose.guess_target import TargetGuess, guess_target, require_column


def of(values: list[Any], decimal: str = ".") -> TargetGuess:
    return guess_target(pd.Series(values, name="churn?"), decimal)


def counted(**counts: int) -> list[Any]:
    return [name for name, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "metric", "positive"),
    [
        ({"no": 60, "yes": 40}, "accuracy", "yes"),
        ({"no": 61, "yes": 39}, "f1_macro", "yes"),
        ({"no": 80, "yes": 20}, "f1_macro", "yes"),
        ({"no": 81, "yes": 19}, "average_precision", "yes"),
        ({"no": 10, "yes": 90}, "average_precision", "no"),
        ({"a": 40, "b": 40, "c": 40}, "f1_macro", None),
        ({"a": 400, "b": 40, "c": 40}, "f1_macro", None),
    ],
)
def test_metric_follows_the_balance_of_the_classes(counts: dict[str, int], metric: str, positive: str | None) -> None:
    found = of(counted(**counts))
    assert (found.metric, found.positive, found.tolerance) == (metric, positive, 0.01)
    assert found.classes == sorted(counts)


@pytest.mark.parametrize(("smallest", "least"), [(10, 5), (39, 19), (40, 20), (80, 20)])
def test_least_number_of_rows_leaves_room_below_the_smallest_class(smallest: int, least: int) -> None:
    assert of(counted(no=100, yes=smallest)).least_rows == least


def test_reason_has_the_shares_of_the_classes() -> None:
    assert of(counted(no=75, yes=25)).why == "'no' 75.0 %, 'yes' 25.0 %"


def test_two_numbers_are_classes_and_ten_whole_ones_too() -> None:
    assert of(["0.5", "1.5"] * 20).classes == ["0.5", "1.5"]
    assert of([0, 1] * 20).classes == ["0", "1"]
    ten = of([str(number) for number in range(10)] * 10)
    assert ten.classes is not None
    assert ten.check == "churn?: 10 numbers, taken for classes; for a regression give target_range instead of classes"
    assert of([str(number) for number in range(11)] * 10).classes is None
    assert of(["0.5", "1.5", "2.5"] * 20).classes is None
    assert of([*["0", "1", "2"] * 20, *["3"] * 9]).classes is None
    assert of([*["0", "1", "2"] * 20, *["3"] * 10]).classes is not None


def test_classes_that_differ_in_case_are_doubtful() -> None:
    assert of(counted(no=40, yes=40, Yes=20)).check == "churn?: some classes differ only in upper and lower case"
    assert of(counted(no=40, yes=40)).check is None


def test_numbers_are_a_regression() -> None:
    found = of([str(10 + number / 4) for number in range(100)])
    assert (found.classes, found.positive, found.least_rows) == (None, None, None)
    assert (found.metric, found.tolerance, found.why) == ("r2", 0.01, "10 to 34.75, median 22.375")


def test_decimal_commas_are_a_regression() -> None:
    assert of([f"{number},5" for number in range(100)], ",").classes is None


def test_heavy_tail_is_judged_by_absolute_errors() -> None:
    values: list[Any] = [float(number) for number in range(100)]
    assert of([*values, 540.0]).metric == "r2"
    found = of([*values, 560.0])
    assert found.metric == "neg_mean_absolute_error"
    # A hundredth of the mean distance from the median, of 30.
    assert found.tolerance == 0.3


def test_rows_without_a_usable_target_are_counted() -> None:
    assert of([*counted(no=50, yes=40), "", None]).unusable == 2
    assert of([*[str(n + 0.5) for n in range(98)], "?", ""]).unusable == 2


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["yes", "no"] * 14, "28 rows have a target; at least 30 are needed"),
        (["yes"] * 50, "'churn\\?' is 'yes' in every row"),
        ([f"text {row}" for row in range(50)], "another text in every row, such as 'text 0'"),
        ([f"text {row % 101}" for row in range(2020)], "has 101 classes; at most 100 can be learned"),
        (counted(no=50, yes=40, maybe=9), "fewer than 10 rows: 'maybe' 9; collect more rows"),
        (counted(no=50, a=1, b=2, c=3, d=4, e=5, f=6), "'f' 6, 'e' 5, 'd' 4, 'c' 3, 'b' 2, …"),
        ([*["yes", "no"] * 25, *[""] * 51], "'churn\\?' is missing in 50.5 % of the rows"),
        (["x" * 101, "y"] * 20, "over 100 characters"),
    ],
)
def test_target_that_cannot_be_learned_is_refused_with_the_reason(values: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        of(values)


def test_target_at_the_limits_is_accepted() -> None:
    assert of(["yes", "no"] * 15).classes == ["no", "yes"]
    assert of([*["yes", "no"] * 25, *[""] * 50]).unusable == 50
    assert len(of([f"text {row % 100}" for row in range(1000)]).classes or []) == 100
    assert of(counted(no=50, yes=10)).classes == ["no", "yes"]
    assert of(["x" * 100, "y"] * 20).classes == ["x" * 100, "y"]


def test_missing_column_is_refused_with_what_was_meant() -> None:
    require_column("Churn?", ["age", "Churn?"], "TARGET")
    with pytest.raises(ConfigError, match=r"TARGET: there is no column 'Churn'; did you mean 'Churn\?'\?"):
        require_column("Churn", ["age", "Churn?"], "TARGET")
    with pytest.raises(ConfigError, match=r"did you mean 'AGE'\?"):
        require_column("age", ["AGE", "Churn?"], "ID")
    with pytest.raises(ConfigError, match=r"no column 'salary'; the columns are age, Churn\?$"):
        require_column("salary", ["age", "Churn?"], "TARGET")


def test_class_that_counts_as_missing_is_reported() -> None:
    guess = of([*["None"] * 20, *["apnea", "insomnia"] * 20])
    assert guess.classes == ["apnea", "insomnia"]
    assert guess.check == (
        "churn?: 'None' in 20 cells counts as missing, and these rows are not used; to keep it as a class, add it to "
        "classes"
    )
    with pytest.raises(
        DataError, match=r"missing in 60.0 % of the rows \('None' in 60 cells counts as missing; to make"
    ):
        of([*["None"] * 60, *["apnea", "insomnia"] * 20])
