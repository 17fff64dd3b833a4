"""Wakes the monitor's loop: by file events, and at least once per poll interval."""

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import watchfiles

# Two steps without a new change end a batch of events, so an event is reported within twice this time.
STEP_MS = 20
IDLE_MS = 100
MAX_WAIT_SECONDS = 3600.0

logger = logging.getLogger(__name__)


class Wakeups:
    """Wakes one waiting loop; safe to call from other threads and from signal handlers.

    A ``SimpleQueue`` and not a ``threading.Event``: only its ``put`` is documented as safe in a signal handler
    that interrupts a ``get`` of the same thread.
    """

    def __init__(self) -> None:
        self._mail: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False

    def wake(self) -> None:
        """End the current wait, or the next one if none is in progress."""
        self._mail.put(None)

    def stop(self) -> None:
        """End the loop: ``is_set`` is true from now on."""
        self._stopped = True
        self._mail.put(None)

    def is_set(self) -> bool:
        """Whether the loop must end (the name that ``watchfiles`` asks a stop event for)."""
        return self._stopped

    def wait(self, seconds: float) -> None:
        """Return after a wake-up, or after ``seconds`` by the monotonic clock; pending wake-ups count as one."""
        with contextlib.suppress(queue.Empty):
            self._mail.get(timeout=min(max(seconds, 0.0), MAX_WAIT_SECONDS))
            while True:
                self._mail.get_nowait()


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
