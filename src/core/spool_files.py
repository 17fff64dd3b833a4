"""Files of the retrain spool: each change is one rename or one durable write; file contents are not trusted."""

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path

from src.core.carrier_rules import parse_record
from src.core.durable_file import sync_folder, write_durably
from src.core.retrain_record import RetrainRecord, new_id

# Text takes up to 4 bytes per character, scores up to 9 KB.
MAX_RECORD_BYTES = 1 << 15
# Errors of opening a symlink, a file without permission, a socket or a device.
_POISON_ERRNOS = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})

logger = logging.getLogger(__name__)


class SpoolFiles:
    """The records under one root, by folder and file name.

    Args:
        root: the spool's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reported: set[tuple[Path, str]] = set()

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; requests sort by creation time."""
        return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - faster than Path objects for thousands of files

    def read(self, folder: str, name: str) -> RetrainRecord:
        """Read one record.

        Raises:
            ValueError: the file is not a valid record: a symlink, unreadable, too large or misnamed.
            FileNotFoundError: there is no such file.
            OSError: reading fails for another reason; trying again may help.
        """
        path = self.root / folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # is_there raises if the folder is not accessible, which is not a property of the file.
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
        record = parse_record(raw)
        if name != f"{record.id}.json":
            raise ValueError("its name is not its id")
        return record

    def write(self, folder: str, record: RetrainRecord) -> None:
        """Write a record to a folder atomically and durably.

        Raises:
            SpoolFullError: the volume is full; the folder is unchanged.
        """
        name = f"{record.id}.json"
        temporary = self.root / "tmp" / name
        if folder == "cur":
            temporary.unlink(missing_ok=True)  # of a killed lock holder; only the holder writes to cur/
        content = record.model_dump_json(exclude_none=True).encode()
        write_durably(temporary, self.root / folder / name, [content], replaces=folder != "new")

    def move_to_done(self, record: RetrainRecord) -> None:
        """Move a claimed record with an outcome to ``done/``."""
        name = f"{record.id}.json"
        (self.root / "cur" / name).rename(self.root / "done" / name)
        self.sync("cur", "done")

    def set_aside(self, folder: str, name: str, reason: str) -> None:
        """Move an invalid file to ``bad/`` under its name, or a free one, and write the reason to a second file."""
        target = self.root / "bad" / name
        if is_there(target):
            target = target.with_name(f"{new_id()}.json")
        if not self.move(folder, name, target):
            return
        logger.error("moved an unreadable retrain signal to %a: %s", str(target), reason)
        with contextlib.suppress(OSError):  # a full disk must not stop other requests; the log has the reason too
            target.with_name(f"{target.name}.reason").write_text(reason + "\n", encoding="utf-8")

    def move(self, folder: str, name: str, target: Path) -> bool:
        """Rename a file; False if it is missing or cannot be moved, which must not stop other requests."""
        source = self.root / folder / name
        try:
            source.rename(target)
        except FileNotFoundError:  # another monitor was faster
            return False
        except OSError as error:
            self.tell_once(source, f"cannot move it ({error.strerror}); if this persists, delete the file")
            return False
        return True

    def tell_once(self, path: Path, trouble: str) -> None:
        """Log an error once, although the operation is repeated."""
        if (path, trouble) not in self._reported:
            self._reported.add((path, trouble))
            logger.error("retrain signal %a: %s", str(path), trouble)

    def sync(self, *folders: str) -> None:
        """Make the renames in these folders durable."""
        for folder in folders:
            sync_folder(self.root / folder)


def is_there(path: Path) -> bool:
    """Whether a file, or a dangling link, exists. Raises OSError where that cannot be determined."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
