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

    def for_body(self, received: int) -> float:
        """Seconds for a body of which so many bytes have been received."""
        return self.body_seconds + received / self.body_rate


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


class ReaderWatch:
    """Watches a client that reads, while the connection's buffer is full.

    Args:
        loop: provides the clock.
        timeouts: the time-outs.
        unsent: returns the number of bytes that wait to be sent.
        stuck: called when the client has read less than ``body_rate`` for ``body_seconds``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: ClientTimeouts,
        unsent: Callable[[], int],
        stuck: Callable[[], None],
    ) -> None:
        self._timeouts = timeouts
        self._unsent = unsent
        self._stuck = stuck
        self._most = 0.0
        self._deadline = Deadline(loop, self._check)

    def start(self) -> None:
        """The buffer is full."""
        self._most = self._unsent() - self._timeouts.body_seconds * self._timeouts.body_rate
        self._deadline.set(self._timeouts.body_seconds)

    def stop(self) -> None:
        """The client has read enough."""
        self._deadline.clear()

    def _check(self) -> None:
        if self._unsent() > max(0.0, self._most):
            self._stuck()
        else:
            self.start()
