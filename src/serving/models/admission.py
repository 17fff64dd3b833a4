"""Limits how many requests run at once and how many wait in a short queue."""

import asyncio
import contextlib
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
    """``limit`` slots for running requests; at most ``queue`` more wait for so many seconds, first come first served.

    Use from one event loop. ``on_shed`` is called with one of ``SHED_REASONS`` if a request is turned away.
    """

    def __init__(self, limit: int, *, queue: int, seconds: float, on_shed: Callable[[str], None]) -> None:
        self._limit = limit
        self._most = limit + queue
        self._seconds = seconds
        self._on_shed = on_shed
        self._slots = asyncio.Semaphore(limit)
        self._present = 0  # running and waiting requests

    @property
    def has_room(self) -> bool:
        """Whether a slot is free; none is while requests wait, because the first in the queue gets the next one."""
        return self._present < self._limit

    def require_room(self) -> None:
        """Check that a request could enter, or wait. Raises OverloadedError if the queue is full."""
        if self._present >= self._most:
            self._on_shed(QUEUE_FULL)
            raise OverloadedError

    async def enter(self) -> None:
        """Take a slot, which needs a ``leave``; raises OverloadedError if the queue is full or the wait too long."""
        self.require_room()
        seconds = None if self.has_room else self._seconds  # without a timer, which would cost more than the rest
        self._present += 1
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except BaseException as error:
            self._present -= 1
            if isinstance(error, TimeoutError):
                self._on_shed(QUEUE_TIMEOUT)
                raise OverloadedError from None
            raise

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
        self._present -= 1
        self._slots.release()
