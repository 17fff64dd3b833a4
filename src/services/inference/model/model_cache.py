"""Downloaded model versions on disk, and a note of the one that was served last; several processes may share them."""

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
from src.services.inference.model.model_version import ModelVersion

KEPT_ENTRIES = 3
CURRENT_FILE = "current.json"
STAGING_PREFIX = "tmp-"

logger = logging.getLogger(__name__)


class ModelCache:
    """One folder of ``<version>-<digest>`` entries; a file in an entry is complete or its manifest tells.

    Replicas share it without waiting for each other: what appears appears by one rename, and what goes away is renamed
    first. Whoever fills or removes a folder holds its lock, which ends with the process. An entry may therefore vanish
    under a reader, who then downloads it again; equal names are equal content, so it never mixes two.

    All methods block on the disk: call them in a thread. Each may raise OSError.

    Args:
        root: the cache's folder, on one machine's disk.
        model_name: the registered model that is served from it.
        kept: how many entries stay when newer ones come.
    """

    def __init__(self, root: Path, model_name: str, *, kept: int = KEPT_ENTRIES) -> None:
        self._root = root
        self._model_name = model_name
        self._kept = kept
        self._staged: dict[Path, int] = {}  # the locks of unfinished downloads

    def create(self) -> None:
        """Make the folder and clear away downloads that a dead process left unfinished."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f"{STAGING_PREFIX}*"):
            self._remove(leftover)

    def find(self, version: ModelVersion) -> Path | None:
        """The version's entry, unverified, or None. It may be gone a moment later."""
        entry = self._root / version.key
        return entry if entry.is_dir() else None

    def stage(self) -> Path:
        """A new empty folder for a download, this process's until ``adopt`` or ``drop``."""
        while True:
            folder = self._unused_path()
            folder.mkdir()
            lock = _lock(folder)
            if lock is not None:  # else another process took it for a leftover
                self._staged[folder] = lock
                return folder

    def adopt(self, staged: Path, version: ModelVersion) -> Path:
        """Make a complete download the version's entry in one step; one that another process made first stays."""
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
        """A descriptor that keeps an entry from being pruned until it is closed; a damaged one is dropped all the same.

        Raises:
            FileNotFoundError: the entry is gone.
        """
        path = entry / MLMODEL_FILE
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            share_lock(descriptor)
            path.stat()  # it may have been pruned while we waited
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def drop(self, folder: Path) -> None:
        """Remove an entry or an unfinished download; what cannot be removed is logged."""
        try:
            self._remove(folder)
        except OSError as error:
            logger.warning("cannot remove %s from the model cache: %s", folder, error.strerror)

    def read_current(self) -> ModelVersion | None:
        """The version that was served last, or None where that is unknown."""
        path = self._root / CURRENT_FILE
        try:
            noted: Any = json.loads(path.read_bytes())
            version = ModelVersion.model_validate(noted["model"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # pydantic's ValidationError is a ValueError
            logger.warning("%s is damaged and is ignored; the model comes from MLflow", path)
            return None
        return version if version.name == self._model_name else None

    def write_current(self, version: ModelVersion) -> None:
        """Note in one step which version is served now, then remove the entries served longest ago."""
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
        # By when each was served, so that the one a rollback goes to is still here.
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
        """Remove a folder or file, if it is there and no other process fills or removes it. Raises OSError."""
        lock = self._staged.pop(path, None)
        if lock is None:
            lock = _lock(path)
        if lock is None:
            return
        try:
            # Under another name first: what is half removed is no entry, and another process may put one in its place.
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
    """The locked descriptor of what is at a path, or None where another process holds or has taken it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Between opening and locking, it may have been removed, and another one may have come in its place.
        if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
