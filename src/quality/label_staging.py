"""Collects labels of one source before they are stored, so that what the source has said before is not stored again."""

import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from src.quality.label_rows import CheckedLabel
from src.quality.parquet_files import TIME, as_pattern

LABEL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("key", pa.string()),
        ("label", pa.string()),
        ("time", TIME),
        ("received", TIME),
        ("source", pa.string()),
    ]
)
BATCH_ROWS = 50_000
MEMORY_BYTES = 256_000_000
# Below the store's folder: what the memory has no room for.
SPILL_FOLDER = "spill"

_STAGED = pa.schema([("place", pa.int64()), *(LABEL_SCHEMA.field(name) for name in LABEL_SCHEMA.names[:-1])])
_CREATE = """
    CREATE TEMP TABLE staged
        (place BIGINT, request_id VARCHAR, key VARCHAR, label VARCHAR, time TIMESTAMPTZ, received TIMESTAMPTZ)
"""
# Of the labels for an id that were received together, the last one counts.
_CREATE_LAST = """
    CREATE TEMP VIEW last_staged AS
    SELECT request_id, key, label, time, received FROM staged
    QUALIFY row_number() OVER (PARTITION BY request_id, key, received ORDER BY place DESC) = 1
"""
# What a source has not said in its last labels so far.
_NEWS = """
    SELECT request_id, key, label, time, $received AS received FROM (
        SELECT request_id, key, label, time FROM last_staged
        EXCEPT
        SELECT request_id, key, label, time FROM (
            SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = false) WHERE source = $source
            QUALIFY row_number() OVER (PARTITION BY request_id, key ORDER BY received DESC) = 1
        )
    )
"""
_LAST = "SELECT * FROM last_staged"


class LabelStaging:
    """Labels on their way to a store, in memory or in temporary files. Use it as a context manager.

    Args:
        folder: the store's folder; its lock is held.
    """

    def __init__(self, folder: Path) -> None:
        self._spill = folder / SPILL_FOLDER
        self._places = itertools.count()

    def __enter__(self) -> Self:
        self._connection = duckdb.connect(
            config={"memory_limit": f"{MEMORY_BYTES}B", "temp_directory": str(self._spill), "threads": 1}
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(_CREATE)
        self._connection.execute(_CREATE_LAST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def append(self, labels: Iterable[tuple[CheckedLabel, datetime]]) -> None:
        """Add labels and when they were received; none of them if reading them fails."""
        first = next(self._places)
        rows = iter(labels)
        try:
            while batch := list(itertools.islice(rows, BATCH_ROWS)):
                self._insert(batch)
        except BaseException:
            self._connection.execute("DELETE FROM staged WHERE place > ?", [first])
            raise

    def all(self) -> Iterator[pa.Table]:
        """The labels, of those for an id that were received together the last one."""
        return self._tables(_LAST, None)

    def news(self, files: Sequence[str], source: str, received: datetime) -> Iterator[pa.Table]:
        """The last label of each id, where it differs from the last one that the source has given so far.

        Args:
            files: the files of the store.
            source: a file's name, or another name of where all labels come from again and again.
            received: when they were received.
        """
        if not files:
            return self._tables(_LAST, source)
        return self._tables(_NEWS, source, {"files": [*map(as_pattern, files)], "source": source, "received": received})

    def _insert(self, batch: Sequence[tuple[CheckedLabel, datetime]]) -> None:
        columns = zip(*((next(self._places), *label, received) for label, received in batch), strict=True)
        arrays = [pa.array(cells, field.type) for cells, field in zip(columns, _STAGED, strict=True)]
        self._connection.register("batch", pa.Table.from_arrays(arrays, schema=_STAGED))
        self._connection.execute("INSERT INTO staged SELECT * FROM batch")
        self._connection.unregister("batch")

    def _tables(self, query: str, source: str | None, values: dict[str, object] | None = None) -> Iterator[pa.Table]:
        for batch in self._connection.sql(query, params=values).to_arrow_reader(BATCH_ROWS):
            named = [*batch.columns, pa.array([source] * len(batch), pa.string())]
            yield pa.Table.from_batches([pa.RecordBatch.from_arrays(named, names=LABEL_SCHEMA.names)]).cast(
                LABEL_SCHEMA
            )
