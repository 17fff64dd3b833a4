"""Segments of the prediction log as inference writes them, and the stores that they go to."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from src.core.prediction_log import OPEN_SUFFIX, SEGMENT_SUFFIX, LoggedColumn, Role, SegmentHeader
from src.quality.bucket import Bucket
from src.quality.parquet_store import ParquetStore
from src.quality.store_files import BucketFiles

MODEL = "iris"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
COLUMNS = (("length", "number"), ("petals", "integer"), ("color", "string"), ("wild", "boolean"), ("seen", "date"))
VALUES = (1.5, 3, "blue", True, 20_000.5)


class NewStore(Protocol):
    """Makes the store of a folder, or opens it again."""

    def __call__(self, root: Path) -> ParquetStore: ...


def log_store(root: Path, bucket: Bucket | None = None) -> ParquetStore:
    """A store whose folder exists, as it does while the store is locked; in a bucket, below the name of ``root``."""
    folder = root / "log" / MODEL
    files = None if bucket is None else BucketFiles(folder, bucket, f"{root.name}/log/{MODEL}")
    store = ParquetStore(folder, root / "segments", "time", files)
    store.folder.mkdir(parents=True, exist_ok=True)
    return store


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def logged(request_id: str, moment: datetime = NOON, **changes: Any) -> dict[str, Any]:
    """A line of a segment."""
    row = {"id": request_id, "key": None, "time": microseconds(moment), "values": VALUES, "prediction": "setosa"}
    return {**row, "probabilities": [0.9, 0.1], **changes}


def header(**changes: Any) -> SegmentHeader:
    columns = [LoggedColumn(name=name, type=kind) for name, kind in COLUMNS]
    fields = {"model": MODEL, "version": "7", "role": Role.CHAMPION, "columns": columns, "rate": 1.0, "started": NOON}
    return SegmentHeader.model_validate({**fields, "classes": ["setosa", "virginica"], **changes})


def write_segment(
    root: Path, name: str, rows: Sequence[dict[str, Any]], *, is_open: bool = False, end: str = "", **changes: Any
) -> Path:
    """A segment with some rows, and text after the last one; ``changes`` are the header's."""
    folder = root / "segments"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{SEGMENT_SUFFIX}{OPEN_SUFFIX if is_open else ''}"
    lines = [header(**changes).model_dump_json(), *map(json.dumps, rows)]
    path.write_text("".join(line + "\n" for line in lines) + end, encoding="utf-8")
    return path


def stored_rows(store: ParquetStore) -> list[dict[str, Any]]:
    """The rows that count, file by file, each with the columns of its file."""
    return [row for path in store.paths() for row in pq.read_table(path, partitioning=None).to_pylist()]


def stored_ids(store: ParquetStore) -> list[str]:
    return sorted(row["request_id"] for row in stored_rows(store))


def rows_table(ids: Sequence[str], moment: datetime = NOON, key: str | None = None, rate: float = 1.0) -> pa.Table:
    """Rows of the log without features."""
    count = len(ids)
    return pa.table(
        {
            "request_id": pa.array(ids, pa.string()),
            "key": pa.array([key] * count, pa.string()),
            "time": pa.array([moment] * count, pa.timestamp("us", tz="UTC")),
            "rate": pa.array([rate] * count, pa.float64()),
        }
    )
