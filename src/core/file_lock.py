"""Lock files. The kernel releases a lock when the last process with its descriptor ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def open_lock_file(file: Path) -> int:
    """A descriptor of the file, created if missing; symbolic links are not followed. Raises OSError."""
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)


def try_lock(descriptor: int) -> bool:
    """Try to lock the file; False if another process holds the lock. Raises OSError on other failures."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_at_once(file: Path) -> int | None:
    """A descriptor that holds the file's lock until it is closed; None if the file is locked. Raises OSError."""
    descriptor = open_lock_file(file)
    locked = False
    try:
        locked = try_lock(descriptor)
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor if locked else None


@contextlib.contextmanager
def locked_file(file: Path) -> Iterator[None]:
    """Hold the file's lock, waiting until it is released; others wait as well. Raises OSError."""
    descriptor = open_lock_file(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(file: Path) -> bool:
    """Whether a process holds the file's lock exclusively; False if there is no such file. Raises OSError.

    To find out, this shares the lock for an instant: have the file locked with ``locked_file``, which waits.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
