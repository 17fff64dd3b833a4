"""Writes and reads the Parquet files of a store."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import uuid_utils

from src.core.durable_file import sync_folder
from src.core.folders import make_folder
from src.quality.manifest import StoredFile

TIME = pa.timestamp("us", tz="UTC")
# The first day that Python's dates lack. Times from 1970 on until then can be stored.
END_OF_TIME = 253_402_300_800_000_000
COMPRESSION = "zstd"
# Values and rows in memory at once.
MAX_VALUES, MAX_ROWS = 4_000_000, 100_000
RATE = "rate"
DAY_FOLDER = "day="
_EPOCH = date(1970, 1, 1)
_MICROSECONDS_PER_DAY = 86_400_000_000


def by_day(table: pa.Table, time: str) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each UTC day of a column of type ``TIME``, with the day as ``YYYY-MM-DD``."""
    days = table[time].cast(pa.int64()).to_numpy() // _MICROSECONDS_PER_DAY
    for day in np.unique(days):
        yield (_EPOCH + timedelta(days=int(day))).isoformat(), table.filter(pa.array(days == day))


def write_rows(root: Path, day: str, tables: Iterable[pa.Table], time: str) -> StoredFile:
    """Write the rows of one day, at least one, to a new file of a store, durably.

    Args:
        root: the store's folder.
        day: as ``by_day`` gives it.
        tables: of one schema.
        time: the column of the rows' times.
    """
    folder = root / f"{DAY_FOLDER}{day}"
    make_folder(folder)
    path = folder / f"{uuid_utils.uuid7()}.parquet"
    rows, times, rates = 0, list[pa.Scalar](), set[float]()
    with contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in _row_groups(tables):
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression=COMPRESSION))
            writer.write_table(table)
            rows += len(table)
            limits = pc.min_max(table[time])
            times += [limits["min"], limits["max"]]
            if RATE in table.column_names:
                rates |= set(pc.unique(table[RATE]).to_pylist())
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(folder)
    sync_folder(root)
    moments = [moment.as_py().astimezone(UTC) for moment in times]
    return StoredFile(
        path=str(path.relative_to(root)),
        rows=rows,
        bytes=path.stat().st_size,
        first=min(moments),
        last=max(moments),
        rates=sorted(rates),
    )


def as_pattern(path: str) -> str:
    """DuckDB takes paths as patterns: the one that matches a path alone."""
    return "".join(f"[{char}]" if char in "[*?" else char for char in path)


def day_of(file: StoredFile) -> str:
    """The day whose rows a file has."""
    return Path(file.path).parent.name.removeprefix(DAY_FOLDER)


def read_batches(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of some files, a part at a time, with the columns of all of them; null where a file lacks one."""
    schema = pa.unify_schemas([pq.read_schema(path) for path in paths])
    for path in paths:
        with pq.ParquetFile(path) as reader:
            for batch in reader.iter_batches(_rows_at_once(schema)):
                table = pa.Table.from_batches([batch])
                yield pa.concat_tables([schema.empty_table(), table], promote_options="default")


def compatible_groups(paths: Sequence[Path]) -> list[list[Path]]:
    """Files that fit into one: their columns of one name have one type. A version may change a column's type."""
    groups: list[tuple[pa.Schema, list[Path]]] = []
    for path in paths:
        schema = pq.read_schema(path)
        for place, (found, group) in enumerate(groups):
            with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError):
                groups[place] = (pa.unify_schemas([found, schema]), [*group, path])
                break
        else:
            groups.append((schema, [path]))
    return [group for _, group in groups]


def _rows_at_once(schema: pa.Schema) -> int:
    return max(1000, min(MAX_ROWS, MAX_VALUES // len(schema)))


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger parts, none of them empty: few large row groups are faster to read than many small."""
    parts: list[pa.Table] = []
    for table in tables:
        if len(table):
            parts.append(table)
        if parts and sum(map(len, parts)) >= _rows_at_once(table.schema):
            yield pa.concat_tables(parts)
            parts = []
    if parts:
        yield pa.concat_tables(parts)
