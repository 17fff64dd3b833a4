"""Converts columns of raw cells to values, by the rules of ``src.core``."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from src.core.column_rules import is_missing
from src.core.typed_cells import date_cell, integer_cell, number_cell

# Texts that Arrow parses like Python, a column at a time; all others are parsed by the rules one by one.
PLAIN_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?$"
PLAIN_INTEGER = r"^-?[0-9]{1,18}$"
# Longer texts may exceed the largest float.
PLAIN_DIGITS = 300

Bools = NDArray[np.bool_]
Rule = Callable[[Any], Any]


class Cells(NamedTuple):
    """A column of n cells.

    Attributes:
        values: (n,) of float64, int64 or objects; arbitrary where there is no value.
        missing: (n,) cells that mean a missing value.
        wrong: (n,) cells that are not of the column's type.
    """

    values: NDArray[Any]
    missing: Bools
    wrong: Bools


def numbers(raw: pd.Series, decimal: str = ".") -> Cells:
    """Finite numbers, as float64; ``decimal`` applies to text only."""
    array = _arrow(raw)
    if array is not None and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        missing = np.asarray(pc.is_null(array, nan_is_null=True))
        values = np.asarray(pc.fill_null(pc.cast(array, pa.float64(), safe=False), np.nan))
        return Cells(values, missing, ~missing & ~np.isfinite(values))
    pattern = PLAIN_NUMBER.replace(r"\.", rf"\{decimal}")
    return _texts_in_bulk(raw, array, pattern, pa.float64(), partial(number_cell, decimal=decimal))


def integers(raw: pd.Series) -> Cells:
    """Whole numbers of 64 bits, as int64."""
    array = _arrow(raw)
    if array is not None and pa.types.is_signed_integer(array.type):
        missing = np.asarray(pc.is_null(array))
        values = np.asarray(pc.fill_null(pc.cast(array, pa.int64()), 0))
        return Cells(values, missing, np.zeros(len(values), dtype=bool))
    return _texts_in_bulk(raw, array, PLAIN_INTEGER, pa.int64(), integer_cell)


def dates(raw: pd.Series) -> Cells:
    """Days since 1970-01-01 UTC, as float64."""
    return _filled(_by_rule(raw, _arrow(raw), date_cell, ()), pa.float64())


def objects(raw: pd.Series, rule: Rule, known: Collection[str] = ()) -> Cells:
    """The results of a rule, which returns None for a wrong cell; ``known`` are texts that never mean missing."""
    array = _arrow(raw)
    if array is not None and pa.types.is_float32(array.type):
        array = pc.cast(pc.cast(array, pa.string()), pa.float64())  # as float32_cell
    return _by_rule(raw, array, rule, known)


def _arrow(raw: pd.Series) -> pa.Array | None:
    """The column as a plain Arrow array; None where its cells have several types."""
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        raw = raw.dt.tz_convert(None)
    try:
        array = pa.array(raw, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _texts_in_bulk(raw: pd.Series, array: pa.Array | None, pattern: str, kind: pa.DataType, rule: Rule) -> Cells:
    """Parses plain numbers in bulk, and other cells by the rule."""
    if array is None or not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return _filled(_by_rule(raw, array, rule, ()), kind)
    short = pc.less_equal(pc.binary_length(array), PLAIN_DIGITS)
    plain = np.asarray(pc.fill_null(pc.and_(pc.match_substring_regex(array, pattern), short), fill_value=False))
    texts = pc.replace_substring(array.filter(pa.array(plain)), ",", ".")
    values = np.zeros(len(plain), dtype=kind.to_pandas_dtype())
    values[plain] = np.asarray(pc.cast(texts, kind))
    others = _filled(_by_rule(raw[~plain], array.filter(pa.array(~plain)), rule, ()), kind)
    missing, wrong = np.zeros(len(plain), dtype=bool), np.zeros(len(plain), dtype=bool)
    values[~plain], missing[~plain], wrong[~plain] = others
    return Cells(values, missing, wrong)


def _filled(cells: Cells, kind: pa.DataType) -> Cells:
    """The cells with an array of numbers instead of objects."""
    there = ~(cells.missing | cells.wrong)
    values = np.zeros(len(there), dtype=kind.to_pandas_dtype())
    values[there] = cells.values[there].astype(values.dtype)
    return cells._replace(values=values)


def _by_rule(raw: pd.Series, array: pa.Array | None, rule: Rule, known: Collection[str]) -> Cells:
    """Applies the rule once per distinct cell, if the column's cells have one type."""
    if array is None:
        cells: list[Any] = raw.astype(object).tolist()
        places = np.arange(len(cells))
    else:
        cells, places = _distinct(array)
    read = [_read(cell, rule, known) for cell in cells]
    values = np.empty(len(read) + 1, dtype=object)
    values[:-1] = [value for value, _ in read]
    # The last element is for nulls, whose index is -1.
    missing = np.array([*(is_none for _, is_none in read), True])
    wrong = np.array([*(value is None and not is_none for value, is_none in read), False])
    return Cells(values[places], missing[places], wrong[places])


def _distinct(array: pa.Array) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct cells, and the index of each row's cell among them; -1 for a null."""
    try:
        encoded = array.dictionary_encode()
    except pa.ArrowNotImplementedError:  # lists and the like
        return array.to_pylist(), np.arange(len(array))
    return encoded.dictionary.to_pylist(), np.asarray(pc.fill_null(encoded.indices, -1))


def _read(cell: Any, rule: Rule, known: Collection[str]) -> tuple[Any, bool]:
    """The value, or None, and whether the cell means a missing value."""
    if isinstance(cell, str):
        text = cell if cell in known else cell.strip()
        return (None, True) if is_missing(text, known) else (rule(text), False)
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell != cell:  # noqa: PLR0124 - NaN differs from itself
        return None, True
    return rule(cell), False
