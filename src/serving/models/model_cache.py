"""Downloaded model versions on disk, and a record of the one served last; several processes may share the cache."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import weakref
from pathlib import Path

import uuid_utils

from src.core.errors import InvalidModelError
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor, Source

KEPT_ENTRIES = 3
CURRENT_FILE = "current.json"
STAGING_PREFIX = "tmp-"
# What may change while a version is served, and what earlier releases do not expect in the file.
CHANGING = {"verdict", "reason", "rolled_back_to", "pending_previous"}
# Locks of a folder.
IN_USE = fcntl.LOCK_SH
UNUSED = fcntl.LOCK_EX | fcntl.LOCK_NB

logger = logging.getLogger(__name__)


class ModelCache:
    """One folder, on a local disk, of ``<version>-<digest>`` entries; the manifest detects an incomplete file.

    Replicas share it without waiting for each other: an entry appears by one rename, and is renamed before it is
    deleted. A process that fills or serves a folder shares its lock, which ends with the process; a locked folder is
    not cleaned up. An entry may be deleted while it is read; the reader then downloads it again. Equal names mean equal
    content, so entries never mix.

    All methods block on the disk: call them in a thread. Each may raise OSError.
    """

    def __init__(self, root: Path, model_name: str) -> None:
        self._root = root
        self._model_name = model_name
        self._staged: dict[Path, int] = {}  # the locks of unfinished downloads

    def create(self) -> None:
        """Create the folder and delete unfinished downloads of processes that have ended."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f"{STAGING_PREFIX}*"):
            self.drop(leftover, UNUSED)

    def entry(self, version: ModelVersion) -> Path:
        """The version's folder, whether or not it exists. Another process may delete it at any time."""
        return self._root / version.key

    def stage(self) -> Path:
        """A new empty folder for a download, locked until ``adopt`` or ``drop``."""
        while True:
            folder = self._unused_path()
            folder.mkdir()
            with contextlib.suppress(FileNotFoundError):  # another process took it for an unfinished download
                self._staged[folder] = self.hold(folder)
                return folder

    def adopt(self, staged: Path, version: ModelVersion) -> Path:
        """Make a complete download the version's entry in one step; an entry that exists already is kept."""
        entry = self.entry(version)
        try:
            staged.rename(entry)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        self.drop(staged)
        return entry

    def load(self, version: ModelVersion, source: Source) -> Predictor:
        """The version's model; its entry is kept as long as the predictor exists.

        Raises FileNotFoundError if there is no entry, and InvalidModelError after deleting an invalid one.
        """
        entry = self.entry(version)
        held = self.hold(entry)
        try:
            predictor = load_predictor(entry, version, source)
        except BaseException as error:
            if isinstance(error, InvalidModelError):
                self.drop(entry)
            os.close(held)
            raise
        weakref.finalize(predictor, os.close, held)
        return predictor

    def hold(self, folder: Path, lock: int = IN_USE) -> int:
        """A descriptor with a folder's lock, which keeps the folder, except from ``drop``, until it is closed.

        Raises FileNotFoundError, or BlockingIOError if the lock is ``UNUSED`` and another process holds one.
        """
        with contextlib.ExitStack() as stack:
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, lock)
            # Between opening and locking, it may have been deleted and replaced.
            if not os.path.samestat(os.fstat(descriptor), folder.stat()):
                raise FileNotFoundError(errno.ENOENT, "it was replaced", str(folder))
            stack.pop_all()
        return descriptor

    def drop(self, folder: Path, lock: int = IN_USE) -> None:
        """Delete a folder, unless another process deletes it, or uses it and ``lock`` is ``UNUSED``; log failures."""
        try:
            descriptor = self._staged.pop(folder, None) or self.hold(folder, lock)
            try:
                # Renamed first: a partly deleted folder is no entry, and another process may create a new one.
                shutil.rmtree(folder.rename(self._unused_path()))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, BlockingIOError):
            return
        except OSError as error:
            logger.warning("cannot remove %s from the model cache: %s", folder, error.strerror)

    def read_current(self) -> ModelVersion | None:
        """The version served last, or None if unknown."""
        path = self._root / CURRENT_FILE
        try:
            version = ModelVersion.model_validate(json.loads(path.read_bytes())["model"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            logger.warning("%s is damaged and ignored; the model is read from MLflow", path)
            return None
        return version if version.name == self._model_name else None

    def write_current(self, version: ModelVersion) -> None:
        """Record atomically which version is served now, then delete the entries served longest ago."""
        note = {"model": version.model_dump(mode="json", exclude=CHANGING)}
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
            os.utime(self.entry(version))
        entries: list[tuple[bool, int, Path]] = []
        for path in self._root.glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError):
                entries.append((path.name == version.key, path.stat().st_mtime_ns, path))
        # Ordered by when each was served, so that the target of a rollback is kept.
        for _, _, entry in sorted(entries, reverse=True)[KEPT_ENTRIES:]:
            self.drop(entry, UNUSED)

    def _unused_path(self) -> Path:
        return self._root / f"{STAGING_PREFIX}{uuid_utils.uuid7()}"
