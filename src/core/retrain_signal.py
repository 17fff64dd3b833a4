"""The retrain spool: a maildir-like folder in which inference, monitor and trainer exchange requests.

``tmp/`` holds files that are being written, ``new/`` pending requests, ``cur/`` requests claimed by a training run,
``done/`` finished requests, and ``bad/`` unreadable files. Files only move forward, each move is one rename, and
the outcome is written to the file before it moves to ``done/``: an accepted id is in exactly one of the folders at
any time, even if a process is killed at any point.

Only the holder of the trainer lock may change ``cur/``.
"""

import contextlib
import heapq
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from src.core.audit_log import AuditLog
from src.core.carrier_rules import require_room, take_trainer_lock
from src.core.durable_file import explaining_unusable
from src.core.file_lock import open_lock_file, try_lock
from src.core.folders import make_folder
from src.core.retrain_audit import entries_of_end, entry_of_request
from src.core.retrain_record import (
    ID_PATTERN,
    RetrainRecord,
    RetrainResult,
    Source,
    created_at,
    new_id,
)
from src.core.spool_files import SpoolFiles, is_there

STALE_TMP_SECONDS = 3600
# Between two attempts to take the trainer lock.
PAUSE_SECONDS = 0.02
_LIVE_FOLDERS = ("new", "cur", "done")


