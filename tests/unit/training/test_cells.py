import datetime as dt
import decimal
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.column_rules import integer_of, is_missing, number_of
from src.core.typed_cells import boolean_cell, date_cell, float32_cell, text_cell
from src.training.cells import Cells, dates, integers, numbers, objects

NAN = float("nan")
BERLIN = dt.timezone(dt.timedelta(hours=1))


def plain(cells: Cells) -> list[Any]:
    """Values, with "missing" and "wrong" where there is none."""
    assert not (cells.missing & cells.wrong).any()
    states = zip(cells.values.tolist(), cells.missing, cells.wrong, strict=True)
    return ["missing" if missing else "wrong" if wrong else value for value, missing, wrong in states]


number_texts = st.one_of(
    st.text(alphabet="0123456789.,+-eE _x", max_size=12),
    st.from_regex(r"[ ]?[+-]?[0-9]{1,25}([.,][0-9]{1,25})?[ ]?", fullmatch=True),
    st.floats(allow_nan=False).map(repr),
    st.integers().map(str),
    st.sampled_from(["", "NA", "nan", "inf", "-Infinity", "1e999", "٣", "9" * 400, "1." + "0" * 400]),
)


@given(st.lists(number_texts), st.sampled_from([".", ","]))
def test_columns_of_text_give_the_numbers_that_the_rules_give(texts: list[str], decimal_sign: str) -> None:
    expected = [
        "missing"
        if is_missing(text.strip())
        else found
        if (found := number_of(text.strip(), decimal_sign)) is not None
        else "wrong"
        for text in texts
    ]
    assert plain(numbers(pd.Series(texts, dtype="str"), decimal_sign)) == expected


@given(st.lists(number_texts))
def test_columns_of_text_give_the_integers_that_the_rules_give(texts: list[str]) -> None:
    expected = [
        "missing" if is_missing(text.strip()) else found if (found := integer_of(text.strip())) is not None else "wrong"
        for text in texts
    ]
    assert plain(integers(pd.Series(texts, dtype="str"))) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series([1, 2]), [1.0, 2.0]),
        (pd.Series([1.5, NAN, np.inf, -np.inf]), [1.5, "missing", "wrong", "wrong"]),
        (pd.Series(pd.array(pa.array([1.5, NAN, None]), pd.ArrowDtype(pa.float64()))), [1.5, "missing", "missing"]),
        (pd.Series([1, None], dtype="Int64"), [1.0, "missing"]),
        (pd.Series([1.5, NAN], dtype="float32"), [1.5, "missing"]),
        (pd.Series([2**64 - 1], dtype="uint64"), [2.0**64]),
        (pd.Series(["1.5", None, " x"], dtype=object), [1.5, "missing", "wrong"]),
        (
            pd.Series([1, "2", None, pd.NA, NAN, True, [1], b"1"], dtype=object),
            [1.0, 2.0, *["missing"] * 3, *["wrong"] * 3],
        ),
        (pd.Series([decimal.Decimal("0.10"), decimal.Decimal("NaN"), None], dtype=object), [0.1, "missing", "missing"]),
        (
            pd.Series([np.float32(0.5), "1", 10**400, decimal.Decimal("1e999")], dtype=object),
            [0.5, 1.0, "wrong", "wrong"],
        ),
        (pd.Series([True, False]), ["wrong", "wrong"]),
        (pd.Series(["1", "2", "1"], dtype="category"), [1.0, 2.0, 1.0]),
        (pd.Series([3, 4, 3], dtype="category"), [3.0, 4.0, 3.0]),
        (pd.Series([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]), ["wrong"]),
        (pd.Series([], dtype="str"), []),
        (pd.Series([], dtype=object), []),
        (pd.Series([None, None], dtype=object), ["missing", "missing"]),
        (pd.Series([[1], None], dtype=object), ["wrong", "missing"]),
    ],
)
def test_numbers_of_every_type(raw: pd.Series, expected: list[Any]) -> None:
    found = numbers(raw)
    assert plain(found) == expected
    assert found.values.dtype == np.float64


