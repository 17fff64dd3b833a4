"""Labels that clients have sent, as files that wait for the quality service."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from src.core.durable_file import explaining_unusable, write_durably
from src.core.errors import SpoolBusyError
from src.core.feedback import FEEDBACK_SUFFIX, UNFINISHED_FEEDBACK_SUFFIX
from src.core.folders import make_folder
from src.core.retrain_record import new_id

WHAT = "the folder of labels"
STALE_SECONDS = 3600


class FeedbackStore:
    """Writes one file per request to a folder that services may share. Blocking; safe for many threads.

    Args:
        folder: of the files.
        max_pending: how many files may wait.
    """

    def __init__(self, folder: Path, *, max_pending: int) -> None:
        self.folder = folder
        self._max_pending = max_pending

    def create(self) -> None:
        """Create the folder, and delete what processes that were killed over an hour ago had begun to write.

        Raises OSError if the folder is not writable.
        """
        make_folder(self.folder, mode=0o770)
        for path in self.folder.glob(f"*{UNFINISHED_FEEDBACK_SUFFIX}"):
            with contextlib.suppress(OSError):  # another service was faster
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()

    def write(self, lines: Iterable[bytes]) -> None:
        """Store the lines durably: after this returns, they survive a power failure. If ``lines`` fails, none is kept.

        Raises:
            SpoolBusyError: ``max_pending`` files wait; nothing was accepted.
            SpoolFullError: the volume is full; nothing was accepted.
            SpoolUnavailableError: the folder cannot be used; nothing was accepted.
        """
        with explaining_unusable(WHAT):
            names = os.listdir(self.folder)  # noqa: PTH208 - faster than Path objects for thousands of files
            waiting = sum(name.endswith(FEEDBACK_SUFFIX) for name in names)
            if waiting >= self._max_pending:
                raise SpoolBusyError(
                    f"{waiting} requests with labels wait for the quality service; check that it runs, or send fewer "
                    "requests with more labels each"
                )
            name = new_id() + FEEDBACK_SUFFIX
            write_durably(self.folder / (name + UNFINISHED_FEEDBACK_SUFFIX), self.folder / name, lines)
