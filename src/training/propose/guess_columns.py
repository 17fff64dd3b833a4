"""Guesses what each column of a table is, with the reason in numbers."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from src.core.column_rules import days_of, integer_of, number_of
from src.core.typed_cells import text_cell
from src.training.cells import objects
from src.training.propose.missing_marks import ambiguous_marks, describe_marks, keep_as_category
from src.training.propose.wording import number_text, percent, shown, value_shares

Role = Literal["feature", "id", "time", "group"]
# The least share of numbers or dates in a column of this type; the other cells are mistakes.
MOSTLY = 0.95
MAX_CATEGORIES = 200
MIN_ROWS_PER_CATEGORY = 2
# Columns named like identifiers are categories up to so many values.
MAX_CODES = 50
MAX_TEXT = 100
MAX_WORDS = 6
TRIED_TEXTS = 50

# Last words of column names: of identifiers, of row counters, and of the time of an event.
ID_WORDS = ("id", "ids", "uuid", "guid")
COUNTER_WORDS = ("nr", "no", "number", "nummer", "key", "code", "index", "0", "#")
TIME_WORDS = (
    "time",
    "timestamp",
    "datetime",
    "date",
    "day",
    "at",
    "on",
    "ts",
    "datum",
    "zeit",
    "zeitpunkt",
    "zeitstempel",
)
_WORD = re.compile(r"[A-Z]?[a-zà-ÿ]+|[A-Z]+(?![a-z])|\d+|#")
_THOUSANDS = re.compile(r"\D{0,4}?[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?\D{0,4}", re.ASCII)
# The same, and numbers without a separator.
_AMOUNT = re.compile(r"\D{0,4}?[+-]?(\d{1,3}([.,' ]\d{3})+|\d+)([.,]\d+)?\D{0,4}", re.ASCII)
_LOCAL_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(\D.*)?|\d{4}[./]\d{1,2}[./]\d{1,2}(\D.*)?", re.ASCII)
_BOOLEANS = {"true", "false", "yes", "no"}


@dataclass(frozen=True)
class ColumnGuess:
    """The guessed type and role of a column.

    Attributes:
        why: the counts and examples behind the guess, for the comment.
        check: what to check where the guess is doubtful.
        strays: cells that do not fit the type.
    """

    name: str
    type: Literal["number", "integer", "boolean", "category", "date", "ignore"]
    why: str
    missing: int = 0
    role: Role = "feature"
    check: str | None = None
    strays: int = 0


def texts_of(column: pd.Series) -> pd.Series:
    """The values as the texts that training reads, without missing ones; the index is kept."""
    cells = objects(column, text_cell)
    there = ~(cells.missing | cells.wrong)
    return pd.Series(cells.values[there], index=column.index[there], name=column.name, dtype="str").str.strip()


def guess_columns(frame: pd.DataFrame, decimal: str, ids: list[str], time: str | None) -> list[ColumnGuess]:
    """A guess for every column of the frame, in its order.

    Args:
        frame: (rows, columns) of texts or typed values, without the target.
        decimal: the sign before a number's fraction.
        ids: columns that are known to identify a row; empty to have one guessed.
        time: the column that is known to say when a row happened; None to have it guessed.
    """
    taken: set[Role] = set()
    if ids:
        taken.add("id")
    if time is not None:
        taken.add("time")
    guesses = []
    for name in map(str, frame.columns):
        texts = texts_of(frame[name])
        guess = _guess(name, texts, len(frame), decimal)
        if guess.type == "integer" and pd.api.types.is_float_dtype(frame[name].dtype):
            guess = replace(guess, type="number")
        if (guess.type == "category" or texts.nunique() == 1) and (marks := ambiguous_marks(frame[name])):
            guess = _with_marks(guess, marks, sorted(set(texts)))
        if name in ids or name == time:
            guess = replace(guess, role="id" if name in ids else "time")
        elif guess.role in taken or guess.missing or guess.strays:
            # There is one column of each role, without gaps; another date is a feature like any other.
            guess = replace(guess, role="feature")
        if guess.role != "feature":
            taken.add(guess.role)
        guesses.append(guess)
    return guesses


def _guess(name: str, texts: pd.Series, rows: int, decimal: str) -> ColumnGuess:
    """One column by its name and its texts."""
    missing, counts = rows - len(texts), texts.value_counts()
    if counts.empty:
        return ColumnGuess(name, "ignore", "no row has a value", missing)
    if len(counts) == 1:
        return ColumnGuess(
            name, "ignore", f"the same value in every row that has one: {shown(counts.index[0])}", missing
        )
    guess = _by_role(name, counts, rows) or _by_type(name, counts, decimal)
    if missing and guess.type != "ignore":
        guess = replace(guess, why=f"{guess.why}; {percent(missing, rows)} missing")
    return replace(guess, missing=missing)


def last_word(name: str) -> str:
    """The last word of a name, in lower case: ``id`` of customerID and of CUSTOMER_ID."""
    return next(reversed(_WORD.findall(name)), "").lower()


def _by_role(name: str, counts: pd.Series, rows: int) -> ColumnGuess | None:
    """A column that identifies rows, or what several rows belong to."""
    word, example = last_word(name), shown(counts.index[0])
    if len(counts) == rows:
        numbers = {text: number_of(text.replace(",", ".")) for text in counts.index}
        if any(number is not None and integer_of(text) is None for text, number in numbers.items()):
            return None  # measurements, whatever the name says
        if word in (*ID_WORDS, *COUNTER_WORDS) or _counts_up(counts) or _is_key(counts):
            check = f"{name}: taken for an id, from which nothing is learned; if it is a quantity, {{ type: integer }}"
            is_number = all(number is not None for number in numbers.values())
            why = f"another value in every row, such as {example}"
            return ColumnGuess(name, "ignore", why, role="id", check=check if is_number else None)
    elif word in ID_WORDS and len(counts) > MAX_CODES:
        average = f"{int(counts.sum()) / len(counts):.1f} rows each"
        return ColumnGuess(name, "ignore", f"{len(counts):,} different values, {average}", role="group")
    elif word in ID_WORDS:
        return ColumnGuess(name, "category", f"{len(counts)} names or codes: {value_shares(counts)}")
    return None


def _counts_up(counts: pd.Series) -> bool:
    """Whether these are whole numbers without a gap."""
    whole = [integer_of(text) for text in counts.index]
    numbers = [number for number in whole if number is not None]
    return len(numbers) == len(whole) and max(numbers) - min(numbers) == len(numbers) - 1


def _is_key(counts: pd.Series) -> bool:
    """Whether these are short texts of one word each."""
    if _fits(counts, lambda text: number_of(text.replace(",", ".")), MOSTLY) or _fits(counts, days_of, MOSTLY):
        return False
    return all(len(text) <= MAX_TEXT and not re.search(r"\s", text) for text in counts.index)


def _by_type(name: str, counts: pd.Series, decimal: str) -> ColumnGuess:
    texts = list(counts.index)
    if all(text.lower() in _BOOLEANS for text in texts):
        return ColumnGuess(name, "boolean", value_shares(counts))
    if _fits(counts, days_of, MOSTLY):
        return _date(name, counts)
    has_leading_zeros = any(len(text) > 1 and text[0] == "0" and text.isdecimal() for text in texts)
    if not has_leading_zeros and _fits(counts, lambda text: number_of(text, decimal), MOSTLY):
        return _number(name, counts, decimal)
    return _text(name, counts)


def _fits(counts: pd.Series, rule: Callable[[str], object], least: float) -> bool:
    """Whether the share of cells that the rule takes is at least ``least``."""
    few = counts.index[:: max(1, len(counts) // TRIED_TEXTS)]
    if all(rule(text) is None for text in few):
        return False
    fitting = sum(int(count) for text, count in counts.items() if rule(str(text)) is not None)
    return fitting >= least * int(counts.sum())


def _number(name: str, counts: pd.Series, decimal: str) -> ColumnGuess:
    found = {str(text): number_of(str(text), decimal) for text in counts.index}
    numbers = [number for number in found.values() if number is not None]
    good = [text for text, number in found.items() if number is not None]
    whole = all(integer_of(text) is not None and "." not in text for text in good)
    why = f"{number_text(min(numbers))} to {number_text(max(numbers))}, {len(numbers):,} different"
    check = None
    if whole and set(good) == {"0", "1"}:
        why, check = (
            value_shares(counts),
            f"{name}: only 0 and 1; {{ type: boolean }} where requests say true and false",
        )
    why, check, strays = _with_strays(name, counts, {text for text in found if found[text] is None}, (why, check))
    return ColumnGuess(name, "integer" if whole else "number", why, check=check, strays=strays)


def _date(name: str, counts: pd.Series) -> ColumnGuess:
    wrong = {str(text) for text in counts.index if days_of(str(text)) is None}
    dates = sorted(str(text) for text in counts.index if text not in wrong)
    why, check, strays = _with_strays(name, counts, wrong, (f"{dates[0]} to {dates[-1]}", None))
    role: Role = "time" if last_word(name) in TIME_WORDS else "feature"
    return ColumnGuess(name, "date", why, role=role, check=check, strays=strays)


def _with_strays(
    name: str, counts: pd.Series, wrong: set[str], said: tuple[str, str | None]
) -> tuple[str, str | None, int]:
    """The reason and the check, with the cells that do not fit the type."""
    if not wrong:
        return (*said, 0)
    strays = counts[counts.index.isin(wrong)]
    number = int(strays.sum())
    what = f"{number:,} cells are neither empty nor of this type: {', '.join(shown(text) for text in strays.index[:3])}"
    return f"{said[0]}; {what}", f"{name}: {what}; dataset.invalid_rows counts them as missing", number


def _with_marks(guess: ColumnGuess, marks: dict[str, int], others: list[str]) -> ColumnGuess:
    """The guess with a remark on texts that count as missing and may be a category."""
    remark = f"{describe_marks(marks)}; {keep_as_category(marks, others, is_ignored=guess.type == 'ignore')}"
    return replace(guess, why=f"{guess.why}; {remark}", check=f"{guess.name}: {remark}")


def _text(name: str, counts: pd.Series) -> ColumnGuess:
    cells, different, example = int(counts.sum()), len(counts), shown(counts.index[0])
    words = sum(len(str(text).split()) * int(count) for text, count in counts.items()) / cells
    if _fits(counts, _AMOUNT.fullmatch, MOSTLY) and _fits(counts, _THOUSANDS.fullmatch, 1 - MOSTLY):
        example = shown(next(text for text in counts.index if _THOUSANDS.fullmatch(text)))
        why = f"numbers with thousands separators or a unit, such as {example}, cannot be read"
        return ColumnGuess(name, "ignore", why, check=f"{name}: {why}; write them as 1234.5")
    if _fits(counts, _LOCAL_DATE.fullmatch, MOSTLY):
        why = f"dates such as {example} cannot be read"
        return ColumnGuess(name, "ignore", why, check=f"{name}: {why}; write them as 2024-12-31")
    if words > MAX_WORDS or max(len(str(text)) for text in counts.index) > MAX_TEXT:
        return ColumnGuess(name, "ignore", f"free text, such as {example}")
    if different <= MAX_CATEGORIES and cells >= MIN_ROWS_PER_CATEGORY * different:
        return ColumnGuess(name, "category", f"{different} values: {value_shares(counts)}")
    return ColumnGuess(name, "ignore", f"{different:,} different texts in {cells:,} rows, such as {example}")
