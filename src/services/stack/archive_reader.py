"""Reads a backup: checks it from end to end, then gives its members as streams."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from src.services.stack.backup_manifest import DATABASE, MANIFEST, MEMBERS, REQUIRED_MEMBERS, Manifest, Member
from src.services.stack.errors import StackError
from src.services.stack.volume_files import first_unsafe

_PART = 1024 * 1024
_MAX_MANIFEST_BYTES = 1_000_000
_DUMP_END = b"-- Dump completed"
_TAIL_BYTES = 200


class _Hashed:
    """A file that counts and hashes what is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data

    def entry(self) -> Member:
        while self.read(_PART):
            pass
        return Member(self._size, self._hash.hexdigest())


class Archive:
    """A backup's file. ``check`` comes first: nothing of an unchecked archive may be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> Manifest:
        """Read the whole archive and compare it with its manifest.

        Raises:
            StackError: it is damaged, incomplete or no backup.
        """
        with self._opened() as archive:
            members = {member.name: member for member in archive.getmembers()}
            if MANIFEST not in members or members[MANIFEST].size > _MAX_MANIFEST_BYTES:
                raise self._damaged("it has no manifest, so it was not finished or is no backup")
            manifest = Manifest.from_json(self._file(archive, MANIFEST).read())
            names = set(members) - {MANIFEST}
            if len(members) != len(archive.getmembers()) or names != set(manifest.members):
                raise self._damaged("its members are not those of its manifest")
            if not set(REQUIRED_MEMBERS) <= names <= set(MEMBERS):
                raise self._damaged("it lacks a member, or has an unknown one")
            for name in names:
                self._check_member(archive, name, manifest.members[name])
        return manifest

    @contextlib.contextmanager
    def uncompressed(self, name: str) -> Iterator[IO[bytes]]:
        """A compressed member's content."""
        with self._opened() as archive, gzip.GzipFile(fileobj=self._file(archive, name)) as content:
            yield cast("IO[bytes]", content)

    def content(self, name: str) -> bytes:
        """A small member's content."""
        with self._opened() as archive:
            return self._file(archive, name).read()

    def _check_member(self, archive: tarfile.TarFile, name: str, expected: Member) -> None:
        hashed = _Hashed(self._file(archive, name))
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=cast("IO[bytes]", hashed)) as content:
                check = _check_dump if name == DATABASE else _check_files
                problem = check(cast("IO[bytes]", content))
                if problem:
                    raise self._damaged(f"{name}: {problem}")
                while content.read(_PART):
                    pass
        if hashed.entry() != expected:
            raise self._damaged(f"{name} has another checksum than in the manifest")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path, "r:") as archive:
                yield archive
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise StackError(f"cannot read {self.path} ({error.strerror}); FILE= names a backup") from error

    def _file(self, archive: tarfile.TarFile, name: str) -> IO[bytes]:
        member = archive.getmember(name)
        file = archive.extractfile(member) if member.isreg() else None
        if file is None:
            raise self._damaged(f"{name} is not a file")
        return file

    def _damaged(self, why: str) -> StackError:
        return StackError(f"{self.path} is not a whole backup: {why}; restore another one")


def _check_dump(content: IO[bytes]) -> str:
    """What is wrong with a database dump: mysqldump ends each whole one with a comment."""
    tail = b""
    while part := content.read(_PART):
        tail = (tail + part)[-_TAIL_BYTES:]
    return "" if _DUMP_END in tail else "the database dump is not complete"


def _check_files(content: IO[bytes]) -> str:
    """What is wrong with a volume's files."""
    unsafe = first_unsafe(content)
    return "" if unsafe is None else f"{unsafe!r} does not belong in a volume"
