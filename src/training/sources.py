"""Reads a data set's source into raw cells, text or typed, and keeps the file of each row."""

import bisect
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, SecretStr
from sklearn.datasets import load_iris

from src.core.dataset_config import IRIS, SQL, DatasetConfig
from src.core.errors import DataError
from src.training.csv_source import read_csv
from src.training.data_files import TableFile, local_files
from src.training.parquet_source import python_values, read_parquet
from src.training.remote_source import REMOTE, fetched_files
from src.training.sql_source import read_sql

logger = logging.getLogger(__name__)


class DataFile(BaseModel):
    """A file, or another source of rows, and its number of rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int


@dataclass(frozen=True)
class RawData:
    """A data set as read, not checked.

    Attributes:
        frame: (rows, ``dataset.columns``) of raw cells; its index counts the rows of all files from 0.
        files: what was read, in the order of the rows.
        skipped: files that kept changing and are left for the next run.
    """

    frame: pd.DataFrame
    files: tuple[DataFile, ...]
    skipped: tuple[str, ...] = ()

    def place(self, row: int) -> tuple[str, int]:
        """The file of a row, and the row's number in it, from 1."""
        index = bisect.bisect_right(self._ends, row)
        return self.files[index].name, row - self._ends[index] + self.files[index].rows + 1

    @cached_property
    def _ends(self) -> list[int]:
        """The number of rows up to the end of each file."""
        return list(accumulate(file.rows for file in self.files))


def read(
    dataset: DatasetConfig,
    url: SecretStr | None = None,
    clock: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> RawData:
    """Read the configured columns of the configured source.

    Args:
        dataset: what is read.
        url: the database's, for ``source: sql``; in no error and no log line.
        clock: the time in seconds since 1970, to recognize files that may still be written to.
        wait: lets so many seconds pass; called once at most, if files have just changed.

    Raises:
        DataError: the source is missing, cannot be read or lacks columns; the message names the file.
        ConfigError: the source needs a setting or a package that is missing.
        ConnectionFailedError: a server does not answer; trying again may help.
        LoopError: every file keeps changing; trying again may help.
    """
    if dataset.source == IRIS:
        return _joined([("iris", _iris(dataset))])
    if dataset.source == SQL:
        return _joined([("sql", read_sql(dataset.query or "", dataset.columns, url))])
    if dataset.source.lower().startswith(REMOTE):
        with fetched_files(dataset.source) as files:
            return _read_files(files, dataset)
    found, skipped = local_files(dataset.source, clock, wait)
    return replace(_read_files(found, dataset), skipped=tuple(skipped))


def _read_files(files: Sequence[TableFile], dataset: DatasetConfig) -> RawData:
    kinds = sorted({file.format for file in files})
    if len(kinds) > 1:
        raise DataError(
            f"{dataset.source} has {' and '.join(kinds)} files; select one format with a glob such as *.{kinds[0]}"
        )
    optional = [name for name, feature in dataset.features.items() if feature.missing] if len(files) > 1 else []
    return _joined(_completed([(file.name, _read_file(file, dataset, optional)) for file in files], dataset))


def _read_file(file: TableFile, dataset: DatasetConfig, optional: Sequence[str]) -> pd.DataFrame:
    if file.format == "parquet":
        return read_parquet(file, dataset.columns, optional)
    return read_csv(file, dataset.columns, dataset.csv, optional)


def _completed(parts: Sequence[tuple[str, pd.DataFrame]], dataset: DatasetConfig) -> list[tuple[str, pd.DataFrame]]:
    """The parts with missing values in the columns that they lack; a column that all of them lack is an error."""
    types = {name: part[name].dtype for _, part in parts for name in part}
    if nowhere := [name for name in dataset.columns if name not in types]:
        raise DataError(
            f"no file of {dataset.source} has the columns {', '.join(nowhere)}; fix the names in the dataset section"
        )
    completed = []
    for file, part in parts:
        absent = {name: pd.Series(None, part.index, types[name]) for name in dataset.columns if name not in part}
        if absent:
            logger.info("%s lacks the optional columns %s; their values are missing", file, ", ".join(absent))
        completed.append((file, pd.concat([part, pd.DataFrame(absent)], axis=1)[list(dataset.columns)]))
    return completed


def _joined(parts: Sequence[tuple[str, pd.DataFrame]]) -> RawData:
    frame = parts[0][1] if len(parts) == 1 else _concatenated([part for _, part in parts])
    files = tuple(DataFile(name=name, rows=len(part)) for name, part in parts)
    return RawData(frame, files)


def _concatenated(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A column of different types, such as numbers in one Parquet file and text in another, becomes objects."""
    try:
        return pd.concat(parts, ignore_index=True)
    except (pa.ArrowException, OverflowError):  # such as large integers and floats, which become float64 otherwise
        mixed = {name for name in parts[0] if len({part[name].dtype for part in parts}) > 1}
        objects = [{name: _as_objects(part[name]) if name in mixed else part[name] for name in part} for part in parts]
        return pd.concat(map(pd.DataFrame, objects), ignore_index=True)


def _as_objects(column: pd.Series) -> pd.Series:
    return pd.Series(python_values(pa.array(column, from_pandas=True)), dtype=object)


def _iris(dataset: DatasetConfig) -> pd.DataFrame:
    iris = load_iris(as_frame=True)
    frame: pd.DataFrame = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    return frame.assign(**{dataset.target: iris.target_names[iris.target]})
