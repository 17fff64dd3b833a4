"""Caches an answer for a few seconds, so that any number of open pages cost one query."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Queries once, and returns that answer to all callers until it expires. Use from one event loop.

    Args:
        ask: queries the answer; its errors are raised to the caller and are not cached.
        seconds: the greatest age of an answer.
        clock: monotonic seconds.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float, clock: Callable[[], float]) -> None:
        self._ask_anew = ask
        self._seconds = seconds
        self._clock = clock
        self._asking = asyncio.Lock()
        # The answer and its time; None if there is none to reuse.
        self._last: tuple[T, float] | None = None
        self._changes = 0

    async def read(self) -> T:
        """The current answer."""
        async with self._asking:
            if self._last is not None and self._clock() - self._last[1] < self._seconds:
                return self._last[0]
            self._last = None
            changes = self._changes
            found = await self._ask_anew()
            # An answer that was being queried during a change may be out of date.
            if changes == self._changes:
                self._last = found, self._clock()
            return found

    def forget(self) -> None:
        """Discard the answer after a change: the next call queries again."""
        self._last = None
        self._changes += 1
