"""Folders that must be writable, and the error message where they are not."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from src.core.errors import ConfigError


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Create a folder if it is missing. Raises OSError, also if it exists and is not writable."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def model_folder(parent: Path, model: str) -> Path:
    """The folder of a registered model, whose name may have any characters."""
    return parent / quote(model, safe=" ")


@contextlib.contextmanager
def explaining_unwritable(variables: str = "DATA_DIR") -> Iterator[None]:
    """Convert an OSError of the block to a ConfigError that names the folder and the variables to change it."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write to {error.filename} ({error.strerror}); "
            f"make it writable or set {variables} to another folder"
        ) from error
