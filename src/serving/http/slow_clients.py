"""Time-outs of clients that send or read too slowly."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

# The part of a request that is waited for.
NOTHING, HEAD, BODY = range(3)
# Reasons for disconnecting a client; they are also labels of a metric.


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

    def body_end(self, since: float, taken: int) -> float:
        """When a body must be complete, of which so many bytes have been received since ``since``."""
        return since + self.body_seconds + taken / self.body_rate


class SenderWatch:
    """Watches a client that sends. Its timer runs only while a request is incomplete.

    Args:
        loop: provides the clock.
        timeouts: the time-outs.
        late: called when the time is over.

    Attributes:
        phase: what is waited for: ``HEAD``, ``BODY`` or ``NOTHING``.
        taken: bytes received in this phase; the caller counts them.
        most: bytes beyond it do not extend the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: ClientTimeouts, late: Callable[[], None]) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self.phase = NOTHING
        self.taken = 0
        self.most = 0

    def start(self, phase: int, most: int) -> None:
        """Start waiting for this part."""
        self.stop()
        self.phase = phase
        self.taken = 0
        self.most = most
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._end(), self._expire)

    def stop(self) -> None:
        """Stop waiting."""
        self.phase = NOTHING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> float:
        if self.phase == HEAD:
            return self._since + self._timeouts.head_seconds
        return self._timeouts.body_end(self._since, min(self.taken, self.most))

    def _expire(self) -> None:
        self._timer = None
        end = self._end()
        if end > self._loop.time():  # more bytes were received meanwhile
            self._timer = self._loop.call_at(end, self._expire)
        else:
            self._late()


class ReaderWatch:
    """Watches a client that reads. Its timer runs only while the socket's buffer is full.

    Args:
        loop: provides the clock.
        timeouts: the time-outs.
        waiting: returns the number of bytes that wait to be sent.
        stuck: called when too few bytes were sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: ClientTimeouts,
        *,
        waiting: Callable[[], int],
        stuck: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._waiting = waiting
        self._stuck = stuck
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Bytes wait to be sent."""
        seconds = self._timeouts.body_seconds
        most = self._waiting() - seconds * self._timeouts.body_rate
        self._timer = self._loop.call_later(seconds, self._expire, most)

    def stop(self) -> None:
        """The client has read enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, most: float) -> None:
        self._timer = None
        if self._waiting() > max(0, most):
            self._stuck()
        else:
            self.start()
