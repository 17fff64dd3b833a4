"""How long the service waits for its clients: for what they send, and for them to read their answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

# What of a request is waited for.
NOTHING, HEAD, BODY = range(3)
# Why a client is waited for no longer; they are also labels of a metric.
SLOW_HEAD = "slow_head"
LARGE_HEAD = "large_head"
SLOW_BODY = "slow_body"
SLOW_READER = "slow_reader"
CUT_REASONS = (SLOW_HEAD, LARGE_HEAD, SLOW_BODY, SLOW_READER)


@dataclass(frozen=True)
class Patience:
    """How long, in seconds.

    Attributes:
        head_seconds: for a whole request head, and for the first one of a connection.
        body_seconds: for a whole body; for a client to read on.
        body_rate: so many bytes earn one second more; a client that reads must keep this pace.
    """

    head_seconds: float
    body_seconds: float
    body_rate: float

    def body_end(self, since: float, taken: int) -> float:
        """When a body must be there, so many bytes of which have come since then."""
        return since + self.body_seconds + taken / self.body_rate


class SenderWatch:
    """Watches what one client sends. Its timer runs only while a request has come in part.

    Args:
        loop: tells the time.
        patience: how long.
        late: called when the time is over.

    Attributes:
        phase: what is waited for: ``HEAD``, ``BODY`` or ``NOTHING``.
        taken: bytes that have come in this phase, as the caller counts them.
        most: further ones earn no more time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: Patience, late: Callable[[], None]) -> None:
        self._loop = loop
        self._patience = patience
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self.phase = NOTHING
        self.taken = 0
        self.most = 0

    def start(self, phase: int, most: int) -> None:
        """Wait for this from now on."""
        self.stop()
        self.phase = phase
        self.taken = 0
        self.most = most
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._end(), self._expire)

    def stop(self) -> None:
        """Wait for nothing."""
        self.phase = NOTHING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> float:
        if self.phase == HEAD:
            return self._since + self._patience.head_seconds
        return self._patience.body_end(self._since, min(self.taken, self.most))

    def _expire(self) -> None:
        self._timer = None
        end = self._end()
        if end > self._loop.time():  # more has come in the meantime
            self._timer = self._loop.call_at(end, self._expire)
        else:
            self._late()


class ReaderWatch:
    """Watches how one client reads. Its timer runs only while more waits to be sent than a socket takes.

    Args:
        loop: tells the time.
        patience: how long.
        waiting: tells how many bytes wait.
        stuck: called when too few have left.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        patience: Patience,
        *,
        waiting: Callable[[], int],
        stuck: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._patience = patience
        self._waiting = waiting
        self._stuck = stuck
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Something waits to be sent."""
        seconds = self._patience.body_seconds
        most = self._waiting() - seconds * self._patience.body_rate
        self._timer = self._loop.call_later(seconds, self._expire, most)

    def stop(self) -> None:
        """The client keeps up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, most: float) -> None:
        self._timer = None
        if self._waiting() > max(0, most):
            self._stuck()
        else:
            self.start()
