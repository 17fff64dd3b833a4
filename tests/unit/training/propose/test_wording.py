"""How values and shares are shown."""

import pandas as pd
import pytest

from src.training.propose.wording import number_text, percent, shown, value_shares


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0.0 %"), (1, 3, "33.3 %"), (5, 5, "100.0 %"), (1, 1000, "0.1 %"), (1, 1001, "under 0.1 %")],
)
def test_share_is_in_percent(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (0.0625, "0.062"),
        (0.001, "0.001"),
        (0.0001, "0.0001"),
        (2226921.0, "2,226,921"),
        (1e12, "1e+12"),
        (100.0, "100"),
    ],
)
def test_number_is_readable(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("a", "'a'"),
        ("x" * 24, f"'{'x' * 24}'"),
        ("x" * 25, f"'{'x' * 23}…'"),
        ("a\nb\u2028", "'a?b?'"),
        ("it's", '"it\'s"'),
    ],
)
def test_text_is_quoted_short_and_on_one_line(text: str, short: str) -> None:
    assert shown(text) == short


def test_five_values_are_shown() -> None:
    counts = pd.Series({"a": 50, "b": 20, "c": 10, "d": 10, "e": 10})
    assert value_shares(counts) == "'a' 50.0 %, 'b' 20.0 %, 'c' 10.0 %, 'd' 10.0 %, 'e' 10.0 %"
    assert value_shares(pd.Series({**counts, "f": 0})).endswith("'e' 10.0 %, …")
