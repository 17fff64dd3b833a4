"""Downloaded model versions on disk, and a record of the one served last; several processes may share the cache."""

import contextlib
import errno
import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uuid_utils

from src.core.file_lock import share_lock, try_lock
from src.core.model_registry import MLMODEL_FILE
from src.serving.models.model_version import ModelVersion

KEPT_ENTRIES = 3
CURRENT_FILE = "current.json"
STAGING_PREFIX = "tmp-"

logger = logging.getLogger(__name__)


class ModelCache:
    """One folder of ``<version>-<digest>`` entries; the manifest detects an incomplete file.

    Replicas share it without waiting for each other: an entry appears by one rename, and is renamed before it is
    deleted. The process that fills or deletes a folder holds its lock, which ends with the process. An entry may be
    deleted while it is read; the reader then downloads it again. Equal names mean equal content, so entries never mix.

    All methods block on the disk: call them in a thread. Each may raise OSError.

    Args:
        root: the cache's folder, on a local disk.
        model_name: the registered model that is served from it.
        kept: how many entries are kept.
    """

    def __init__(self, root: Path, model_name: str, *, kept: int = KEPT_ENTRIES) -> None:
        self._root = root
        self._model_name = model_name
        self._kept = kept
        self._staged: dict[Path, int] = {}  # the locks of unfinished downloads

    def create(self) -> None:
        """Create the folder and delete unfinished downloads of processes that have ended."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f"{STAGING_PREFIX}*"):
            self._remove(leftover)

    def find(self, version: ModelVersion) -> Path | None:
        """The version's entry, unverified, or None. Another process may delete it at any time."""
        entry = self._root / version.key
        return entry if entry.is_dir() else None

    def stage(self) -> Path:
        """A new empty folder for a download, locked until ``adopt`` or ``drop``."""
        while True:
            folder = self._unused_path()
            folder.mkdir()
            lock = _lock(folder)
            if lock is not None:  # else another process took it for an unfinished download
                self._staged[folder] = lock
                return folder

    def adopt(self, staged: Path, version: ModelVersion) -> Path:
        """Make a complete download the version's entry in one step; an entry that exists already is kept."""
        entry = self._root / version.key
        try:
            staged.rename(entry)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            self.drop(staged)
        else:
            os.close(self._staged.pop(staged))
        return entry

    def hold(self, entry: Path) -> int:
        """A descriptor that prevents pruning of an entry until it is closed; a damaged entry is deleted nevertheless.

        Raises:
            FileNotFoundError: the entry is gone.
        """
        path = entry / MLMODEL_FILE
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            share_lock(descriptor)
            path.stat()  # it may have been pruned meanwhile
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def drop(self, folder: Path) -> None:
        """Delete an entry or an unfinished download; failures are logged."""
        try:
            self._remove(folder)
        except OSError as error:
            logger.warning("cannot remove %s from the model cache: %s", folder, error.strerror)

    def read_current(self) -> ModelVersion | None:
        """The version served last, or None if unknown."""
        path = self._root / CURRENT_FILE
        try:
            noted: Any = json.loads(path.read_bytes())
            version = ModelVersion.model_validate(noted["model"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # pydantic's ValidationError is a ValueError
            logger.warning("%s is damaged and ignored; the model is read from MLflow", path)
            return None
        return version if version.name == self._model_name else None

    def write_current(self, version: ModelVersion) -> None:
        """Record atomically which version is served now, then delete the entries served longest ago."""
        note = {"model": version.model_dump(mode="json"), "served_since": datetime.now(UTC).isoformat()}
        folder = self.stage()
        try:
            staged = folder / CURRENT_FILE
            with staged.open("xb") as file:
                file.write(json.dumps(note, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            staged.rename(self._root / CURRENT_FILE)
        finally:
            self.drop(folder)
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._root / version.key)
        self._prune(version)

    def _prune(self, current: ModelVersion) -> None:
        served_at = {}
        for path in self._root.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir() and not path.name.startswith(STAGING_PREFIX):
                    served_at[path] = path.stat().st_mtime_ns
        # Ordered by when each was served, so that the target of a rollback is kept.
        entries = sorted(served_at, key=lambda path: (path.name == current.key, served_at[path]), reverse=True)
        for entry in entries[self._kept :]:
            self._drop_unheld(entry)

    def _drop_unheld(self, entry: Path) -> None:
        lock = _lock(entry / MLMODEL_FILE)
        if lock is None and (entry / MLMODEL_FILE).exists():
            return
        try:
            self.drop(entry)
        finally:
            if lock is not None:
                os.close(lock)

    def _remove(self, path: Path) -> None:
        """Delete a folder or file if it exists and no other process fills or deletes it. Raises OSError."""
        lock = self._staged.pop(path, None)
        if lock is None:
            lock = _lock(path)
        if lock is None:
            return
        try:
            # Renamed first: a partly deleted folder is no entry, and another process may create a new one.
            aside = path.rename(self._unused_path())
            if aside.is_dir():
                shutil.rmtree(aside)
            else:
                aside.unlink()
        finally:
            os.close(lock)

    def _unused_path(self) -> Path:
        return self._root / f"{STAGING_PREFIX}{uuid_utils.uuid7()}"


def _lock(path: Path) -> int | None:
    """A locked descriptor of the path, or None if another process holds its lock or has deleted it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Between opening and locking, it may have been deleted and replaced.
        if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
