"""Wakes the monitor's loop: by file events, and at least once per poll interval."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import watchfiles

from src.core.wakeups import Wakeups

# Two steps without a new change end a batch of events, so an event is reported within twice this time.
STEP_MS = 20
IDLE_MS = 100

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def watching(folder: Path, wakeups: Wakeups) -> Iterator[None]:
    """Wake on every file event in ``folder`` until the block ends or ``wakeups`` are stopped.

    A folder that cannot be watched is logged once; the loop then relies on its poll interval. That interval is not left
    to the watcher, whose time-out does not use the monotonic clock.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(folder, wakeups, ended), name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=2)


def _watch(folder: Path, wakeups: Wakeups, ended: threading.Event) -> None:
    first = True
    try:
        for changes in watchfiles.watch(
            folder,
            watch_filter=None,
            debounce=STEP_MS,
            step=STEP_MS,
            rust_timeout=IDLE_MS,
            yield_on_timeout=True,
            stop_event=ended,
            recursive=False,
            raise_interrupt=False,
        ):
            # The first idle time-out means that the watch is active; earlier changes need one check.
            if changes or first:
                wakeups.wake()
            first = False
    except Exception as error:  # noqa: BLE001 - polling works without the watcher, whatever its error
        logger.warning("no file events from %s (%s); it is read at every poll interval instead", folder, error)
