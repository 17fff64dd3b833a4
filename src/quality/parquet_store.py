"""Rows in Parquet files by day. Every change is one replacement of the manifest, so that a kill loses no row.

New files are written first, then the manifest, and what is superseded is deleted last; ``settle`` completes what a
killed process left undone.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from src.core.durable_file import sync_folder
from src.core.file_lock import locked_file
from src.core.folders import make_folder
from src.quality.erased_rows import KEY, REQUEST_ID, matches, rows_with_key, tombstones, without_erased
from src.quality.manifest import Manifest, ReadFile, StoredFile
from src.quality.parquet_files import by_day, compatible_groups, day_of, read_batches, write_rows
from src.quality.store_files import FolderFiles

LOCK_FILE = "store.lock"
# Larger files are not compacted any more.
LARGE_BYTES = 64_000_000


class ParquetStore:
    """The rows of one model.

    Args:
        folder: its files.
        sources: the folder of the files whose rows are added; they are deleted once they are stored.
        time: the column by whose day rows are filed, of type timestamp[us, UTC], from 1970 on.
        files: where the files are; by default, in ``folder`` alone.
    """

    def __init__(self, folder: Path, sources: Path, time: str, files: FolderFiles | None = None) -> None:
        self.folder = folder
        self._files = FolderFiles(folder) if files is None else files
        self._sources = sources
        self._time = time

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the store; to lock the log and the labels, begin with the log."""
        make_folder(self.folder)
        with locked_file(self.folder / LOCK_FILE):
            self._files.prepare()
            yield

    @property
    def may_exist(self) -> bool:
        """Whether anything may be stored; to lock a store creates its folder."""
        return self._files.may_exist

    @property
    def manifest(self) -> Manifest:
        """What is stored."""
        return self._files.read_manifest()

    def paths(self, since: datetime | None = None) -> list[str]:
        """The paths of the files that count, oldest first; with ``since``, of those with rows from then on.

        Call it under ``locked``, and read the files there: it fetches missing ones from a bucket.
        """
        files = self.manifest.files
        return [str(self._files.local(file)) for file in files if since is None or file.last >= since]

    # -- changes, under ``locked`` -----------------------------------------------------------------------

    def settle(self) -> None:
        """Delete sources that are stored, and files that do not count: what an interrupted change has left."""
        manifest = self.manifest
        self._delete_sources(manifest.sources)
        self._files.delete_others({file.path for file in manifest.files})

    def add(self, tables: Iterable[pa.Table], sources: Sequence[str] = (), read: ReadFile | None = None) -> int:
        """Store rows, then delete the sources they come from; return the number of stored rows.

        Args:
            tables: rows in any order; their columns may differ.
            sources: names of files in the folder of sources.
            read: the file they come from, if it is one that stays; it replaces what is known of that name.
        """
        manifest = self.manifest
        new: list[StoredFile] = []
        for table in tables:
            kept = without_erased(table, manifest.erased, self._time)
            new += [self._write(day, [rows]) for day, rows in by_day(kept, self._time)]
        known = manifest.read
        if read is not None:
            known = sorted([*(file for file in known if file.name != read.name), read], key=lambda file: file.name)
        self._commit(manifest, new=new, sources=list(sources), read=known)
        self._delete_sources(sources)
        return sum(file.rows for file in new)

    def forget_read(self, names: Sequence[str]) -> None:
        """Forget files that were read and are gone; their rows stay."""
        manifest = self.manifest
        left = [file for file in manifest.read if file.name not in names]
        if len(left) < len(manifest.read):
            self._commit(manifest, read=left)

    def compact(self, least_files: int = 2) -> None:
        """Join the small files of each day that has at least so many; days are joined one after the other."""
        days: dict[str, list[StoredFile]] = {}
        for file in self.manifest.files:
            if file.bytes < LARGE_BYTES:
                days.setdefault(day_of(file), []).append(file)
        for day, small in days.items():
            if len(small) < least_files:
                continue
            files = {self._files.local(file): file for file in small}
            for group in compatible_groups(list(files)):
                if len(group) > 1:
                    joined = self._write(day, read_batches(group))
                    self._replace([files[path] for path in group], [joined])

    def expire(self, before: datetime, max_bytes: int) -> None:
        """Delete files without a row from ``before`` on, then the oldest ones until the rest is small enough.

        Ids that were erased earlier are forgotten.
        """
        manifest = self.manifest
        kept = [file for file in manifest.files if file.last >= before]
        size = sum(file.bytes for file in kept)
        while size > max_bytes:
            size -= kept.pop(0).bytes
        paths = {file.path for file in kept}
        old = [file for file in manifest.files if file.path not in paths]
        erased = [entry for entry in manifest.erased if entry.at >= before]
        if old or len(erased) < len(manifest.erased):
            self._commit(manifest, old=old, erased=erased)
            self._files.delete(old)

    def erase(self, names: Sequence[str], now: datetime) -> int:
        """Delete the rows of some names, and leave them out of what arrives later; return how many were stored.

        Args:
            names: from ``erased_rows.names_of``.
            now: when they are erased.
        """
        manifest = self.manifest
        old, new = list[StoredFile](), list[StoredFile]()
        for file in manifest.files:
            found = pc.sum(matches(self._ids(file), names)).as_py()
            if found:
                old.append(file)
            if found and found < file.rows:
                kept = (
                    batch.filter(pc.invert(matches(batch, names))) for batch in read_batches([self._files.local(file)])
                )
                new.append(self._write(day_of(file), kept))
        added = tombstones(names, now)
        hashes = {entry.id_sha256 for entry in added}
        erased = [*(entry for entry in manifest.erased if entry.id_sha256 not in hashes), *added]
        self._commit(manifest, old=old, new=new, erased=erased)
        self._files.delete(old)
        return sum(file.rows for file in old) - sum(file.rows for file in new)

    def rows_with_key(self, names: Sequence[str]) -> list[str]:
        """The names of the stored rows whose key has one of these names, for ``erase``."""
        return [row for file in self.manifest.files for row in rows_with_key(self._ids(file), names)]

    # -- helpers -----------------------------------------------------------------------------------------

    def _write(self, day: str, tables: Iterable[pa.Table]) -> StoredFile:
        """A new file with the rows of one day, which may be listed."""
        file = write_rows(self.folder, day, tables, self._time)
        self._files.publish(file)
        return file

    def _replace(self, old: Sequence[StoredFile], new: Sequence[StoredFile]) -> None:
        self._commit(self.manifest, old=old, new=new)
        self._files.delete(old)

    def _commit(
        self, manifest: Manifest, *, old: Sequence[StoredFile] = (), new: Sequence[StoredFile] = (), **changes: object
    ) -> None:
        """Replace the manifest: the files ``old`` by the files ``new``, and other fields by the given ones."""
        superseded = {file.path for file in old}
        files = [*(file for file in manifest.files if file.path not in superseded), *new]
        files.sort(key=lambda file: file.first)
        self._files.write_manifest(manifest.model_copy(update={"files": files, **changes}))

    def _delete_sources(self, names: Sequence[str]) -> None:
        """Delete sources durably: a later manifest does not know their names any more."""
        for name in names:
            (self._sources / name).unlink(missing_ok=True)
        if names and self._sources.is_dir():
            sync_folder(self._sources)

    def _ids(self, file: StoredFile) -> pa.Table:
        return pq.read_table(self._files.local(file), columns=[REQUEST_ID, KEY], partitioning=None)
