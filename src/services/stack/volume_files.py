"""The files of a volume as a tar stream: read to its very end, checked, and copied."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import IO, cast

from src.services.stack.errors import StackError

_PART = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK


class _Watched:
    """A stream that knows how much was read, and where the last byte was that is not zero."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.content_size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        content = len(data.rstrip(b"\0"))
        if content:
            self.content_size = self.size + content
        self.size += len(data)
        return data


@contextmanager
def reading(stream: IO[bytes]) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]]:
    """The members of a tar stream; at the end of the block, the stream must have ended as tar files end.

    Python's own reader takes a stream that was cut, or a header that is damaged, for the end.

    Raises:
        tarfile.ReadError: the stream is cut or damaged.
    """
    watched = _Watched(stream)
    end = 0

    def members(files: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        nonlocal end
        for member in files:
            size = member.size if member.isreg() else 0
            end = member.offset_data + size + -size % _BLOCK
            yield files, member

    with tarfile.open(fileobj=cast("IO[bytes]", watched), mode="r|") as files:
        yield members(files)
        while watched.read(_PART):
            pass
    if watched.content_size > end or watched.size < end + _END:
        raise tarfile.ReadError("unexpected end of data")


def is_safe(member: tarfile.TarInfo) -> bool:
    """Whether it is a file, a folder or a link, and stays within its folder."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return False
    target = posixpath.join(posixpath.dirname(member.name), member.linkname) if member.issym() else member.linkname
    paths = [posixpath.normpath(path) for path in (member.name, target)]
    return not any(path.startswith("/") or path.split("/")[0] == ".." for path in paths)


def first_unsafe(stream: IO[bytes]) -> str | None:
    """The first member that is not safe, if any.

    Raises:
        tarfile.ReadError: the stream is cut or damaged.
    """
    unsafe = None
    with reading(stream) as members:
        for _, member in members:
            if unsafe is None and not is_safe(member):
                unsafe = member.name
    return unsafe


def copy_files(
    source: IO[bytes], target: IO[bytes], left_out: Callable[[str], object], without: Collection[str] = ()
) -> None:
    """Copy a tar stream, with owners, modes and times.

    Args:
        source: the stream.
        target: gets the copy.
        left_out: gets the name of each file that is left out: a special one, such as a socket, or one of ``without``.
        without: paths from the volume's root.

    Raises:
        StackError: the stream ends early, as when a file shrinks while it is read.
    """
    try:
        with tarfile.open(fileobj=target, mode="w|") as copy, reading(source) as members:
            for files, member in members:
                if is_safe(member) and posixpath.normpath(member.name) not in without:
                    copy.addfile(member, files.extractfile(member) if member.isreg() else None)
                else:
                    left_out(member.name)
    except tarfile.TarError as error:
        raise StackError(f"a file changed while it was copied ({error}); make the backup again") from error
