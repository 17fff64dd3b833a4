"""The rules for cells in training and in serving."""

import io
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.core.column_rules import (
    BOOLEAN_TEXTS,
    FIRST_DAY,
    LAST_DAY,
    boolean_of,
    category_of,
    date_text,
    days_of,
    days_of_moment,
    integer_of,
    is_missing,
    number_of,
    shown,
)
from src.core.feature_schema import Column, ColumnType

COLUMNS = {kind: Column("x", kind) for kind in ColumnType}
NUMBER_LIKE = st.text(alphabet="0123456789.eE+-_ xn", max_size=12)
MOMENTS = st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-5, minutes=-30))))


PLAIN_GAPS = ["", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
OTHER_GAPS = ["#N/A N/A", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]


@pytest.mark.parametrize("text", [*PLAIN_GAPS, *OTHER_GAPS])
def test_missing_texts_are_those_of_pandas(text: str) -> None:
    read = pd.read_csv(io.StringIO(f'x,y\n"{text}",1\n"b",2\n'))
    assert read["x"].isna().tolist() == [True, False]
    assert is_missing(text)


@pytest.mark.parametrize("text", ["na", "NONE", "null ", "-", "?", "0", "NaT", "missing", " "])
def test_other_texts_are_not_missing(text: str) -> None:
    assert not is_missing(text)


def test_category_is_a_value_though_it_reads_like_a_missing_one() -> None:
    assert is_missing("NA", ["None"])
    assert not is_missing("NA", ["NA"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("-0", -0.0),
        ("+1.50", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1e-999", 0.0),
        ("00012", 12.0),
        ("1.7976931348623157e308", 1.7976931348623157e308),
    ],
)
def test_number_in_decimal_notation(text: str, value: float) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize(
    "text",
    sorted(
        {"", ".", "e3", "1e", "1e+", "1.2.3", "1,5", "1_000", "1 000", " 1", "1 ", "1\n", "٣", "¹", "0x10", "1f"}
        | {"inf", "-Infinity", "nan", "1e999", "-1e999", "9" * 400, "true", "--1", "+-1"}
    ),
)
def test_no_number(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize(("text", "value"), [("1,5", 1.5), ("-,5", -0.5), ("3", 3.0), ("1,5e2", 150.0)])
def test_number_with_a_decimal_comma(text: str, value: float) -> None:
    assert number_of(text, ",") == value


@pytest.mark.parametrize("text", ["1.5", "1.000,5", "1,000,5", ","])
def test_point_is_no_decimal_comma(text: str) -> None:
    assert number_of(text, ",") is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_reads_as_python_writes_it(value: float) -> None:
    found = number_of(repr(value))
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)


@given(NUMBER_LIKE)
@example("1_0")
@example("1e400")
def test_number_agrees_with_float(text: str) -> None:
    try:
        expected: float | None = float(text)
    except ValueError:
        expected = None
    if expected is None or not math.isfinite(expected) or "_" in text or text != text.strip():
        assert number_of(text) is None
    else:
        assert number_of(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("007", 7),
        ("3.0", 3),
        ("3.", 3),
        ("3.000000000000000000000", 3),
        ("3e2", 300),
        ("1.5e1", 15),
        ("-12.50e2", -1250),
        ("1e18", 10**18),
        ("30e-1", 3),
        ("0e999", 0),
        ("0.0", 0),
        (f"{'0' * 30}5", 5),
        ("9007199254740993", 9007199254740993),
        ("9007199254740993.0", 9007199254740993),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_whole_number_exactly(text: str, value: int) -> None:
    found = integer_of(text)
    assert (type(found), found) == (int, value)


@pytest.mark.parametrize(
    "text",
    sorted(
        {"", "3.5", "1e-1", "0.1", "9223372036854775808", "-9223372036854775809", "1e19", "9.3e18", "1e999", "9" * 400}
        | {f"1e{'9' * 30}", f"1e-{'9' * 30}", "0x1", "1_0", "٣", " 1", "nan", "inf", "true", "1.0.0", "3.0000000001"}
    ),
)
def test_no_whole_number_of_64_bits(text: str) -> None:
    assert integer_of(text) is None


@given(st.integers())
def test_whole_number_agrees_with_int(value: int) -> None:
    expected = value if -(2**63) <= value < 2**63 else None
    assert integer_of(str(value)) == expected
    assert integer_of(f"{value}.0") == expected
    assert integer_of(f"{value}.5") is None


@pytest.mark.timeout(20)  # a rule that tries again from each digit takes minutes, and holds up the whole process
@pytest.mark.parametrize("text", ["1" * 200_000 + "x", "." + "1" * 200_000 + "x", "1e" + "1" * 200_000, "1" * 200_000])
def test_long_row_of_digits_costs_no_time(text: str) -> None:
    assert number_of(text) is None
    assert integer_of(text) is None
    assert days_of(text) is None


@pytest.mark.parametrize("text", sorted(BOOLEAN_TEXTS))
def test_boolean_in_any_case(text: str) -> None:
    value = text.startswith(("t", "y", "1"))
    assert boolean_of(text) is value
    assert boolean_of(text.upper()) is value
    assert boolean_of(text.title()) is value


@pytest.mark.parametrize("text", ["", "t", "y", "n", "on", "off", "2", "01", "-1", "0.5", "1.00", " yes", "oui"])
def test_no_boolean(text: str) -> None:
    assert boolean_of(text) is None


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1970-01-01", 0.0),
        ("1970-01-02", 1.0),
        ("1969-12-31", -1.0),
        ("2024-02-29", 19782.0),
        ("1970-01-01T12:00", 0.5),
        ("1970-01-01 12:00", 0.5),
        ("1970-01-01T00:00:00", 0.0),
        ("1970-01-01T06:00:00.000", 0.25),
        ("1970-01-01T06:00:00.000000000Z", 0.25),
        ("1970-01-01T12:00:00Z", 0.5),
        ("1970-01-01T12:00:00+12:00", 0.0),
        ("1970-01-01T00:00-06:00", 0.25),
        ("1970-01-01 00:00:00-0600", 0.25),
        ("1970-01-01 00:00:00.123456-06", 0.25 + 0.123456 / 86_400),
        ("1970-01-01T00:00:01", 1 / 86_400),
        ("1970-01-01T00:00:00.5", 0.5 / 86_400),
        ("0001-01-01", -719_162.0),
        ("9999-12-31", 2_932_896.0),
        ("9999-12-31T23:59-23:59", LAST_DAY - 0.0013888888888889),
        ("0001-01-01T00:00+23:59", FIRST_DAY + 0.0006944444444444),
    ],
)
def test_date_in_days_since_1970(text: str, days: float) -> None:
    assert days_of(text) == pytest.approx(days, rel=0, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    sorted(
        {
            "",
            "2024",
            "2024-02",
            "20240229",
            "2024-2-9",
            "2023-02-29",
            "2024-13-01",
            "0000-01-01",
            "10000-01-01",
            "19782",
        }
        | {
            "2024-02-29T",
            "2024-02-29T1",
            "2024-02-29T12",
            "2024-02-29T24:00",
            "2024-02-29T12:60",
            "2024-02-29T12:00:60",
        }
        | {
            "2024-02-29T12:00+24:00",
            "2024-02-29T12:00+01:60",
            "2024-02-29T12:00:00.",
            "2024-02-29T12:00 Z",
            "29.02.2024",
        }
        | {"2024-02-29t12:00", "2024-02-29T12:00z", "2024-W09-4", "2024-060", "02/29/2024", "٢٠٢٤-02-29", " 2024-02-29"}
    ),
)
def test_no_date(text: str) -> None:
    assert days_of(text) is None


@given(MOMENTS)
def test_date_agrees_with_fromisoformat(moment: datetime) -> None:
    found = days_of(moment.isoformat())
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    expected = (utc - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    assert found == pytest.approx(expected, rel=1e-15, abs=1e-12)
    assert days_of(moment.isoformat(" ")) == found == days_of_moment(moment)
    assert FIRST_DAY <= expected <= LAST_DAY


@given(st.dates())
def test_date_without_a_time_is_a_whole_number_of_days_and_reads_back(day: date) -> None:
    days = days_of(day.isoformat())
    assert days == (day - date(1970, 1, 1)).days == days_of_moment(day)
    assert FIRST_DAY <= days <= LAST_DAY
    assert date_text(days) == day.isoformat()


@pytest.mark.parametrize(
    "text", ["2024-02-29", "1969-12-31T23:59:59Z", "2024-02-29T00:00:01Z", "2024-02-29T12:30:00Z", "0001-01-01"]
)
def test_days_are_shown_as_a_date_and_what_there_is_of_a_time(text: str) -> None:
    days = days_of(text)
    assert days is not None
    assert date_text(days) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59-23:59", "9999-12-31T23:59:59Z"),
        ("0001-01-01T00:00+23:59", "0001-01-01"),
    ],
)
def test_day_beyond_the_calendar_is_shown_as_its_limit(text: str, shown: str) -> None:
    days = days_of(text)
    assert days is not None
    assert date_text(days) == shown


