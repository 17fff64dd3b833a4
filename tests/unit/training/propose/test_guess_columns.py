"""What a column is guessed to be, and why."""

from collections.abc import Sequence

import pandas as pd
import pytest

from src.training.propose.guess_columns import ColumnGuess, guess_columns

ROWS = 120


def guess(name: str, values: Sequence[object], decimal: str = ".") -> ColumnGuess:
    frame = pd.DataFrame({name: pd.Series([values[row % len(values)] for row in range(ROWS)])})
    (found,) = guess_columns(frame, decimal, [], None)
    return found


def distinct(form: str) -> list[str]:
    return [form.format(row) for row in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", "2", "-3e2"], "number"),
        (["1.0", "2.0"], "number"),
        (["1", "2", "-3", "+4"], "integer"),
        (["0", "1"], "integer"),
        (["true", "False"], "boolean"),
        (["yes", "NO", " yes "], "boolean"),
        (["y", "n"], "category"),
        (["red", "green", "blue"], "category"),
        (["007", "008", "123"], "category"),
        (["2024-01-31", "2024-02-01T10:00:00Z"], "date"),
        (["31.01.2024", "01.02.2024"], "ignore"),
        (["1/31/2024", "2/1/2024 10:00"], "ignore"),
        (["1,234.50", "1,000.00"], "ignore"),
        (["€ 1.234", "€ 1.000"], "ignore"),
        (["always"], "ignore"),
        (["", "NA", None], "ignore"),
        (["one two three four five six seven", "and quite some other words for the rest"], "ignore"),
        (["x" * 101, "y" * 101], "ignore"),
        ([True, False], "boolean"),
        ([1, 2, 3], "integer"),
        ([1.5, 2.0], "number"),
        ([1.0, 2.0], "number"),
        ([pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01T10:00")], "date"),
    ],
)
def test_type_is_guessed_from_the_cells(values: list[object], kind: str) -> None:
    assert guess("column", values).type == kind


def test_numbers_of_which_some_have_thousands_separators_are_to_be_checked() -> None:
    found = guess("price", ["976,00", *(f"{row}.875,00" for row in range(1, 9)), "12.500"], decimal=",")
    assert found.type == "ignore"
    assert found.check is not None
    assert "price: numbers with thousands separators or a unit, such as '" in found.check
    assert found.check.endswith("cannot be read; write them as 1234.5")
    assert guess("price", ["976,00", "12,5"]).check is None


def test_decimal_comma_is_read_as_configured() -> None:
    assert guess("size", ["1,5", "2,25"], decimal=",").type == "number"
    assert guess("size", ["1,5", "2,25"]).type == "category"


@pytest.mark.parametrize("text", ["", " ", "NA", "null", "n/a"])
def test_missing_cells_are_counted(text: str) -> None:
    found = guess("size", ["1", "2", text])
    assert (found.type, found.missing) == ("integer", 40)
    assert found.why == "1 to 2, 2 different; 33.3 % missing"


def test_missing_cells_of_a_typed_column_are_counted() -> None:
    assert guess("size", [1.5, float("nan"), 2.5]).missing == 40


def test_few_cells_that_are_not_numbers_are_mistakes() -> None:
    found = guess("size", [*distinct("{}.5")[:-6], *["?"] * 4, "n.a.", "n.a."])
    assert (found.type, found.strays, found.missing) == ("number", 6, 0)
    assert found.check == (
        "size: 6 cells are neither empty nor of this type: '?', 'n.a.'; dataset.invalid_rows counts them as missing"
    )
    assert guess("size", [*distinct("{}.5")[:-7], *["?"] * 7]).type != "number"


def test_few_cells_that_are_not_dates_are_mistakes() -> None:
    found = guess("born", ["2024-01-31"] * 60 + ["2023-05-01"] * 58 + ["soon"] * 2)
    assert (found.type, found.strays) == ("date", 2)
    assert found.why.startswith("2023-05-01 to 2024-01-31; 2 cells")


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("customerID", distinct("c{}"), "id"),
        ("CUSTOMER_ID", distinct("9{}7"), "id"),
        ("Kunden Nr", distinct("9{}7"), "id"),
        ("row", distinct("{}"), "id"),
        ("reference", distinct("ab-{}"), "id"),
        ("amount", distinct("9{}7"), "feature"),
        ("size", distinct("{}.5"), "feature"),
        ("first seen", [str(day.date()) for day in pd.date_range("2024-01-01", periods=ROWS)], "feature"),
        ("user id", [str(row % 60 * 7) for row in range(ROWS)], "group"),
        ("user id", [str(row % 50 * 7) for row in range(ROWS)], "feature"),
        ("width", [str(row % 60 * 7) for row in range(ROWS)], "feature"),
        ("created_at", ["2024-01-31", "2024-02-01"], "time"),
        ("Datum", ["2024-01-31", "2024-02-01"], "time"),
        ("applied_on", ["2024-01-31", "2024-02-01"], "time"),
        ("born", ["2024-01-31", "2024-02-01"], "feature"),
        ("created_at", ["red", "green"], "feature"),
    ],
)
def test_role_is_guessed_from_name_and_values(name: str, values: list[str], role: str) -> None:
    assert guess(name, values).role == role


