"""Writes a backup: a tar file whose members are compressed while they are received, without another copy."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from src.services.stack.backup_manifest import MANIFEST, Manifest, Member
from src.services.stack.errors import StackError

# Space that a backup leaves free: the loop may be writing to the same disk.
RESERVE_BYTES = 512 * 1024 * 1024
PARTIAL = ".partial"
_STALE_SECONDS = 86400.0
_BLOCK = tarfile.BLOCKSIZE
_BYTES_BETWEEN_LOOKS = 16 * 1024 * 1024


@contextlib.contextmanager
def new_archive(folder: Path, *, private: bool = False) -> Iterator[ArchiveWriter]:
    """A new archive in ``folder``, readable by its owner alone; without ``commit``, nothing stays.

    Args:
        folder: made with mode 0700 where it does not exist.
        private: give an existing folder this mode too.

    Raises:
        StackError: the disk is full, or the folder is not writable.
    """
    with _writing_to(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if private and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        _delete_stale(folder)
        descriptor, temporary = tempfile.mkstemp(suffix=PARTIAL, dir=folder)  # with mode 0600
    file = os.fdopen(descriptor, "w+b")
    try:
        yield ArchiveWriter(file, Path(temporary))
    finally:
        with contextlib.suppress(OSError):  # what cannot be written was reported before
            file.close()
        with _writing_to(folder):
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StackError(f"cannot write to {folder} ({error.strerror}); choose another folder with --folder") from error


def _delete_stale(folder: Path) -> None:
    """Delete what killed backups have left; one that is being written has changed within the day."""
    for path in folder.glob(f"*{PARTIAL}"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink()


class _Counted:
    """A file that counts and hashes what is written, and keeps space free on its disk."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._next_look = 0
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        with _writing_to(self._folder):
            if self.size >= self._next_look:
                _require_space(self._folder)
                self._next_look = self.size + _BYTES_BETWEEN_LOOKS
            self._hash.update(data)
            self.size += len(data)
            return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def entry(self) -> Member:
        return Member(self.size, self._hash.hexdigest())


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < RESERVE_BYTES:
        raise StackError(
            f"the disk of {folder} has only {free // 1_000_000} MB left, which the loop may need; free some space, "
            "or write to another disk with --folder"
        )


class ArchiveWriter:
    """Adds members one after another, then gives the file its name."""

    def __init__(self, file: IO[bytes], temporary: Path) -> None:
        self._file = file
        self._members: dict[str, Member] = {}
        self.temporary = temporary

    def size(self, name: str) -> int:
        """A member's size in bytes."""
        return self._members[name].size

    @contextlib.contextmanager
    def compressed(self, name: str) -> Iterator[IO[bytes]]:
        """A member to write to; it is compressed."""
        with self._member(name) as counted, gzip.GzipFile("", "wb", 1, counted, mtime=0) as packed:
            yield cast("IO[bytes]", packed)

    def add(self, name: str, content: bytes) -> None:
        """A small member, as it is."""
        with self._member(name) as counted:
            counted.write(content)

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest, with all members so far, and write everything to the disk."""
        self.add(MANIFEST, replace(manifest, members=dict(self._members)).to_json())
        with _writing_to(self.temporary.parent):
            self._file.write(bytes(2 * _BLOCK))
            self._file.flush()
            os.fsync(self._file.fileno())

    def commit(self, name: str) -> Path:
        """Give the finished file its name; return its path."""
        target = self.temporary.with_name(name)
        with _writing_to(target.parent):
            self.temporary.replace(target)
            if hasattr(os, "O_DIRECTORY"):
                descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        return target

    @contextlib.contextmanager
    def _member(self, name: str) -> Iterator[_Counted]:
        """The header, which needs the size, is written last."""
        folder = self.temporary.parent
        with _writing_to(folder):
            start = self._file.tell()
            self._file.write(bytes(_BLOCK))
        counted = _Counted(self._file, folder)
        yield counted
        self._members[name] = counted.entry()
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = counted.size, 0o600, int(time.time())
        with _writing_to(folder):
            self._file.write(bytes(-counted.size % _BLOCK))
            self._file.seek(start)
            self._file.write(header.tobuf(tarfile.GNU_FORMAT))  # in one block, whatever the size
            self._file.seek(0, os.SEEK_END)
