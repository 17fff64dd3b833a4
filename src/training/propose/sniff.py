"""Finds out how a CSV file is written: its encoding, delimiter and decimal sign."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from src.core.column_rules import number_of
from src.core.errors import DataError
from src.training.csv_source import CHUNK_BYTES, DELIMITERS, is_ascii_utf8, quote_problem

# The least share of the sample's rows with as many cells as the header.
CONSISTENT = 0.9
SAMPLE_ROWS = 1000
# The first bytes of files that are not text.
MAGIC = {b"PK\x03\x04": "an Excel or zip file", b"\xd0\xcf\x11\xe0": "an old Excel file", b"%PDF": "a PDF file"}
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_POINT = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        columns: the names in the header, without white space around them and without empty columns at the end.
        why: the reason for each of the three settings.
    """

    encoding: str
    delimiter: str
    decimal: str
    columns: list[str]
    why: dict[str, str]


def sniff(stream: BinaryIO, name: str) -> Dialect:
    """How a CSV file is written.

    Args:
        stream: the file's bytes from the beginning, not compressed.
        name: the file's name in messages.

    Raises:
        DataError: it is not text, has no header, has a quote that is not closed, or its rows differ in their number of
            cells.
    """
    encoding, why_encoding, sample, _ = decode(stream, name)
    delimiter, rows = _split(sample, name)
    header, body = rows[0], rows[1:]
    if all(number_of(cell.strip()) is not None for cell in header):
        raise DataError(
            f"{name} has no header: its first line is {', '.join(header[:5])}; add a line with column names"
        )
    decimal, why_decimal = _decimal_of(cell.strip() for row in body for cell in row)
    return Dialect(
        encoding,
        delimiter,
        decimal,
        _named(header, body),
        {
            "encoding": why_encoding,
            "delimiter": f"{len(header)} cells in the header and in the rows",
            "decimal": why_decimal,
        },
    )


class Decoded(NamedTuple):
    """A file's encoding, the reason for it, the beginning of the text, and whether all of it is ASCII."""

    encoding: str
    why: str
    text: str
    is_ascii: bool = False


def decode(stream: BinaryIO, name: str) -> Decoded:
    """Find a file's encoding; the whole file is read. Raises DataError for a file that is not text."""
    start = stream.read(CHUNK_BYTES)
    if not start.strip():
        raise DataError(f"{name} is empty; it needs a header and rows")
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"{name} is {kind}; save it as CSV or Parquet")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            text = start.decode(encoding, errors="ignore").removeprefix("\ufeff")
            return Decoded(encoding, "it begins with a byte order mark", text)
    if b"\0" in start:
        if start.count(0) < len(start) // 4:
            raise DataError(f"{name} is not a text file; save it as CSV or Parquet")
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
        return Decoded(encoding, "every other byte is zero", start.decode(encoding, errors="ignore"))
    try:
        is_ascii = is_ascii_utf8(itertools.chain([start], iter(lambda: stream.read(CHUNK_BYTES), b"")))
    except UnicodeDecodeError as error:
        # Five bytes are undefined in cp1252.
        encoding = "latin-1" if any(byte in error.object for byte in b"\x81\x8d\x8f\x90\x9d") else "cp1252"
        why = f"byte {error.object[error.start]:#x} is not UTF-8; look at a text that is not plain ASCII"
        return Decoded(encoding, why, start.decode(encoding, errors="replace"))
    return Decoded("utf-8", "every byte fits", start.decode("utf-8", errors="ignore"), is_ascii)


def _named(header: list[str], body: list[list[str]]) -> list[str]:
    """The columns' names; a delimiter at the end of every row makes no column."""
    names = [cell.strip() for cell in header]
    while names and not names[-1] and not any("".join(row[len(names) - 1 :]).strip() for row in body):
        names.pop()
    return names


def _split(sample: str, name: str) -> tuple[str, list[list[str]]]:
    """The delimiter, and the sample's rows by it, the header first."""
    best: tuple[float, int, str, list[list[str]]] = (0.0, 1, "", [])
    for delimiter in DELIMITERS:
        rows = _rows(sample, delimiter)
        if len(rows) < 2:  # noqa: PLR2004 - a header and a row
            continue
        cells = len(rows[0])
        # Rows may end in a delimiter, although the header does not.
        fitting = sum(len(row) == cells or (len(row) == cells + 1 and not row[-1]) for row in rows[1:])
        share = fitting / (len(rows) - 1)
        if cells > 1 and share >= CONSISTENT and (share, cells) > best[:2]:
            best = (share, cells, delimiter, rows)
    if not best[2]:
        raise DataError(f"{name}: {_problem(sample)}")
    return best[2], best[3]


def _rows(sample: str, delimiter: str) -> list[list[str]]:
    """The sample's rows; none where a cell is too long for the delimiter to be the right one."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = list(itertools.islice((row for row in reader if row), SAMPLE_ROWS + 1))
    except csv.Error:
        return []
    # The sample may end within a row.
    return rows[:-1] if len(rows) <= SAMPLE_ROWS and len(sample) > CHUNK_BYTES // 4 else rows


def _problem(sample: str) -> str:
    """Why no delimiter fits."""
    first, _, rest = sample.strip().partition("\n")
    for delimiter in DELIMITERS:
        if delimiter in first and (problem := quote_problem(io.StringIO(sample, newline=""), delimiter)):
            return problem
    if not rest:
        return "there are no rows below the first line; it needs a header and rows"
    return (
        f"no delimiter fits (tried comma, semicolon, tab and |); its first line, {first[:60].strip()!r}, must name two "
        "columns or more, and every row must have as many cells"
    )


def _decimal_of(cells: Iterable[str]) -> tuple[str, str]:
    commas, points, example = 0, 0, ""
    for cell in cells:
        points += bool(_POINT.fullmatch(cell))
        if _COMMA.fullmatch(cell) and not _THOUSANDS.fullmatch(cell):
            commas, example = commas + 1, example or cell
    if commas > points:
        return ",", f"numbers such as {example}"
    return ".", f"{points} numbers with a point" if points else "no number has a fraction"
