"""Files on the shared volume that survive a power failure once they are written, and never exist in part."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from src.core.errors import SpoolFullError, SpoolUnavailableError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
MODE = 0o660


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, whose content is durable when the block ends. Raises FileExistsError and other OSErrors."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, MODE), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_durably(temporary: Path, target: Path, pieces: Iterable[bytes], *, replaces: bool = False) -> None:
    """Write pieces to a temporary file, which must not exist, and rename it to the target, durably.

    Args:
        temporary: on the same volume; it is deleted if writing or ``pieces`` fails.
        target: the file.
        pieces: its content.
        replaces: whether the target may exist. Otherwise a failure leaves no target.

    Raises:
        SpoolFullError: the volume is full.
        OSError: writing fails for another reason.
    """
    try:
        with new_file(temporary) as file:
            file.writelines(pieces)
        temporary.rename(target)
        sync_folder(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not replaces:
            target.unlink(missing_ok=True)  # renamed, but possibly not durable
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise SpoolFullError("the shared volume is full; free some space and try again") from error
        raise


def replace_durably(file: Path, content: bytes) -> None:
    """Write a file, or replace it in one step, durably. Only one process at a time may do so.

    Raises:
        SpoolFullError: the volume is full; the file is unchanged.
        OSError: writing fails for another reason.
    """
    temporary = file.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)  # of a killed process
    write_durably(temporary, file, [content], replaces=True)


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explaining_unusable(what: str) -> Iterator[None]:
    """Convert OSError to SpoolUnavailableError; ``what`` cannot be used."""
    try:
        yield
    except OSError as error:
        raise SpoolUnavailableError(
            f"{what} cannot be used ({error.strerror}); try again, "
            "and if it stays so check that DATA_DIR is there, writable and sound"
        ) from error
