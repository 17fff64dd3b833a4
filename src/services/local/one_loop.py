"""Allows one loop per data folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import ConfigError
from src.core.file_lock import lock_at_once


@contextlib.contextmanager
def only_loop_on(folder: Path) -> Iterator[None]:
    """Lock an existing data folder against other loops and `make clean-state` within the block.

    Raises:
        ConfigError: a loop runs on it.
        OSError: the folder cannot be used.
    """
    lock = lock_at_once(folder / "loop.lock")
    if lock is None:
        raise ConfigError(f"make local is running on {folder.parent}; stop it first, with Ctrl-C")
    try:
        yield
    finally:
        os.close(lock)
