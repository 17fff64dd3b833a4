"""Hashes of rows that depend on the values of cells, not on their format or type."""

import hashlib
import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.column_rules import (
    BOOLEAN_TEXTS,
    MISSING_TEXTS,
    days_of,
    number_of,
)

Hashes = NDArray[np.uint64]
CODE_BYTES = 8
# Above this, float64 does not represent every integer.
LARGE = 2**53
MISSING = int(np.array(np.nan).view(np.uint64))
_WHOLE = re.compile(r"[+-]?\d{1,400}", re.ASCII)


def row_hashes(frame: pd.DataFrame, columns: Sequence[str], seed: int) -> Hashes:
    """A keyed 64-bit hash (BLAKE2b, RFC 7693) of each row's cells, shape (n,), uniformly distributed.

    Rows with equal cells have equal hashes on every machine, whether the cells came from CSV, Parquet or SQL, and
    whatever type the configuration gave their column then: 1 equals 1.0, "1" and true; -0 equals 0; days since 1970
    equal the ISO text of the date; NaN, None and "" are the one missing value. Numbers with a fraction are compared in
    single precision, so that no format's rounding matters.

    Args:
        frame: validated rows: numbers, booleans and texts.
        columns: the columns to hash, in this order.
        seed: the hash's key, 0 to 2**64 - 1.
    """
    width = CODE_BYTES * len(columns)
    codes = np.empty((len(frame), len(columns)), dtype="<u8")
    for index, name in enumerate(columns):
        codes[:, index] = cell_codes(frame[name])
    data, key = memoryview(codes.tobytes()), seed.to_bytes(CODE_BYTES, "little")
    digests = (
        hashlib.blake2b(data[start : start + width], digest_size=CODE_BYTES, key=key).digest()
        for start in range(0, len(data), width)
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def cell_codes(column: pd.Series) -> Hashes:
    """One number for each cell, shape (n,); equal for cells with the same value."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return _codes_of_numbers(column.to_numpy())
    places, cells = pd.factorize(column.astype(object))
    # Missing cells have the place -1: the last code.
    codes = np.array([*map(_code_of, cells), MISSING], dtype=np.uint64)
    return codes[places]


def days(column: pd.Series) -> NDArray[np.float64]:
    """Each cell's time as days since 1970-01-01 UTC, shape (n,); NaN where it is missing or not a time.

    Numbers are days already.
    """
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64)
    places, cells = pd.factorize(column.astype(object))
    return np.array([*map(_days_of_cell, cells), np.nan], dtype=np.float64)[places]


def _days_of_cell(cell: Any) -> float:
    found = days_of(cell.strip()) if isinstance(cell, str) else float(cell)
    return np.nan if found is None else found


def _codes_of_numbers(values: NDArray[Any]) -> Hashes:
    numbers = values.astype(np.float64)
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32).astype(np.float64)
    # Adding 0 turns -0 into 0.
    codes = (np.where(np.trunc(numbers) == numbers, numbers, single) + 0.0).view(np.uint64).copy()
    codes[np.isnan(numbers)] = MISSING
    large = (np.abs(numbers) >= LARGE) & np.isfinite(numbers)
    if large.any():
        cells, places = np.unique(values[large], return_inverse=True)
        codes[large] = np.array([_code_of_bytes(str(int(cell)).encode()) for cell in cells], dtype=np.uint64)[places]
    return codes


def _code_of(cell: Any) -> int:
    if isinstance(cell, str):
        return _code_of_text(cell.strip())
    if isinstance(cell, bool | np.bool_ | float | np.floating):
        return _code_of_number(float(cell))
    return _code_of_whole(int(cell))


def _code_of_text(text: str) -> int:
    if text in MISSING_TEXTS:
        return MISSING
    if text.lower() in BOOLEAN_TEXTS:
        return _code_of_number(float(BOOLEAN_TEXTS[text.lower()]))
    if _WHOLE.fullmatch(text):
        return _code_of_whole(int(text))
    number = number_of(text)
    number = days_of(text) if number is None else number
    return _code_of_bytes(text.encode("utf-8", "surrogatepass")) if number is None else _code_of_number(number)


def _code_of_whole(value: int) -> int:
    return _code_of_bytes(str(value).encode()) if abs(value) >= LARGE else _code_of_number(float(value))


def _code_of_number(value: float) -> int:
    """The same as ``_codes_of_numbers`` for one number."""
    if math.isnan(value):
        return MISSING
    if math.isfinite(value) and abs(value) >= LARGE:
        return _code_of_bytes(str(int(value)).encode())
    if not value.is_integer():
        (value,) = struct.unpack("<f", struct.pack("<f", value))
    return int.from_bytes(struct.pack("<d", value + 0.0), "little")


def _code_of_bytes(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=CODE_BYTES).digest(), "little")
