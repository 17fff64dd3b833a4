"""Time-outs of clients that send or read too slowly."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ClientTimeouts:
    """Time-outs, in seconds.

    Attributes:
        head_seconds: for a complete request head, and for the first one of a connection.
        body_seconds: for a complete body, and for a client that does not read.
        body_rate: bytes per second: each so many received bytes extend a body's time-out by a second, and a client
            must read at this rate.
    """

    head_seconds: float
    body_seconds: float
    body_rate: float


class Deadline:
    """A time limit that moves often: moving it later costs no timer.

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
