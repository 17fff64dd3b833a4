"""Objects in an object store (S3), with the few operations of ``Path`` that batch scoring needs."""

import contextlib
import functools
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from src.core.errors import DataError, LoopError
from src.quality.bucket import SCHEME, Bucket, ObjectInfo, open_bucket
from src.training.data_files import GZIP_MAGIC, TableFile


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or the prefix of several ones.

    Methods raise ConfigError if the bucket does not exist or access is refused, and ConnectionFailedError if the object
    store does not answer.
    """

    bucket: str
    key: str

    @classmethod
    def of(cls, address: str) -> "ObjectPath":
        """That of ``s3://bucket/key``."""
        bucket, _, key = address.removeprefix(SCHEME).strip("/").partition("/")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.bucket, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """The part of the key after the last slash."""
        return self.key.rpartition("/")[2]

    def exists(self) -> bool:
        """Whether it is an object, or there are some directly below it."""
        return bool(self.find())

    def find(self) -> list[tuple["ObjectPath", ObjectInfo]]:
        """The object itself or, where there is none, those directly below it, sorted."""
        return [(ObjectPath(self.bucket, info.key), info) for info in _opened(self.bucket).find(self.key)]

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Its content, read in pieces as needed. Raises FileNotFoundError: no such object."""
        return _opened(self.bucket).open(self.key)

    def take(self, file: Path) -> None:
        """Write or replace the object, with a file's content. Raises OSError: the file cannot be read."""
        _opened(self.bucket).upload(file, self.key)


@dataclass(frozen=True)
class ObjectTable(TableFile):
    """A table in an object store, of which nothing is copied to this machine's disk."""

    place: ObjectPath

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, decompressed if they are gzip's.

        Raises:
            DataError: it is a damaged or incomplete gzip file.
            LoopError: it was deleted, or the object store fails; trying again may help.
        """
        try:
            with self.place.open() as stream:
                is_compressed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
                stream.seek(0)
                yield cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if is_compressed else stream
        except FileNotFoundError as error:
            raise LoopError(f"{self.name} was deleted before it was read; run again") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.name} cannot be read: {error}; fix the file") from error


def path_of(address: str) -> Path | ObjectPath:
    """What a path or an ``s3://`` address names."""
    return ObjectPath.of(address) if address.startswith(SCHEME) else Path(address)


@functools.cache
def _opened(name: str) -> Bucket:
    return open_bucket(f"{SCHEME}{name}", setting="the address")