class RetrainSpool:
    """The spool under one root folder. Safe for many submitters, one lock holder and any readers.

    Args:
        root: the spool's folder, on a volume that all processes share.
        max_pending: the maximum number of requests in ``new/``.
        audit: where requests and their outcomes are recorded; None if this process neither submits nor ends any.
    """

    def __init__(self, root: Path, *, max_pending: int = 1000, audit: AuditLog | None = None) -> None:
        self.root = root
        self._audit = audit
        self._files = SpoolFiles(root)
        self._max_pending = max_pending

    def create(self) -> Self:
        """Create missing folders and return self. Raises OSError where the volume is not writable."""
        for name in ("tmp", *_LIVE_FOLDERS, "bad"):
            make_folder(self.root / name, mode=0o770)
        return self

    # -- submitting (inference) ------------------------------------------------------------------------

    def submit(self, source: Source, *, cause: str | None = None, by: str | None = None) -> RetrainRecord:
        """Accept a request durably: after this returns, it survives a power failure.

        Args:
            source: who requests the training.
            cause: the reason, such as an alert.
            by: the client, for the audit log.

        Raises:
            SpoolBusyError: ``max_pending`` requests are pending.
            SpoolFullError: the volume is full; nothing was accepted.
            SpoolUnavailableError: the folder cannot be used; nothing was accepted.
        """
        with explaining_unusable("the retrain spool"):
            waiting = len(self._files.names("new"))
            require_room(waiting, self._max_pending)
            record = RetrainRecord(id=new_id(), source=source, submitted_at=datetime.now(UTC), cause=cause)
            self._files.write("new", record)
        if self._audit is not None:
            self._audit.append(entry_of_request(record, by))
        return record

    # -- reading (anyone) ------------------------------------------------------------------------------

    def get(self, request_id: str) -> RetrainRecord | None:
        """The request with this id, or None. Any string is a safe argument.

        Raises:
            SpoolUnavailableError: the folder cannot be read; the state of the request is unknown.
        """
        if not ID_PATTERN.fullmatch(request_id):
            return None
        spoilt = False
        with explaining_unusable("the retrain spool"):
            # In the order in which files move, so that a file that moves meanwhile is not missed.
            for folder in _LIVE_FOLDERS:
                try:
                    return self._files.read(folder, f"{request_id}.json")
                except FileNotFoundError:
                    (self.root / folder).stat()  # raises if the folder is missing
                except ValueError:
                    spoilt = True
            if spoilt or is_there(self.root / "bad" / f"{request_id}.json"):
                return RetrainRecord.unreadable(request_id)
        return None

    def recent(self, limit: int) -> list[RetrainRecord]:
        """The newest requests in any state, newest first, at most ``limit``. Raises SpoolUnavailableError."""
        folders = (*_LIVE_FOLDERS, "bad")
        with explaining_unusable("the retrain spool"):
            ids = {name.removesuffix(".json") for folder in folders for name in self._files.names(folder)}
        newest = heapq.nlargest(limit, (i for i in ids if ID_PATTERN.fullmatch(i)))
        return [record for record in map(self.get, newest) if record is not None]

    def has_waiting(self) -> bool:
        """Whether ``new/`` has any file, readable or not. Raises SpoolUnavailableError."""
        with explaining_unusable("the retrain spool"):
            return bool(self._files.names("new"))

    # -- the trainer lock ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, *, patience: float = 0.0) -> Iterator[None]:
        """Hold the trainer lock; the kernel releases it when the process ends.

        Args:
            patience: seconds to wait for the monitor, which holds the lock only while it moves files.

        Raises:
            TrainerBusyError: another process holds it.
        """
        descriptor = open_lock_file(self.root / "trainer.lock")
        try:
            take_trainer_lock(lambda: try_lock(descriptor), patience, PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)

    # -- claiming and ending (holder of the lock) ------------------------------------------------------

    def claim(self) -> list[RetrainRecord]:
        """Move all pending requests to ``cur/`` and return the claimed ones, oldest first; see ``claimed``."""
        for name in self._files.names("new"):
            # Ids are never reused: an id that was claimed before is forged.
            if is_there(self.root / "cur" / name) or is_there(self.root / "done" / name):
                self._files.set_aside("new", name, "its id was claimed before")
            else:
                self._files.move("new", name, self.root / "cur" / name)
        self._files.sync("new", "cur")
        return self.claimed()

    def claimed(self) -> list[RetrainRecord]:
        """The requests in ``cur/`` without an outcome, oldest first.

        Also recovers from crashes: records with an outcome are moved to ``done/``, unreadable files to ``bad/``.
        """
        records = []
        for name in self._files.names("cur"):
            try:
                record = self._files.read("cur", name)
            except FileNotFoundError:
                continue
            except ValueError as error:
                self._files.set_aside("cur", name, str(error))
                continue
            except OSError as error:  # an error of the disk or the process, not of the file
                self._files.tell_once(self.root / "cur" / name, f"cannot read it ({error.strerror}); trying again")
                continue
            if record.result is not None:
                self._move_to_done(record)
            else:
                records.append(record)
        return records

    def update(self, record: RetrainRecord) -> None:
        """Replace a claimed record's file atomically."""
        self._files.write("cur", record)

    def finish(self, record: RetrainRecord, result: RetrainResult) -> RetrainRecord:
        """Write a claimed record's outcome, then move it to ``done/``; only a failed request keeps its last error."""
        ended = record.ended(result)
        self._files.write("cur", ended)
        self._move_to_done(ended)
        return ended

    def _move_to_done(self, record: RetrainRecord) -> None:
        """Record the end, then move the file: after a crash between them, ``claimed`` does both again."""
        if self._audit is not None:
            self._audit.append(*entries_of_end(record))
        self._files.move_to_done(record)

    def unfinished(self) -> set[str]:
        """The ids of all requests without an outcome. Raises OSError."""
        return {name.removesuffix(".json") for folder in ("new", "cur") for name in self._files.names(folder)}

    def finished_before(self, moment: datetime) -> list[str]:
        """The ids in ``done/`` with an outcome before a time, oldest first. Raises OSError."""
        found = []
        for name in self._files.names("done"):
            request_id = name.removesuffix(".json")
            if not ID_PATTERN.fullmatch(request_id) or created_at(request_id) >= moment.timestamp():
                continue
            with contextlib.suppress(ValueError, FileNotFoundError):  # not a record of ours
                result = self._files.read("done", name).result
                if result is not None and result.finished_at < moment:
                    found.append(request_id)
        return found

    def forget(self, request_ids: Iterable[str]) -> None:
        """Delete finished requests. Raises OSError."""
        for request_id in request_ids:
            (self.root / "done" / f"{request_id}.json").unlink(missing_ok=True)

    def sweep(self, now: datetime) -> int:
        """Delete incomplete files that are over an hour old; return their number."""
        swept = 0
        for name in self._files.names("tmp"):
            if not ID_PATTERN.fullmatch(name.removesuffix(".json")):
                continue
            if now.timestamp() - created_at(name.removesuffix(".json")) > STALE_TMP_SECONDS:
                with contextlib.suppress(OSError):  # not a file of the spool, such as a folder
                    (self.root / "tmp" / name).unlink()
                    swept += 1
        return swept

    def poisoned(self) -> int:
        """The number of unreadable files in ``bad/``."""
        return sum(not name.endswith(".reason") for name in self._files.names("bad"))

    def depths(self) -> dict[str, int]:
        """The number of files in ``new``, ``cur`` and ``bad``, readable or not."""
        return {"new": len(self._files.names("new")), "cur": len(self._files.names("cur")), "bad": self.poisoned()}
