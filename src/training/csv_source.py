"""Reads CSV and TSV files strictly, every cell as text: nothing is shifted, truncated or guessed."""

import codecs
import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, product
from typing import TextIO

import pandas as pd
import pyarrow as pa

from src.core.counting import counted
from src.core.dataset_config import CsvFormat
from src.core.errors import DataError
from src.training.data_files import TableFile, columns_to_read, duplicates_of, lacks

# Rows that are converted at a time: their cells are Python objects until they are in an Arrow array.
PART_ROWS = 2000
# By preference where two fit equally well.
DELIMITERS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252")
BYTE_ORDER_MARK = "\ufeff"
SAMPLE_BYTES = 65_536
CHUNK_BYTES = 1 << 20


def read_csv(
    file: TableFile, columns: Sequence[str], options: CsvFormat, optional: Collection[str] = ()
) -> pd.DataFrame:
    """Read some columns of a file, every cell as text, shape (rows, columns).

    Arguments and errors are those of ``csv_parts``.
    """
    frame: pd.DataFrame = pa.Table.from_batches(csv_parts(file, columns, options, optional)).to_pandas()
    return frame


def csv_parts(
    file: TableFile, columns: Sequence[str], options: CsvFormat, optional: Collection[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a file in parts of ``PART_ROWS`` rows, every cell as text. The first part has no rows.

    White space after a delimiter is skipped, as in ``1, "a, b"``, and around names in the header. Where every row, but
    not the header, ends in a delimiter, the empty cell after it is left out. Blank lines are skipped.

    Args:
        file: what is read.
        columns: names in the header, in the order of the result.
        options: delimiter and encoding.
        optional: columns that the result lacks if the file does.

    Raises:
        DataError: the file cannot be read with these options, lacks a column, has a name twice, or a row with more or
            fewer cells than the header. The message has the row or line, or the options that fit.
    """
    delimiter = options.delimiter or ("\t" if file.is_tsv else ",")
    encoding = options.encoding
    if not codecs.lookup(encoding).name.startswith("utf") and _is_utf8(file):
        raise DataError(
            f"{file.name} is utf-8 text, and dataset.csv.encoding is {encoding}; save all files in one encoding, or "
            "set dataset.csv.encoding: utf-8"
        )
    try:
        with file.open() as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
            lines = nonblank_lines(text, delimiter)
            header = [name.strip() for name in next(lines, [])]
            columns = columns_to_read(header, columns, optional)
            places = _places(file, header, columns)
            if places is None:
                raise DataError(
                    lacks(file.name, header, columns) + _advice(file, columns, delimiter, encoding, {encoding})
                )
            yield from _cells(file.name, lines, len(header), dict(zip(columns, places, strict=True)))
    except UnicodeError as error:
        advice = _advice(file, columns, delimiter, encoding, set()) or "; set dataset.csv.encoding"
        raise DataError(f"{file.name} is not {encoding} text{advice}") from error
    except csv.Error as error:
        with file.open() as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
            problem = quote_problem(_without_mark(text), delimiter)
        raise DataError(f"{file.name}: {problem}, or set dataset.csv.delimiter (it is {delimiter!r})") from error


def _is_utf8(file: TableFile) -> bool:
    """Whether a file has characters beyond ASCII and all are UTF-8, which happens in no other encoding by chance."""
    with file.open() as stream:
        try:
            return not is_ascii_utf8(iter(lambda: stream.read(CHUNK_BYTES), b""))
        except UnicodeDecodeError:
            return False


def is_ascii_utf8(chunks: Iterable[bytes]) -> bool:
    """Whether a UTF-8 text, given in parts, is ASCII. Raises UnicodeDecodeError if it is not UTF-8."""
    decoder, is_ascii = codecs.getincrementaldecoder("utf-8")(), True
    for chunk in chunks:
        decoder.decode(chunk)
        is_ascii = is_ascii and chunk.isascii()
    decoder.decode(b"", final=True)
    return is_ascii


def quote_problem(lines: Iterable[str], delimiter: str) -> str | None:
    """Which line has a wrong quote or too long a cell, and what to do; None if every row can be split into cells.

    The line is the one in which the row begins: a quote that is not closed takes in the lines that follow.
    """
    reader, line = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True), 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            return (
                f"line {line}: a quote in this row is not closed, or a cell has more than {csv.field_size_limit():,} "
                "characters; fix the quotes or shorten the text"
            )
        return (
            f'line {line}: a quote in this row is not closed, or a quote inside a quoted cell is not written ""; '
            "fix the quotes"
        )
    return None


def nonblank_lines(text: TextIO, delimiter: str) -> Iterator[list[str]]:
    """The header and the rows, without blank lines."""
    return filter(None, csv.reader(_without_mark(text), delimiter=delimiter, skipinitialspace=True, strict=True))


def _without_mark(text: TextIO) -> TextIO:
    """The text after its byte order mark, if it has one."""
    if text.read(1) != BYTE_ORDER_MARK:
        text.seek(0)
    return text


def _places(file: TableFile, header: list[str], columns: Sequence[str]) -> list[int] | None:
    """The columns' positions; None if one is missing."""
    if not header:
        raise DataError(f"{file.name} is empty; it needs a header with the columns' names")
    if twice := duplicates_of([name for name in header if name]):
        raise DataError(f"{file.name} has the columns {', '.join(twice)} more than once; rename one in the header")
    return [header.index(name) for name in columns] if set(columns) <= set(header) else None


def _cells(name: str, lines: Iterator[list[str]], width: int, places: dict[str, int]) -> Iterator[pa.RecordBatch]:
    """The columns' cells in parts; every row must have as many cells as the header."""
    kind = pa.schema([(column, pa.large_string()) for column in places])
    yield pa.RecordBatch.from_pylist([], kind)
    extra, rows = 0, 0
    while part := list(islice(lines, PART_ROWS)):
        if not rows:
            extra = int(len(part[0]) == width + 1 and not part[0][-1].strip())
        for row, line in enumerate(part, rows + 1):
            if len(line) != width + extra or (extra and line[-1].strip()):
                raise DataError(
                    f"{name}: row {row} has {counted(len(line), 'cell')}, the header has {width}; fix the row, or "
                    "quote cells that hold the delimiter"
                )
        yield pa.record_batch(
            [pa.array([line[place] for line in part], pa.large_string()) for place in places.values()], kind
        )
        rows += len(part)


def _advice(file: TableFile, columns: Sequence[str], delimiter: str, encoding: str, also: set[str]) -> str:
    """The options with which the header has all columns; empty if there are none.

    ``also`` are encodings to try in addition to the usual ones.
    """
    with file.open() as stream:
        sample = stream.read(SAMPLE_BYTES)
    signs = dict.fromkeys((delimiter, *DELIMITERS))
    encodings = [name for name in dict.fromkeys((*also, *ENCODINGS)) if name in also or name != encoding]
    for candidate, sign in product(encodings, signs):
        text = _decoded(sample, candidate)
        header = next(csv.reader((text or "").splitlines(), delimiter=sign), [])
        if set(columns) <= {name.strip() for name in header}:
            settings = [f"dataset.csv.delimiter: {sign!r}"] if sign != delimiter else []
            settings += [f"dataset.csv.encoding: {candidate}"] if candidate != encoding else []
            return f"; the header matches with {' and '.join(settings)}"
    return ""


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The start of a file, which may end within a character; None if it has another encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample).removeprefix(BYTE_ORDER_MARK)
    except UnicodeError:
        return None
