"""Counts the rows of a data set's source without reading their values."""

import csv
import io
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from src.core.dataset_config import IRIS, SQL, CsvFormat, DatasetConfig
from src.core.errors import DataError
from src.training.csv_source import nonblank_lines
from src.training.data_files import SETTLED_SECONDS, TableFile, local_files
from src.training.remote_source import REMOTE, shown_source
from src.training.sql_source import stream_sql

# The setting for whose sake rows are counted, in messages.
SETTING = "RETRAIN_MIN_NEW_ROWS"


class _Counted(NamedTuple):
    """The rows of a file as it was at that size and time, in nanoseconds since 1970."""

    size: int
    modified_ns: int
    rows: int


class RowCounter:
    """Counts rows; a local file is counted again only if its size or its time of change differs.

    Args:
        clock: the time in seconds since 1970, to recognize files that may still be written to.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files: dict[str, _Counted] = {}

    def count(self, dataset: DatasetConfig, url: SecretStr | None) -> dict[str, int]:
        """The rows of each file, by the names that a training gives them; files that may be incomplete are left out.

        Raises:
            DataError: such a source cannot be counted, a file is damaged, or the query fails.
            ConfigError: DATASET_URL is missing or invalid.
            ConnectionFailedError, LoopError: the database or a file cannot be read; trying again may help.
        """
        source = dataset.source
        if source == SQL:
            return {SQL: _count_sql(dataset.query or "", url)}
        if source == IRIS or source.lower().startswith(REMOTE):
            raise DataError(
                f"{SETTING} is set, and the rows of {shown_source(source)} cannot be counted without reading it; set "
                "it to 0, and use RETRAIN_SCHEDULE instead"
            )
        # For a clock that is infinitely ahead, no file is young, and none is waited for.
        files, _ = local_files(source, lambda: math.inf)
        counted = {file.name: self._counted(file, dataset.csv) for file in files}
        self._files = {name: found for name, found in counted.items() if found is not None}
        return {name: found.rows for name, found in self._files.items()}

    def _counted(self, file: TableFile, options: CsvFormat) -> _Counted | None:
        """The rows of a file; None if it is gone, or has just changed and may be incomplete."""
        try:
            # Before the rows: a file that changes meanwhile is counted again.
            found = file.path.stat()
        except FileNotFoundError:
            return None
        known = self._files.get(file.name)
        if known is not None and known[:2] == (found.st_size, found.st_mtime_ns):
            return known
        if abs(self._clock() - found.st_mtime) < SETTLED_SECONDS:
            return None
        rows = _count_parquet(file) if file.format == "parquet" else _count_csv(file, options)
        return _Counted(found.st_size, found.st_mtime_ns, rows)


def _count_parquet(file: TableFile) -> int:
    with file.open() as stream:
        try:
            rows: int = pq.read_metadata(stream).num_rows
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is not a Parquet file: {' '.join(str(error).split())}") from error
    return rows


def _count_csv(file: TableFile, options: CsvFormat) -> int:
    """The rows after the header; a quoted cell may have several lines."""
    delimiter = options.delimiter or ("\t" if file.is_tsv else ",")
    try:
        with file.open() as raw, io.TextIOWrapper(raw, encoding=options.encoding, newline="") as text:
            return max(0, sum(1 for _ in nonblank_lines(text, delimiter)) - 1)
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"the rows of {file.name} cannot be counted: {error}; see dataset.csv") from error


def _count_sql(query: str, url: SecretStr | None) -> int:
    # On a line of its own, the end is no part of a comment.
    counting = f"SELECT count(*) AS counted FROM (\n{query.strip().rstrip(';')}\n) AS counted_rows"  # noqa: S608 - the query of the configuration, as it is
    (row,) = stream_sql(counting, url, SETTING)
    (rows,) = row.values()
    return int(str(rows))
