"""The audit log: one line per promotion, rollback, approval and retrain request, in an NDJSON file that only grows.

Inference, monitor, quality service and training append to the same file on the shared volume. The loop never rewrites
or deletes a line, and there is no retention: a year of daily trainings is less than 1 MB.

A writer that was interrupted between a fact and its entry may write the entry again, with the same id. An entry whose
id is among those of the last MiB is not written again, and a reader ignores an id that it has already read.
"""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from src.core.durable_file import explaining_unusable, sync_folder
from src.core.file_lock import locked_file
from src.core.folders import make_folder
from src.core.retrain_record import Reason, Text, new_id

# No entry is longer: a character takes up to 4 bytes.
MAX_LINE = 1 << 14
# How far back an appended id is compared with earlier ones; about 3,000 entries.
REPEAT_BYTES = 1 << 20
BLOCK_BYTES = 1 << 16
# How much of the file one page of entries may read, should it be damaged.
MAX_READ = 1 << 22

logger = logging.getLogger(__name__)


class Event(StrEnum):
    """What happened."""

    RETRAIN_REQUESTED = "retrain_requested"
    RETRAIN_ENDED = "retrain_ended"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    PASSED = "passed"
    CANARY_STARTED = "canary_started"
    APPROVED = "approved"
    APPROVAL_REFUSED = "approval_refused"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_UNFINISHED = "rollback_unfinished"
    WATCH_ENDED = "watch_ended"


class Entry(BaseModel):
    """One fact. Fields that do not apply are None; texts are truncated.

    Attributes:
        id: unique to the fact, so that a fact that is written again has the same id.
        at: when it was recorded.
        event: what happened.
        model: the registered model's name.
        version: the version that it is about.
        previous: the champion that it was compared with, or, after a rollback, the version that is champion again.
        outcome: how a retrain request or a watch ended.
        source: what kind of client requested a training.
        by: who or what did it.
        reason: why, in a sentence.
        request_id: the retrain request.
        rollout_id: the record of the promotion.
    """

    model_config = ConfigDict(frozen=True)

    id: Text = Field(default_factory=new_id, min_length=1)
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    event: Event
    model: Text | None = None
    version: Text | None = None
    previous: Text | None = None
    outcome: Text | None = None
    source: Text | None = None
    by: Text | None = None
    reason: Reason | None = None
    request_id: Text | None = None
    rollout_id: Text | None = None


class EntryPage(NamedTuple):
    """Entries, newest first, and where to go on: ``before`` for the next page, None after the oldest entry."""

    entries: list[Entry]
    before: int | None


class AuditLog:
    """The log in one file. Safe for many processes.

    Args:
        file: the file, on a volume that all processes share.
        on_failure: called when entries could not be written.
    """

    def __init__(self, file: Path, on_failure: Callable[[], object] = lambda: None) -> None:
        self._file = file
        self._on_failure = on_failure

    def append(self, *entries: Entry) -> None:
        """Write entries durably, without those that are there already.

        A failure is logged with the entries and counted, and never stops the caller: what they record has happened.
        """
        try:
            make_folder(self._file.parent, mode=0o770)
            with locked_file(self._file):
                self._append(entries)
        except OSError as error:
            lines = " ".join(map(_line_of, entries))
            logger.error("the audit log %s lacks entries (%s): %s", self._file, error.strerror, lines)  # noqa: TRY400 - one line
            self._on_failure()

    def recent(self, limit: int, before: int | None = None) -> EntryPage:
        """The newest entries, newest first; none where there is no log yet. Lines that are no entries are skipped.

        Args:
            limit: the most entries.
            before: the page's position in bytes, from the page before; None for the newest.

        Raises:
            SpoolUnavailableError: the file cannot be read.
        """
        with explaining_unusable("the audit log"):
            try:
                descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return EntryPage([], None)
            try:
                return self._read(descriptor, limit, before)
            finally:
                os.close(descriptor)

    @staticmethod
    def _read(descriptor: int, limit: int, before: int | None) -> EntryPage:
        size = os.fstat(descriptor).st_size
        end = size if before is None else min(before, size)
        found: dict[str, Entry] = {}
        for start, line in _lines_before(descriptor, end):
            entry = _entry_of(line)
            if entry is not None:
                found.setdefault(entry.id, entry)
            if start > 0 and (len(found) >= limit or end - start >= MAX_READ):
                return EntryPage(list(found.values()), start)
        return EntryPage(list(found.values()), None)

    def _append(self, entries: tuple[Entry, ...]) -> None:
        """Write the entries that are not among the newest, after a line end if the last line has none."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            tail = os.pread(descriptor, REPEAT_BYTES, max(0, size - REPEAT_BYTES))
            known = _known(tail, entries)
            lines = "".join(f"{_line_of(entry)}\n" for entry in entries if entry.id not in known).encode()
            if not lines:
                return
            # The last line of a writer that was killed, or whose disk was full.
            _write_all(descriptor, lines if not tail or tail.endswith(b"\n") else b"\n" + lines)
            os.fsync(descriptor)
            if not size:
                sync_folder(self._file.parent)
        finally:
            os.close(descriptor)


def _line_of(entry: Entry) -> str:
    return entry.model_dump_json(exclude_none=True)


def _known(tail: bytes, entries: tuple[Entry, ...]) -> set[str]:
    """The ids of those entries that are complete lines of a part of the file."""
    # The id comes first. Only lines that may be one of the entries are parsed.
    starts = tuple(entry.model_dump_json(include={"id"}).removesuffix("}").encode() for entry in entries)
    found = (_entry_of(line) for line in tail.split(b"\n") if line.startswith(starts))
    return {entry.id for entry in found if entry is not None}


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _lines_before(descriptor: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file before a position, last first, with their positions. Longer ones than an entry are cut."""
    position, rest = end, b""
    while position > 0:
        start = max(0, position - BLOCK_BYTES)
        block = os.pread(descriptor, position - start, start) + rest
        rest, *lines = block.split(b"\n")
        line_end = start + len(block)
        for line in reversed(lines):
            yield line_end - len(line), line
            line_end -= len(line) + 1
        rest, position = rest[: MAX_LINE + 1], start
    yield 0, rest


def _entry_of(line: bytes) -> Entry | None:
    """The entry of a line; None if it is none: of a killed writer, or of a later version with other events."""
    if not line or len(line) > MAX_LINE:
        return None
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None
