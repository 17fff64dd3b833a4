"""Downloaded model versions on disk, and a note of the one that was served last."""

import contextlib
import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uuid_utils

from src.services.inference.model_version import ModelVersion

KEPT_ENTRIES = 3
CURRENT_FILE = "current.json"
STAGING_PREFIX = "tmp-"

logger = logging.getLogger(__name__)


class ModelCache:
    """One folder of ``<version>-<digest>`` entries; a file in an entry is complete or its manifest tells.

    All methods block on the disk: call them in a thread. Each may raise OSError.

    Args:
        root: the cache's folder; it is this process's alone.
        model_name: the registered model that is served from it.
        kept: how many entries stay when newer ones come.
    """

    def __init__(self, root: Path, model_name: str, *, kept: int = KEPT_ENTRIES) -> None:
        self._root = root
        self._model_name = model_name
        self._kept = kept

    def create(self) -> None:
        """Make the folder and clear away downloads that a dead process left unfinished."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.glob(f"{STAGING_PREFIX}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    def find(self, version: ModelVersion) -> Path | None:
        """The version's entry, unverified, or None."""
        entry = self._root / version.key
        return entry if entry.is_dir() else None

    def stage(self) -> Path:
        """A new empty folder for a download."""
        folder = self._root / f"{STAGING_PREFIX}{uuid_utils.uuid7()}"
        folder.mkdir()
        return folder

    def adopt(self, staged: Path, version: ModelVersion) -> Path:
        """Make a complete download the version's entry in one step."""
        entry = self._root / version.key
        if entry.exists():
            shutil.rmtree(entry)
        return staged.rename(entry)

    def drop(self, folder: Path) -> None:
        """Remove an entry or an unfinished download; what cannot be removed is logged."""
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
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
        note = {"model": version.model_dump(), "served_since": datetime.now(UTC).isoformat()}
        staged = self._root / f"{STAGING_PREFIX}{uuid_utils.uuid7()}"
        try:
            with staged.open("xb") as file:
                file.write(json.dumps(note, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            staged.rename(self._root / CURRENT_FILE)
        except OSError:
            staged.unlink(missing_ok=True)
            raise
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._root / version.key)
        self._prune(version)

    def _prune(self, current: ModelVersion) -> None:
        entries = [path for path in self._root.iterdir() if path.is_dir() and not path.name.startswith(STAGING_PREFIX)]
        # By when each was served, so that the one a rollback goes to is still here.
        entries.sort(key=lambda path: (path.name == current.key, path.stat().st_mtime_ns), reverse=True)
        for entry in entries[self._kept :]:
            self.drop(entry)
