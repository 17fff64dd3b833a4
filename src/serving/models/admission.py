"""Limits how many requests run at once and how many wait in a short queue."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from src.core.errors import LoopError

# Reasons for turning a request away; they are also labels of a metric.
QUEUE_FULL = "queue_full"
QUEUE_TIMEOUT = "queue_timeout"
SHED_REASONS = (QUEUE_FULL, QUEUE_TIMEOUT)


class OverloadedError(LoopError):
    """There are more requests than the service can answer in time."""

    def __init__(self) -> None:
        super().__init__("the service has more requests than it can answer in time; send this one again in a second")


class Admission:
    """Slots for running requests, and a short queue, first come first served.

    Use from one event loop. Every ``enter`` needs a ``leave``, also after an error.

    Args:
        limit: the most running requests.
        queue: the most requests that wait for a slot.
        seconds: the longest wait.
        on_shed: called with one of ``SHED_REASONS`` if a request is turned away.
    """

    def __init__(self, limit: int, *, queue: int, seconds: float, on_shed: Callable[[str], None]) -> None:
        self._limit = limit
        self._queue = queue
        self._seconds = seconds
        self._on_shed = on_shed
        self._inside = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether a slot is free; none is while requests wait, because the first in the queue gets the next one."""
        return self._inside < self._limit

    def require_room(self) -> None:
        """Check that a request could enter, or wait.

        Raises:
            OverloadedError: the queue is full.
        """
        if not self.has_room and len(self._waiting) >= self._queue:
            self._on_shed(QUEUE_FULL)
            raise OverloadedError

    async def enter(self) -> None:
        """Take a slot, waiting for it in the queue.

        Raises:
            OverloadedError: the queue is full, or no slot became free in time.
        """
        self.require_room()
        if self.has_room:
            self._inside += 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(self._seconds, self._give_up, turn)
        try:
            came = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():  # the slot was assigned at the same moment: pass it on
                self.leave()
            raise
        finally:
            timer.cancel()
        if not came:
            self._on_shed(QUEUE_TIMEOUT)
            raise OverloadedError

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Enter, and leave in any case; raises as ``enter``."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Pass the slot to the first waiting request, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # a cancelled request stays in the queue until here
                turn.set_result(True)
                return
        self._inside -= 1

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
            turn.set_result(False)
