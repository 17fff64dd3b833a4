"""One loop per data folder: a lock that the kernel lets go of when its holder ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import ConfigError


@contextlib.contextmanager
def only_loop_on(folder: Path) -> Iterator[None]:
    """Keep other loops, and who would delete its state, off an existing folder within the block.

    Raises:
        ConfigError: a loop runs on it.
        OSError: the folder cannot be used.
    """
    lock = os.open(folder / "loop.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(f"make local is running on {folder.parent}; stop it first, with Ctrl-C") from None
    try:
        yield
    finally:
        os.close(lock)
