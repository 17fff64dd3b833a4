"""Allows one loop per data folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import ConfigError
from src.core.file_lock import open_lock_file, try_lock


@contextlib.contextmanager
def only_loop_on(folder: Path) -> Iterator[None]:
    """Lock an existing data folder against other loops and `make clean-state` within the block.

    Raises:
        ConfigError: a loop runs on it.
        OSError: the folder cannot be used.
    """
    lock = open_lock_file(folder / "loop.lock")
    try:
        if not try_lock(lock):
            raise ConfigError(f"make local is running on {folder.parent}; stop it first, with Ctrl-C")
        yield
    finally:
        os.close(lock)