def test_decimal_sign_is_text_s_alone() -> None:
    assert plain(numbers(pd.Series([1.5, 2.0]), ",")) == [1.5, 2.0]
    assert plain(numbers(pd.Series([1.5, "2,5", "2.5"], dtype=object), ",")) == [1.5, 2.5, "wrong"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series([1, -(2**63)]), [1, -(2**63)]),
        (pd.Series([9007199254740993, None], dtype="Int64"), [9007199254740993, "missing"]),
        (pd.Series([9007199254740993, None], dtype=object), [9007199254740993, "missing"]),
        (pd.Series([1.0, 2.5, NAN, np.inf, 1e300]), [1, "wrong", "missing", "wrong", "wrong"]),
        (pd.Series([2**63, 5], dtype="uint64"), ["wrong", 5]),
        (
            pd.Series([2**63, -(2**63) - 1, True, "7", decimal.Decimal("8.0"), decimal.Decimal("8.5")], dtype=object),
            ["wrong", "wrong", "wrong", 7, 8, "wrong"],
        ),
        (pd.Series([f"{2**63 - 1}", f"{2**63}", f"{-(2**63) - 1}"], dtype="str"), [2**63 - 1, "wrong", "wrong"]),
        (pd.Series([True]), ["wrong"]),
        (pd.Series([3], dtype="int8"), [3]),
    ],
)
def test_integers_of_every_type(raw: pd.Series, expected: list[Any]) -> None:
    found = integers(raw)
    assert plain(found) == expected
    assert found.values.dtype == np.int64


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series([True, False, None], dtype="boolean"), [True, False, "missing"]),
        (pd.Series([1, 0, 2]), [True, False, "wrong"]),
        (pd.Series([1.0, NAN, 0.5]), [True, "missing", "wrong"]),
        (pd.Series(["Yes", " 0", "NA", "y", 1, True], dtype=object), [True, False, "missing", "wrong", True, True]),
        (pd.Series([dt.date(2026, 1, 1)], dtype=object), ["wrong"]),
    ],
)
def test_booleans_of_every_type(raw: pd.Series, expected: list[Any]) -> None:
    assert plain(objects(raw, boolean_cell)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series(pd.to_datetime(["1970-01-02T00:00", None, "1969-12-31T12:00"])), [1.0, "missing", -0.5]),
        (pd.Series(pd.to_datetime(["1970-01-02T01:00"]).tz_localize(BERLIN)), [1.0]),
        (
            pd.Series(
                [dt.date(1970, 1, 3), dt.datetime(1970, 1, 2, 1, tzinfo=BERLIN), "1970-01-02", pd.NaT, 5], dtype=object
            ),
            [2.0, 1.0, 1.0, "missing", "wrong"],
        ),
        (pd.Series([20260131, 5]), ["wrong", "wrong"]),
        (pd.Series(["1970-01-02", "", "2.1.1970"]), [1.0, "missing", "wrong"]),
        (pd.Series([dt.time(12)], dtype=object), ["wrong"]),
    ],
)
def test_dates_of_every_type(raw: pd.Series, expected: list[Any]) -> None:
    found = dates(raw)
    assert plain(found) == expected
    assert found.values.dtype == np.float64


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (" a ", " a "),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (7.25, "7.25"),
        (1e300, str(int(1e300))),
        (float("inf"), None),
        (decimal.Decimal("7.00"), "7"),
        (decimal.Decimal("7.50"), "7.5"),
        (True, "true"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC), "2026-01-31T08:00:00+00:00"),
        (pd.Timestamp("2026-01-31").to_pydatetime(), "2026-01-31"),
        (dt.datetime(2026, 1, 31, tzinfo=dt.UTC), "2026-01-31"),
        (dt.datetime(2026, 1, 31, tzinfo=BERLIN), "2026-01-31T00:00:00+01:00"),
        (pd.Timestamp("2026-01-31"), "2026-01-31"),
        (pd.Timestamp("2026-01-31T00:00:00.000000001"), "2026-01-31T00:00:00.000000001"),
        (b"a", None),
        ([1], None),
    ],
)
def test_names_are_canonical_texts(cell: Any, text: str | None) -> None:
    assert text_cell(cell) == text


def test_booleans_are_the_known_name_that_means_them() -> None:
    assert [text_cell(cell, ["no", "yes"]) for cell in (True, False)] == ["yes", "no"]
    assert [text_cell(cell, ["a", "b"]) for cell in (True, False)] == ["true", "false"]


@pytest.mark.parametrize(
    ("cell", "known", "text"),
    [
        (1, ["1.0", "2.0"], "1.0"),
        (1.0, ["2", "1"], "1"),
        (1.0, ["1.0", "1"], "1"),
        (0.5, ["0.50", ".5"], "0.50"),
        (decimal.Decimal("0.10"), ["0.10"], "0.10"),
        (1e-7, ["1e-7"], "1e-7"),
        (2**53 + 1, [f"{2**53}.0", f"{2**53 + 1}.0"], f"{2**53 + 1}.0"),
        (1, ["true", "yes"], "1"),
        (True, ["1", "yes"], "1"),
        (True, ["False", "True"], "True"),
        (3.0, ["1.0", "2.0"], "3"),
        (dt.date(2026, 1, 31), ["2026-01-31T00:00:00"], "2026-01-31T00:00:00"),
        (dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC), ["2026-01-31 08:00:00"], "2026-01-31 08:00:00"),
        (dt.datetime(2026, 1, 31, 9, tzinfo=BERLIN), ["2026-01-31 08:00:00"], "2026-01-31 08:00:00"),
        (pd.Timestamp("2026-01-31T09:00:00"), ["2026-01-31 08:00:00"], "2026-01-31T09:00:00"),
    ],
)
def test_cells_are_the_known_name_of_equal_value(cell: Any, known: list[str], text: str) -> None:
    assert text_cell(cell, known) == text


@given(st.lists(st.floats(width=32), min_size=1))
def test_float32_is_the_number_that_it_is_written_as(cells: list[float]) -> None:
    for raw in (pd.Series(cells, dtype="float32"), pd.Series(cells, dtype=pd.ArrowDtype(pa.float32()))):
        expected = [text_cell(float32_cell(cell)) or "wrong" for cell in cells]
        found = plain(objects(raw, text_cell))
        assert found == ["missing" if math.isnan(cell) else text for cell, text in zip(cells, expected, strict=True)]


def test_float32_has_its_shortest_text() -> None:
    assert plain(objects(pd.Series([0.1, 3, 2.5, NAN], dtype="float32"), text_cell)) == ["0.1", "3", "2.5", "missing"]


def test_known_texts_are_never_missing_and_keep_their_white_space() -> None:
    raw = pd.Series(["NA", " NA ", "None", " x"])
    assert plain(objects(raw, text_cell, ["NA", " x"])) == ["NA", "NA", "missing", " x"]
    assert plain(objects(raw, text_cell)) == ["missing", "missing", "missing", "x"]


def test_dates_as_text_rules_say() -> None:
    assert date_cell("1970-01-02") == 1.0
    assert date_cell(1.0) is None
