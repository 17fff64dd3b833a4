"""Files of the retrain spool: each change is one rename or one durable write; nothing that lies there is trusted."""

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path

from pydantic import ValidationError

from src.core.errors import SpoolFullError
from src.core.retrain_record import RetrainRecord, new_id

# Texts take up to 4 bytes a character, scores up to 9 KB.
MAX_RECORD_BYTES = 1 << 15
# What opening a symlink, a foreigner's file, a socket or a device fails with.
_POISON_ERRNOS = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})

logger = logging.getLogger(__name__)


class SpoolFiles:
    """The records under one root, by folder and file name.

    Args:
        root: the spool's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._told: set[tuple[Path, str]] = set()

    def names(self, folder: str) -> list[str]:
        """The names in one folder, sorted: of requests, in the order in which they were made."""
        return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - of thousands, a path for each costs more than the list

    def read(self, folder: str, name: str) -> RetrainRecord:
        """Read one record.

        Raises:
            ValueError: what lies there is no record of ours: a symlink, a foreigner's file, too large, misnamed.
            FileNotFoundError: nothing lies there.
            OSError: that cannot be told now.
        """
        path = self.root / folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # is_there raises where it is the folder that is closed to us: that says nothing about the file.
            if error.errno in _POISON_ERRNOS and is_there(path):
                raise ValueError(f"cannot be opened ({error.strerror})") from error
            raise
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

    def write(self, folder: str, record: RetrainRecord) -> None:
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
            self.sync(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if folder == "new":
                (self.root / folder / name).unlink(missing_ok=True)  # renamed, but not known to be durable: refused
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise SpoolFullError("the shared volume is full; free some space and try again") from error
            raise

    def move_to_done(self, record: RetrainRecord) -> None:
        """Move a claimed record whose outcome is written."""
        name = f"{record.id}.json"
        (self.root / "cur" / name).rename(self.root / "done" / name)
        self.sync("cur", "done")

    def set_aside(self, folder: str, name: str, reason: str) -> None:
        """Move poison to ``bad/`` under its own name, or a free one, with the reason beside it."""
        target = self.root / "bad" / name
        if is_there(target):
            target = target.with_name(f"{new_id()}.json")
        if not self.move(folder, name, target):
            return
        logger.error("set aside an unreadable retrain signal as %a: %s", str(target), reason)
        with contextlib.suppress(OSError):  # a full disk must not stop the others; the log has the reason too
            target.with_name(f"{target.name}.reason").write_text(reason + "\n", encoding="utf-8")

    def move(self, folder: str, name: str, target: Path) -> bool:
        """Rename; False where the entry is gone or cannot be moved, which must not keep the others waiting."""
        source = self.root / folder / name
        try:
            source.rename(target)
        except FileNotFoundError:  # another monitor was faster
            return False
        except OSError as error:
            self.tell_once(source, f"cannot move it ({error.strerror}); if this stays so, delete it by hand")
            return False
        return True

    def tell_once(self, path: Path, trouble: str) -> None:
        """Log what is tried again at every look."""
        if (path, trouble) not in self._told:
            self._told.add((path, trouble))
            logger.error("retrain signal %a: %s", str(path), trouble)

    def sync(self, *folders: str) -> None:
        """Make the renames in these folders durable."""
        for folder in folders:
            descriptor = os.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether a name is taken, by a dangling link too. Raises OSError where that cannot be told."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