def test_fraction_of_a_second_is_not_shown() -> None:
    assert date_text(19782.0 + 0.4 / 86_400) == "2024-02-29"
    assert date_text(19782.0 - 0.4 / 86_400) == "2024-02-29"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("date", 19782.5, "2024-02-29T12:00:00Z"),
        ("date", None, None),
        ("integer", 5.0, 5),
        ("integer", 2**53 + 1, 2**53 + 1),
        ("number", 5.0, 5.0),
        ("boolean", True, True),
        ("string", "5.0", "5.0"),
    ],
)
def test_value_as_people_write_it(kind: str, value: Any, text: Any) -> None:
    found = shown(COLUMNS[ColumnType(kind)], value)
    assert (type(found), found) == (type(text), text)


@pytest.mark.parametrize(
    ("text", "known", "value"),
    [
        ("gas", (), "gas"),
        (" gas\t", (), "gas"),
        ("NA", (), None),
        (" NA ", (), None),
        ("", (), None),
        ("  ", (), None),
        ("NA", ("NA",), "NA"),
        (" NA ", ("NA",), "NA"),
        ("None", ("NA",), None),
        (" a", (" a", "a"), " a"),
        ("a ", (" a", "a"), "a"),
        ("", ("",), ""),
        (" ", ("",), ""),
        ("heat  pump", ("gas",), "heat  pump"),
        ("1.0", ("1",), "1.0"),
        ("gas\u00a0", (), "gas"),
    ],
)
def test_category_is_its_text_without_white_space_around_it(text: str, known: Any, value: str | None) -> None:
    assert category_of(text, known) == value
