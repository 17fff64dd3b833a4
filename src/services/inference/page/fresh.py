"""Caches what the page reads from MLflow and from the shared volume."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from src.core.errors import LoopError

T = TypeVar("T")


class Fresh(Generic[T]):
    """A source that is asked once for any number of open pages. Use from one event loop.

    Args:
        ask: asks the source.
        seconds: the greatest age of what it has said, a failure included.
        patience: seconds to wait for it; without a limit where asking cannot be cancelled.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        seconds: float,
        *,
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._asking = asyncio.Lock()
        self._changed = False
        self._expires = -math.inf
        self._last: T | None = None
        self._problem: str | None = None

    async def read(self) -> tuple[T | None, str | None]:
        """The last answer, of any age, and why there is no newer one, if so."""
        async with self._asking:
            if self._clock() >= self._expires:
                self._changed = False
                try:
                    async with asyncio.timeout(self._patience):
                        self._last, self._problem = await self._ask(), None
                except LoopError as error:
                    self._problem = str(error)
                except TimeoutError:
                    self._problem = "MLflow did not answer in time; this is its last answer"
                # What was asked before a change may be out of date.
                if not self._changed:
                    self._expires = self._clock() + self._seconds
            return self._last, self._problem

    def forget(self) -> None:
        """Ask again at the next call, after a change."""
        self._changed, self._expires = True, -math.inf
