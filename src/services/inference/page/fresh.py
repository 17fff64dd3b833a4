"""One answer for any number of pages: whoever wants to know within some seconds makes do with the last one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Asks once for all who want to know while the answer is fresh. Use from one event loop.

    Args:
        ask: finds the answer; what it raises is raised to who wanted to know, and asked again.
        seconds: how old an answer may be.
        clock: monotonic seconds.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float, clock: Callable[[], float]) -> None:
        self._ask_anew = ask
        self._seconds = seconds
        self._clock = clock
        self._asking = asyncio.Lock()
        # The answer, and when it came; None where there is none that may be used again.
        self._last: tuple[T, float] | None = None
        self._changes = 0

    async def read(self) -> T:
        """What is known now."""
        async with self._asking:
            if self._last is not None and self._clock() - self._last[1] < self._seconds:
                return self._last[0]
            self._last = None
            changes = self._changes
            found = await self._ask_anew()
            # An answer that was under way while things changed may be of before.
            if changes == self._changes:
                self._last = found, self._clock()
            return found

    def forget(self) -> None:
        """Things have changed: the next one who wants to know asks again."""
        self._last = None
        self._changes += 1
