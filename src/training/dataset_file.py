"""Writes the validated data set, and the list of its invalid cells, to the shared volume."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from src.core.column_rules import SECONDS_PER_DAY
from src.core.dataset_config import DatasetConfig, DateFeature
from src.core.errors import LoopError
from src.training.check_rows import CheckedRows

MICROSECONDS_PER_DAY = SECONDS_PER_DAY * 1_000_000
MIDNIGHT = "T00:00:00.000000"


def save(rows: CheckedRows, file: Path, dataset: DatasetConfig) -> str:
    """Write the data set, its hash and the list of invalid cells, each atomically, to the same folder.

    ``<file>.sha256`` is for ``sha256sum -c``. ``<model>_invalid_rows.csv`` lists file, row, column and problem of
    invalid cells, without their values; it exists only if there are any.

    Returns:
        The file's SHA-256 in hexadecimal.

    Raises:
        LoopError: the folder cannot be written to.
    """
    content = to_csv(rows.frame, dataset)
    digest = hashlib.sha256(content).hexdigest()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, content)
        _replace(file.with_name(f"{file.name}.sha256"), f"{digest}  {file.name}\n".encode())
        if rows.invalid.empty:
            invalid_rows_file(file).unlink(missing_ok=True)
        else:
            _replace(invalid_rows_file(file), rows.invalid.to_csv(index=False, lineterminator="\n").encode())
    except OSError as error:
        raise LoopError(
            f"cannot write {file} ({error.strerror}); make its folder writable, free some space or set DATA_DIR"
        ) from error
    return digest


def invalid_rows_file(dataset_file: Path) -> Path:
    """The file that lists the invalid cells of a data set file."""
    return dataset_file.with_name(f"{dataset_file.stem.removesuffix('_preprocessed')}_invalid_rows.csv")


def to_csv(frame: pd.DataFrame, dataset: DatasetConfig) -> bytes:
    """The data set's canonical bytes: equal data sets give equal bytes on every platform; dates are ISO 8601."""
    dates = [name for name, feature in dataset.features.items() if isinstance(feature, DateFeature)]
    return frame.assign(**{name: _iso(frame[name]) for name in dates}).to_csv(index=False, lineterminator="\n").encode()


def data_sha256(frame: pd.DataFrame, dataset: DatasetConfig) -> str:
    """The SHA-256, in hexadecimal, of the data set's canonical bytes: that of its file."""
    return hashlib.sha256(to_csv(frame, dataset)).hexdigest()


def _iso(days: pd.Series) -> pd.Series:
    """Dates, or dates and times to the microsecond, of days since 1970-01-01 UTC."""
    there = days.notna().to_numpy()
    moments = np.round(days.to_numpy()[there] * MICROSECONDS_PER_DAY).astype("datetime64[us]")
    texts = np.full(len(days), None, dtype=object)
    texts[there] = [text.removesuffix(MIDNIGHT) for text in np.datetime_as_string(moments, unit="us").tolist()]
    return pd.Series(texts, dtype=object, index=days.index)


def _replace(file: Path, content: bytes) -> None:
    """Replace a file atomically: readers see the old or the new content."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
