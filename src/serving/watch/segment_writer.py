"""Writes the segments of the prediction log; ``core.prediction_log`` describes their form."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import uuid_utils

from src.core.file_lock import try_lock
from src.core.prediction_log import (
    OPEN_SUFFIX,
    SEGMENT_SUFFIX,
    UNFINISHED_SEGMENT_SUFFIX,
    LoggedColumn,
    Role,
    SegmentHeader,
)

# A segment is closed when it is so old, or has so many bytes.
MAX_SECONDS = 10.0
MAX_BYTES = 4_000_000
# Of files that wait for the quality service, and of their bytes; with more, nothing is written.
MAX_PENDING, MAX_PENDING_BYTES = 20_000, 2_000_000_000


class SegmentSource(NamedTuple):
    """What all rows of a segment have in common, as in ``SegmentHeader``."""

    model: str
    version: str
    role: Role
    columns: tuple[LoggedColumn, ...]
    classes: tuple[str, ...]
    rate: float


@dataclass(eq=False)
class _Segment:
    """An open segment: a locked file that has so many bytes of whole lines."""

    path: Path
    descriptor: int
    source: SegmentSource
    opened: float
    size: int = 0

    def append(self, data: bytes) -> None:
        """Write whole lines. Raises OSError; then some of them may be in the file."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]
        self.size += len(data)

    def close(self) -> None:
        """Make the lines durable, rename the file, and release its lock. Raises OSError."""
        try:
            os.fsync(self.descriptor)
            self.path.rename(self.path.with_suffix(""))
        finally:
            os.close(self.descriptor)

    def abandon(self) -> None:
        """The same after a failed write, without the line that it broke off, as far as possible."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, self.size)
        with contextlib.suppress(OSError):
            self.close()


class SegmentWriter:
    """Writes lines to one segment after another. Use it from one thread at a time.

    Args:
        folder: of the segments, created if it is missing.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._segment: _Segment | None = None
        self._refused_at: float | None = None

    def write(self, source: SegmentSource, lines: Iterable[bytes]) -> None:
        """Append lines, each with its line end.

        Raises:
            OSError: not all of them were written, or too many segments wait. The next call opens another segment.
        """
        if self._segment is not None and self._segment.source != source:
            self.close()
        self.close_old()
        segment = self._segment = self._segment or self._opened(source)
        try:
            segment.append(b"".join(lines))
        except OSError:
            self._segment = None
            segment.abandon()
            raise
        if segment.size > MAX_BYTES:
            self.close()

    def close_old(self) -> None:
        """Close the segment if it is old. Raises OSError."""
        # A clock that was set back does not keep it open.
        if self._segment is not None and abs(self._clock() - self._segment.opened) >= MAX_SECONDS:
            self.close()

    def close(self) -> None:
        """Close the segment, if one is open. Raises OSError."""
        if self._segment is not None:
            segment, self._segment = self._segment, None
            segment.close()

    def _opened(self, source: SegmentSource) -> _Segment:
        """A new segment with its header. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        now = self._clock()
        self._check_pending(now)
        path = self._folder / f"{uuid_utils.uuid7()}{SEGMENT_SUFFIX}{OPEN_SUFFIX}"
        new = path.with_name(path.name + UNFINISHED_SEGMENT_SUFFIX)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o660)
        segment = _Segment(path, descriptor, source, now)
        try:
            try_lock(descriptor)  # no other process uses the file yet
            header = SegmentHeader(
                model=source.model,
                version=source.version,
                role=source.role,
                columns=list(source.columns),
                classes=list(source.classes),
                rate=source.rate,
                started=datetime.fromtimestamp(now, UTC),
            )
            segment.append(header.model_dump_json().encode() + b"\n")
            new.rename(path)
        except OSError:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise
        return segment

    def _check_pending(self, now: float) -> None:
        """Raise OSError if too much waits, by a look at the folder at most every ``MAX_SECONDS``."""
        if self._refused_at is None or abs(now - self._refused_at) >= MAX_SECONDS:
            files = size = 0
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # taken in meanwhile
                        size += entry.stat(follow_symlinks=False).st_size
                        files += 1
            is_full = files >= MAX_PENDING or size >= MAX_PENDING_BYTES
            self._refused_at = now if is_full else None
        if self._refused_at is not None:
            raise OSError(errno.EDQUOT, "too many segments wait; check that the quality service runs")


class SegmentWriters:
    """Writes lines of several versions and roles, with one open segment each. Use it from one thread at a time.

    Args:
        folder: of the segments.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._writers: dict[tuple[str, Role], SegmentWriter] = {}

    def write(self, source: SegmentSource, lines: Iterable[bytes]) -> None:
        """As ``SegmentWriter.write``."""
        key = source.version, source.role
        if key not in self._writers:
            self._writers[key] = SegmentWriter(self._folder, self._clock)
        self._writers[key].write(source, lines)

    def close_old(self) -> list[OSError]:
        """Close old segments; return the errors."""
        return self._each(SegmentWriter.close_old)

    def close(self) -> list[OSError]:
        """Close all segments; return the errors."""
        return self._each(SegmentWriter.close)

    def _each(self, close: Callable[[SegmentWriter], None]) -> list[OSError]:
        errors = []
        for writer in self._writers.values():
            try:
                close(writer)
            except OSError as error:
                errors.append(error)
        return errors
