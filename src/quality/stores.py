"""Where the logs and the labels of all models are, below the folder ``quality`` of ``DATA_DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from src.core.feedback import FEEDBACK_FOLDER
from src.core.folders import model_folder
from src.core.prediction_log import SEGMENTS_FOLDER
from src.quality.bucket import Bucket
from src.quality.parquet_store import LOCK_FILE, ParquetStore
from src.quality.store_files import BucketFiles

STORE_FOLDERS = LOG_FOLDER, LABELS_FOLDER = "log", "labels"


@dataclass(frozen=True)
class Stores:
    """The log of a model and its labels."""

    log: ParquetStore
    labels: ParquetStore


def log_store(quality_dir: Path, model: str, bucket: Bucket | None = None) -> ParquetStore:
    """The prediction log of a registered model, in a bucket if one is given."""
    return _store(quality_dir / LOG_FOLDER, model, quality_dir / SEGMENTS_FOLDER, "time", bucket)


def label_store(quality_dir: Path, model: str, bucket: Bucket | None = None) -> ParquetStore:
    """The labels of a registered model, in a bucket if one is given."""
    return _store(quality_dir / LABELS_FOLDER, model, quality_dir / FEEDBACK_FOLDER, "received", bucket)


def stores_of(quality_dir: Path, model: str, bucket: Bucket | None = None) -> Stores:
    """Both stores of a registered model."""
    return Stores(log_store(quality_dir, model, bucket), label_store(quality_dir, model, bucket))


def all_stores(quality_dir: Path, bucket: Bucket | None = None) -> dict[str, Stores]:
    """The stores of every model that has had one, by its name: those of a former MODEL_NAME stay until they expire."""
    locks = [path for folder in STORE_FOLDERS for path in (quality_dir / folder).glob(f"*/{LOCK_FILE}")]
    names = {path.parent.name for path in locks}
    if bucket is not None:  # whose stores a new volume does not have yet
        names.update(name for folder in STORE_FOLDERS for name in bucket.folders(folder))
    return {model: stores_of(quality_dir, model, bucket) for model in sorted(map(unquote, names))}


def _store(parent: Path, model: str, sources: Path, time: str, bucket: Bucket | None) -> ParquetStore:
    folder = model_folder(parent, model)
    files = None if bucket is None else BucketFiles(folder, bucket, f"{parent.name}/{folder.name}")
    return ParquetStore(folder, sources, time, files)


def expire_together(stores: Sequence[ParquetStore], before: datetime, max_bytes: int) -> None:
    """Delete files without a row from ``before`` on, then the oldest ones of all stores until the rest is small enough.

    Args:
        stores: logs or labels of several models; each is locked meanwhile.
        before: the oldest time that is kept.
        max_bytes: the most bytes of all stores together.
    """
    kept = [
        (file.first, place, file.bytes)
        for place, store in enumerate(stores)
        for file in store.manifest.files
        if file.last >= before
    ]
    room = [0] * len(stores)
    for _, place, size in sorted(kept, reverse=True):
        if sum(room) + size > max_bytes:
            break
        room[place] += size
    for store, limit in zip(stores, room, strict=True):
        with store.locked():
            store.expire(before, limit)