def test_codes_that_name_few_things_are_categories() -> None:
    assert guess("product_id", ["17", "23", "99"]).type == "category"


def test_text_with_too_many_values_is_left_out() -> None:
    assert guess("city", [f"city of {row % 60}" for row in range(ROWS)]).type == "category"
    left_out = guess("city", [f"city of {row % 61}" for row in range(ROWS)])
    assert (left_out.type, left_out.role) == ("ignore", "feature")
    assert left_out.why == "61 different texts in 120 rows, such as 'city of 0'"


def test_up_to_200_values_are_a_category() -> None:
    def of(count: int) -> ColumnGuess:
        frame = pd.DataFrame({"city": [f"in {row % count}" for row in range(2 * count)]})
        return guess_columns(frame, ".", [], None)[0]

    assert (of(200).type, of(201).type) == ("category", "ignore")


def test_one_column_alone_has_a_role() -> None:
    frame = pd.DataFrame(
        {
            "order_id": distinct("a{}"),
            "row": distinct("{}"),
            "created_at": ["2024-01-31", "2024-02-01"] * 60,
            "updated_at": ["2024-01-31", "2024-02-01"] * 60,
            "user_id": [str(row % 60) for row in range(ROWS)],
            "shop_id": [str(row % 55) for row in range(ROWS)],
        }
    )
    found = {column.name: (column.role, column.type) for column in guess_columns(frame, ".", [], None)}
    assert found == {
        "order_id": ("id", "ignore"),
        "row": ("feature", "ignore"),
        "created_at": ("time", "date"),
        "updated_at": ("feature", "date"),
        "user_id": ("group", "ignore"),
        "shop_id": ("feature", "ignore"),
    }
    given = {column.name: column.role for column in guess_columns(frame, ".", ["row"], "updated_at")}
    assert {name for name, role in given.items() if role == "id"} == {"row"}
    assert {name for name, role in given.items() if role == "time"} == {"updated_at"}


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("user_id", [str(row % 60) for row in range(ROWS)], "ignore"),
        ("created_at", [f"2024-01-{row % 28 + 1:02}" for row in range(ROWS)], "date"),
    ],
)
def test_role_needs_a_value_in_every_row(name: str, values: list[str], kind: str) -> None:
    assert guess(name, values).role != "feature"
    for gap in ("", "later"):
        found = guess(name, [gap, *values[1:]])
        assert (found.role, found.type) == (("feature", kind) if gap == "" or name == "created_at" else ("group", kind))


def test_several_columns_may_be_given_as_the_id() -> None:
    frame = pd.DataFrame({"a": ["1", "2"], "b": ["x", "y"], "c": ["1.5", "2.5"]})
    assert [column.role for column in guess_columns(frame, ".", ["a", "b"], None)] == ["id", "id", "feature"]


def test_reason_has_counts_and_examples() -> None:
    assert guess("colour", ["red", "red", "green"]).why == "2 values: 'red' 66.7 %, 'green' 33.3 %"
    assert guess("letter", list("abcdefgh")).why.endswith(", …")
    assert guess("size", ["3", "12"]).why == "3 to 12, 2 different"
    assert guess("flag", ["0", "1", "1"]).check == (
        "flag: only 0 and 1; { type: boolean } where requests say true and false"
    )
    assert guess("grade", ["0", "1", "2"]).check is None
    assert guess("user id", [str(row % 60 * 7) for row in range(ROWS)]).why == "60 different values, 2.0 rows each"


@pytest.mark.parametrize("name", ["feature_0", "wind_number", "id", "key", "#"])
@pytest.mark.parametrize(("form", "decimal"), [("{}.5", "."), ("{},25", ",")])
def test_numbers_with_a_fraction_are_no_id_whatever_their_name(name: str, form: str, decimal: str) -> None:
    found = guess(name, distinct(form), decimal)
    assert (found.type, found.role, found.check) == ("number", "feature", None)


def test_one_fraction_is_enough_to_be_no_id() -> None:
    assert guess("key", [*distinct("{}1")[1:], "0.5"]).type == "number"


@pytest.mark.parametrize(
    ("form", "check"),
    [
        ("9{}7", "key: taken for an id, from which nothing is learned; if it is a quantity, { type: integer }"),
        ("c-{}", None),
    ],
)
def test_number_taken_for_an_id_is_to_be_checked(form: str, check: str | None) -> None:
    found = guess("key", distinct(form))
    assert (found.type, found.role, found.check) == ("ignore", "id", check)


def test_second_number_that_looks_like_an_id_is_to_be_checked_too() -> None:
    frame = pd.DataFrame({"a_key": distinct("9{}7"), "b_key": distinct("8{}3")})
    first, second = guess_columns(frame, ".", [], None)
    assert (first.role, second.role, second.type) == ("id", "feature", "ignore")
    assert second.check is not None
    assert second.check.startswith("b_key: taken for an id")
