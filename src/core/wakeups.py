"""Wakes a waiting loop from other threads and from signal handlers."""

import contextlib
import queue

MAX_WAIT_SECONDS = 3600.0


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
