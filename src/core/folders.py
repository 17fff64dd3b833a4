"""Folders that a process must be able to write to, and the one message for when it cannot."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import ConfigError


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder where it is missing. Raises OSError, also for one that exists and cannot be written to."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


@contextlib.contextmanager
def explaining_unwritable(variables: str = "DATA_DIR") -> Iterator[None]:
    """Turn an OSError of the block into a ConfigError that names the folder and the variables that choose another."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write to {error.filename} ({error.strerror}); "
            f"make it writable or set {variables} to another folder"
        ) from error
