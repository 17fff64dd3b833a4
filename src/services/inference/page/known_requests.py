"""The newest retrain requests, for any number of pages at the price of one: the shared volume is read seldom."""

import asyncio
import time
from collections.abc import Callable

from src.core.retrain_record import RetrainRecord
from src.core.retrain_signal import RetrainSpool

# How old what was read may be.
FRESH_SECONDS = 1.0


class KnownRequests:
    """Reads once for all who want to know within ``FRESH_SECONDS``. Use from one event loop.

    Args:
        spool: holds the requests.
        limit: how many of the newest.
        clock: monotonic seconds.
    """

    def __init__(self, spool: RetrainSpool, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._spool = spool
        self._limit = limit
        self._clock = clock
        self._reading = asyncio.Lock()
        self._known: list[RetrainRecord] = []
        self._read_at: float | None = None
        self._changes = 0

    async def read(self) -> list[RetrainRecord]:
        """The newest requests, newest first. Raises SpoolUnavailableError."""
        async with self._reading:
            if self._read_at is None or self._clock() - self._read_at >= FRESH_SECONDS:
                changes = self._changes
                self._known = await asyncio.to_thread(self._spool.recent, self._limit)
                self._read_at = self._clock() if changes == self._changes else None
            return self._known

    def forget(self) -> None:
        """There is another request: the next one who wants to know reads again."""
        self._read_at = None
        self._changes += 1
