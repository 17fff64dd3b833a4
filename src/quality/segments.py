"""Reads the segments of the prediction log into tables; ``core.prediction_log`` describes their form."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from src.core.feature_schema import ColumnType
from src.core.feedback import UNFINISHED_FEEDBACK_SUFFIX
from src.core.file_lock import try_lock
from src.core.prediction_log import OPEN_SUFFIX, SEGMENT_SUFFIX, UNFINISHED_SEGMENT_SUFFIX, SegmentHeader
from src.quality.parquet_files import END_OF_TIME, TIME
from src.quality.parquet_store import ParquetStore

ARROW_TYPES = {
    ColumnType.NUMBER: pa.float64(),
    ColumnType.DATE: pa.float64(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.STRING: pa.string(),
}
PYTHON_TYPES = {pa.float64(): float, pa.int64(): int, pa.bool_(): bool, pa.string(): str}
FEATURE, PROBABILITY = "feature_", "probability_"
# Bytes of segments that are stored at once: their tables take less.
MAX_BYTES = 32_000_000
# Files that cannot be read are moved here.
BAD_FOLDER = "bad"
# Of segments and labels that are not complete yet; their writers rename them at once.
UNFINISHED_SUFFIXES = frozenset({UNFINISHED_SEGMENT_SUFFIX, UNFINISHED_FEEDBACK_SUFFIX})
UNFINISHED_SECONDS = 3600
# What a row of another form raises, from its text to its column.
_WRONG_ROWS = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException)

logger = logging.getLogger(__name__)


def ingest_segments(store: ParquetStore, folder: Path, model: str) -> int:
    """Move the rows of all closed segments of a model to its store; return how many were stored.

    A segment that cannot be read is moved to ``bad``, with a log line.

    Args:
        store: the model's log, locked and settled.
        folder: the segments of all models.
        model: the registered model's name.
    """
    _close_abandoned(folder)
    rows = 0
    for names in groups_of(folder, SEGMENT_SUFFIX, MAX_BYTES):
        tables: dict[pa.Schema, list[pa.Table]] = {}
        stored = []
        for name in names:
            try:
                table = read_segment(folder / name, model)
            except ValueError as error:
                set_aside(folder, name, f"an unreadable segment of the prediction log: {error}")
                continue
            if table is not None:
                tables.setdefault(table.schema, []).append(table)
                stored.append(name)
        if stored:
            rows += store.add([pa.concat_tables(some) for some in tables.values()], stored)
    return rows


def waiting_models(folder: Path) -> set[str]:
    """The models of the closed segments that can be read."""
    found = set[str]()
    for path in folder.glob(f"*{SEGMENT_SUFFIX}"):
        with contextlib.suppress(ValueError), path.open("rb") as file:
            found.add(_header(file).model)
    return found


def read_segment(path: Path, model: str) -> pa.Table | None:
    """The complete rows of a segment; None if it is of another model.

    Raises:
        ValueError: it is not a segment.
    """
    with path.open("rb") as file:
        header = _header(file)
        if header.model != model:
            return None
        lines = file.read().split(b"\n")[:-1]  # what follows the last line's end is incomplete
    try:
        return _table(header, [json.loads(line) for line in lines])
    except _WRONG_ROWS as error:
        # Its message may have values of the row.
        raise ValueError(f"a row has another form ({type(error).__name__})") from None


def groups_of(folder: Path, suffix: str, max_bytes: int) -> Iterator[list[str]]:
    """The names of the files with a suffix, oldest first, in groups that end when they have so many bytes."""
    group: list[str] = []
    size = 0
    for path in sorted(folder.glob(f"*{suffix}")):
        group.append(path.name)
        size += path.stat().st_size
        if size >= max_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def set_aside(folder: Path, name: str, reason: str) -> None:
    """Move a file that cannot be read to ``bad``, and log the reason."""
    bad = folder / BAD_FOLDER
    bad.mkdir(exist_ok=True)
    (folder / name).rename(bad / name)
    logger.error("moved to %a: %s", str(bad / name), reason)


def expire_bad(folder: Path, before: datetime) -> None:
    """Delete the files in ``bad`` that were last written before a time: they may have the rows of people."""
    for path in (folder / BAD_FOLDER).glob("*"):
        if path.stat().st_mtime < before.timestamp():
            path.unlink()


def delete_unfinished(folder: Path, now: datetime) -> None:
    """Delete the files that killed writers had begun to write an hour ago or earlier: they may have people's ids."""
    for path in folder.glob("*"):
        if path.suffix in UNFINISHED_SUFFIXES:
            with contextlib.suppress(FileNotFoundError):  # completed, or deleted by inference
                if now.timestamp() - path.stat().st_mtime >= UNFINISHED_SECONDS:
                    path.unlink()


def _header(file: BinaryIO) -> SegmentHeader:
    """The header of a segment, which is read. Raises ValueError: it is none."""
    try:
        return SegmentHeader.model_validate_json(file.readline())
    except ValidationError as error:
        raise ValueError(f"not a segment's header: {error.errors(include_input=False)[0]['msg']}") from None


def _table(header: SegmentHeader, rows: Sequence[dict[str, Any]]) -> pa.Table:
    count = len(rows)
    times = np.array([row["time"] for row in rows], dtype=np.int64)
    if count and not 0 <= times.min() <= times.max() < END_OF_TIME:
        raise ValueError("a row's time is out of range")
    columns: dict[str, pa.Array] = {
        "request_id": pa.array([row["id"] for row in rows], pa.string()),
        "key": pa.array([row.get("key") for row in rows], pa.string()),
        "time": pa.array(times).cast(TIME),
        "model_version": pa.array([header.version] * count, pa.string()),
        "role": pa.array([str(header.role)] * count, pa.string()),
        "rate": pa.array([header.rate] * count, pa.float64()),
        "prediction": pa.array([str(row["prediction"]) for row in rows], pa.string()),
    }
    for place, name in enumerate(header.classes):
        shares = [None if row.get("probabilities") is None else row["probabilities"][place] for row in rows]
        columns[PROBABILITY + name] = pa.array(shares, pa.float64())
    for place, column in enumerate(header.columns):
        values = [row["values"][place] for row in rows]
        columns[FEATURE + column.name] = _values(values, ARROW_TYPES[ColumnType(column.type)])
    return pa.table(columns)


def _values(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    """A feature's values; null where one is missing, as null or as not-a-number."""
    convert = PYTHON_TYPES[arrow_type]
    missing = (value is None or value != value for value in values)  # noqa: PLR0124 - only NaN differs from itself
    cells = [None if gone else convert(value) for gone, value in zip(missing, values, strict=True)]
    return pa.array(cells, arrow_type)


def _close_abandoned(folder: Path) -> None:
    """Rename the open segments of killed writers, which hold no lock any more.

    An empty one stays: its writer may be about to lock it.
    """
    for path in folder.glob(f"*{SEGMENT_SUFFIX}{OPEN_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # it must not be created again
        except FileNotFoundError:  # its writer has closed it in between
            continue
        try:
            if os.fstat(descriptor).st_size and try_lock(descriptor) and path.exists():
                path.rename(path.with_suffix(""))
        finally:
            os.close(descriptor)
