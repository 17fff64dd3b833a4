"""A time limit that moves often."""

import asyncio
from collections.abc import Callable


class Deadline:
    """A time limit. Moving it later, as with each request of a connection, costs no timer.

    Args:
        loop: provides the clock.
        expired: called when the time is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # When the timer fires. uvloop's timers of a time that is over do not know it.
        self._due = 0.0

    def set(self, seconds: float) -> None:
        """Expire in so many seconds, and not before."""
        self._at = self._loop.time() + seconds
        if self._timer is None or self._at < self._due:
            self._arm()

    def clear(self) -> None:
        """Do not expire."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.clear()
        self._due = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._at > self._loop.time():  # it was moved
            self._arm()
        else:
            self._expired()
