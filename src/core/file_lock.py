"""Locked files: the kernel lets go of the lock when the last holder of the descriptor has died, however it died."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def open_lock_file(file: Path) -> int:
    """A descriptor of the file, made where it is missing; never of what a link there leads to. Raises OSError."""
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)


def try_lock(descriptor: int) -> bool:
    """Lock the file, or say that somebody else holds it. Raises OSError where that cannot be told."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked_file(file: Path) -> Iterator[None]:
    """Hold the file's lock, waiting for whoever has it; for moments only. Raises OSError."""
    descriptor = open_lock_file(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def share_lock(descriptor: int) -> None:
    """Lock the file together with others who share it, once nobody holds it alone. Raises OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)
