"""Values and shares from the data, as comments and messages show them."""

import pandas as pd

SHOWN_TEXT = 24
SHOWN_VALUES = 5


def shown(text: str) -> str:
    """A text from the data as a comment may show it: in quotes, short, on one line."""
    clean = "".join(sign if sign.isprintable() else "?" for sign in text)
    return repr(clean if len(clean) <= SHOWN_TEXT else clean[: SHOWN_TEXT - 1] + "…")


def percent(part: int, whole: int) -> str:
    """A share in percent; a small one is not rounded to none."""
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 0.1 or not part else "under 0.1 %"  # noqa: PLR2004 - one decimal is shown


def number_text(value: float) -> str:
    """A number with at most three decimals, or six digits where it is very small or large."""
    if value and not 0.001 <= abs(value) < 1e12:  # noqa: PLR2004 - as read without counting zeros
        return f"{value:g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def value_shares(counts: pd.Series) -> str:
    """The most frequent texts with their shares; counts are in descending order."""
    whole = int(counts.sum())
    parts = [f"{shown(str(text))} {percent(int(count), whole)}" for text, count in counts.iloc[:SHOWN_VALUES].items()]
    return ", ".join(parts) + (", …" if len(counts) > SHOWN_VALUES else "")
