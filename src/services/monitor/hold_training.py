"""Holds the trainer lock until the standard input ends: meanwhile no training runs, and no request is claimed or ended.

It holds the locks of the prediction log and of the labels, too, so that their manifests and files agree in a copy.

``make backup`` runs it in the monitor's container: ``python -m src.services.monitor.hold_training``. It prints ``busy``
while a training holds the lock, then ``held``. The lock ends with the process, and the process with its caller.
"""

import contextlib
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import LoopError, TrainerBusyError
from src.core.file_lock import locked_file
from src.core.monitor_settings import MonitorSettings
from src.core.retrain_queue import open_queue
from src.core.settings import load_settings

SECONDS_BETWEEN_TRIES = 1.0
# Below the folder of predictions and labels: of the log and of the labels, of each model.
STORE_LOCKS = "l*/*/store.lock"


def main() -> int:
    """Wait for the lock and hold it; return 0, or 1 where the caller went away first or the lock cannot be taken."""
    try:
        settings = load_settings(MonitorSettings)
        spool = open_queue(settings)
        while True:
            try:
                with spool.lock(), quality_stores_locked(settings.quality_dir):
                    print("held", flush=True)  # noqa: T201 - read by the caller
                    sys.stdin.read()
                    return 0
            except TrainerBusyError:
                print("busy", flush=True)  # noqa: T201 - as above
            ended, _, _ = select.select([sys.stdin], [], [], SECONDS_BETWEEN_TRIES)
            if ended:
                return 1
    except (LoopError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1


@contextlib.contextmanager
def quality_stores_locked(folder: Path) -> Iterator[None]:
    """Hold the locks of all stores of rows and labels, after a change of theirs that is in progress."""
    with contextlib.ExitStack() as locks:
        # The log before the labels, as the quality service locks them.
        for file in sorted(folder.glob(STORE_LOCKS), reverse=True):
            locks.enter_context(locked_file(file))
        yield


if __name__ == "__main__":
    sys.exit(main())
