"""The retrain spool: a maildir-like folder through which inference, monitor and trainer hand over requests.

``tmp/`` holds what is being written, ``new/`` what waits, ``cur/`` what a training run has claimed, ``done/``
what has an outcome, ``bad/`` what could not be read. A file only ever moves forward, each move is one rename,
and the outcome is written into the file before it moves to ``done/``: an accepted id is in exactly one of the
folders at any time, whichever process dies at whichever instruction.

Only the holder of the trainer lock may change ``cur/``.
"""

import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from src.core.errors import SpoolBusyError, SpoolFullError, TrainerBusyError
from src.core.folders import make_folder
from src.core.retrain_record import ID_PATTERN, RetrainRecord, RetrainResult, Source, born_at, new_id

MAX_RECORD_BYTES = 4096
STALE_TMP_SECONDS = 3600
# What opening a symlink, a foreigner's file, a socket or a device fails with.
POISON_ERRNOS = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})
_LIVE_FOLDERS = ("new", "cur", "done")

logger = logging.getLogger(__name__)


class RetrainSpool:
    """The spool under one root folder. Safe for many submitters, one lock holder and any readers.

    Args:
        root: the spool's folder, on a volume that all processes share.
        max_pending: how many requests may wait in ``new/``.
    """

    def __init__(self, root: Path, *, max_pending: int = 1000) -> None:
        self.root = root
        self._max_pending = max_pending
        self._told: set[tuple[Path, str]] = set()

    def create(self) -> Self:
        """Make the folders that are missing and return self. Raises OSError where the volume is not writable."""
        for name in ("tmp", *_LIVE_FOLDERS, "bad"):
            make_folder(self.root / name, mode=0o770)
        return self

    # -- submitting (inference) ------------------------------------------------------------------------

    def submit(self, source: Source) -> RetrainRecord:
        """Accept one request durably; when this returns, it survives a power cut.

        Raises:
            SpoolBusyError: ``max_pending`` requests wait already.
            SpoolFullError: the volume is full; nothing was accepted.
        """
        waiting = len(self._names("new"))
        if waiting >= self._max_pending:
            raise SpoolBusyError(f"{waiting} retrain requests wait already; one training run will serve them all")
        record = RetrainRecord(id=new_id(), source=source, submitted_at=datetime.now(UTC))
        self._write("new", record)
        return record

    # -- reading (anyone) ------------------------------------------------------------------------------

    def get(self, request_id: str) -> RetrainRecord | None:
        """The request with this id, or None. Any string is a safe argument."""
        if not ID_PATTERN.fullmatch(request_id):
            return None
        # In the order in which files move, so that one on its way cannot be missed.
        for folder in _LIVE_FOLDERS:
            with contextlib.suppress(OSError, ValueError):
                return self._read(folder, f"{request_id}.json")
        if (self.root / "bad" / f"{request_id}.json").exists():
            return RetrainRecord.unreadable(request_id)
        return None

    def recent(self, limit: int) -> list[RetrainRecord]:
        """The newest requests in any state, newest first, at most ``limit``."""
        ids = {name.removesuffix(".json") for folder in (*_LIVE_FOLDERS, "bad") for name in self._names(folder)}
        newest = sorted((i for i in ids if ID_PATTERN.fullmatch(i)), reverse=True)[:limit]
        return [record for record in map(self.get, newest) if record is not None]

    def has_waiting(self) -> bool:
        """Whether anything lies in ``new/``, readable or not."""
        return bool(self._names("new"))

    # -- the trainer lock ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, *, patience: float = 0.0) -> Iterator[None]:
        """Hold the trainer lock; the kernel releases it when the holder dies.

        Args:
            patience: seconds to outwait a monitor, which holds the lock only while it moves files.

        Raises:
            TrainerBusyError: another process holds it.
        """
        descriptor = os.open(self.root / "trainer.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        deadline = time.monotonic() + patience
        pause = threading.Event()
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise TrainerBusyError("another training is running; wait for it to end") from None
                pause.wait(0.02)
            yield
        finally:
            os.close(descriptor)

    # -- claiming and ending (holder of the lock) ------------------------------------------------------

    def claim(self) -> list[RetrainRecord]:
        """Move all that waits to ``cur/`` and return what is now claimed, oldest first, poison set aside."""
        for name in self._names("new"):
            if _is_there(self.root / "cur" / name) or _is_there(self.root / "done" / name):
                self._set_aside("new", name, "its id was claimed before")  # only a forged one: ids are never reused
            else:
                self._move("new", name, self.root / "cur" / name)
        self._sync("new", "cur")
        return self.claimed()

    def claimed(self) -> list[RetrainRecord]:
        """What lies in ``cur/`` without an outcome, oldest first.

        Heals what a crash left behind: a record whose outcome is written moves on to ``done/``; what cannot be
        read moves to ``bad/``.
        """
        records = []
        for name in self._names("cur"):
            try:
                record = self._read("cur", name)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in POISON_ERRNOS:
                    self._set_aside("cur", name, str(error))
                else:  # the disk's or the process's trouble and not the signal's: it stays for the next look
                    self._tell_once(self.root / "cur" / name, f"cannot read it ({error.strerror}); trying again")
                continue
            except ValueError as error:
                self._set_aside("cur", name, str(error))
                continue
            if record.result is not None:
                self._move_to_done(record)
            else:
                records.append(record)
        return records

    def update(self, record: RetrainRecord) -> None:
        """Replace a claimed record's file in one step."""
        self._write("cur", record)

    def finish(self, record: RetrainRecord, result: RetrainResult) -> RetrainRecord:
        """Write a claimed record's outcome, then move it to ``done/``."""
        ended = record.model_copy(update={"result": result})
        self._write("cur", ended)
        self._move_to_done(ended)
        return ended

    def sweep(self, now: datetime) -> int:
        """Delete half-written files of submitters that died over an hour ago; return how many."""
        swept = 0
        for name in self._names("tmp"):
            if not ID_PATTERN.fullmatch(name.removesuffix(".json")):
                continue
            if now.timestamp() - born_at(name.removesuffix(".json")) > STALE_TMP_SECONDS:
                with contextlib.suppress(OSError):  # not ours to delete, such as a folder: in nobody's way
                    (self.root / "tmp" / name).unlink()
                    swept += 1
        return swept

    def poisoned(self) -> int:
        """How many unreadable signals lie in ``bad/``."""
        return sum(not name.endswith(".reason") for name in self._names("bad"))

    def depths(self) -> dict[str, int]:
        """How many signals lie in ``new``, ``cur`` and ``bad``, readable or not."""
        return {"new": len(self._names("new")), "cur": len(self._names("cur")), "bad": self.poisoned()}

    # -- files -----------------------------------------------------------------------------------------

    def _names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir())

    def _read(self, folder: str, name: str) -> RetrainRecord:
        """Read one record. Raises OSError (a symlink among them) or ValueError (too large, wrong, misnamed)."""
        descriptor = os.open(self.root / folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("not a regular file")
            raw = os.read(descriptor, MAX_RECORD_BYTES + 1)
        finally:
            os.close(descriptor)
        if len(raw) > MAX_RECORD_BYTES:
            raise ValueError(f"larger than {MAX_RECORD_BYTES} bytes")
        try:
            record = RetrainRecord.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"not a retrain record: {where} {first['msg']}".replace("  ", " ")) from None
        if name != f"{record.id}.json":
            raise ValueError("its name is not its id")
        return record

    def _write(self, folder: str, record: RetrainRecord) -> None:
        """Put a record into a folder in one step, durably.

        Raises:
            SpoolFullError: the volume is full; the folder is unchanged.
        """
        name = f"{record.id}.json"
        temporary = self.root / "tmp" / name
        if folder == "cur":
            temporary.unlink(missing_ok=True)  # a dead lock holder's; only the holder writes to cur/
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o660), "wb") as file:
                file.write(record.model_dump_json(exclude_none=True).encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.root / folder / name)
            self._sync(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if folder == "new":
                (self.root / folder / name).unlink(missing_ok=True)  # renamed, but not known to be durable: refused
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise SpoolFullError("the shared volume is full; free some space and try again") from error
            raise

    def _move_to_done(self, record: RetrainRecord) -> None:
        name = f"{record.id}.json"
        (self.root / "cur" / name).rename(self.root / "done" / name)
        self._sync("cur", "done")

    def _set_aside(self, folder: str, name: str, reason: str) -> None:
        """Move poison to ``bad/`` under its own name, or a free one, with the reason beside it."""
        target = self.root / "bad" / name
        if _is_there(target):
            target = target.with_name(f"{new_id()}.json")
        if not self._move(folder, name, target):
            return
        logger.error("set aside an unreadable retrain signal as %a: %s", str(target), reason)
        with contextlib.suppress(OSError):  # a full disk must not stop the others; the log has the reason too
            target.with_name(f"{target.name}.reason").write_text(reason + "\n", encoding="utf-8")

    def _move(self, folder: str, name: str, target: Path) -> bool:
        """Rename; False where the entry is gone or cannot be moved, which must not keep the others waiting."""
        source = self.root / folder / name
        try:
            source.rename(target)
        except FileNotFoundError:  # another monitor was faster
            return False
        except OSError as error:
            self._tell_once(source, f"cannot move it ({error.strerror}); if this stays so, delete it by hand")
            return False
        return True

    def _tell_once(self, path: Path, trouble: str) -> None:
        """Log what is tried again at every look."""
        if (path, trouble) not in self._told:
            self._told.add((path, trouble))
            logger.error("retrain signal %a: %s", str(path), trouble)

    def _sync(self, *folders: str) -> None:
        for folder in folders:
            descriptor = os.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _is_there(path: Path) -> bool:
    """Whether a name is taken, by a dangling link too. Raises OSError where that cannot be told."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
