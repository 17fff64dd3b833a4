"""How often the model store polls MLflow, and how it waits in between."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Wait = Callable[[asyncio.Event, float], Awaitable[None]]


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@dataclass(frozen=True)
class Backoff:
    """Polling intervals, in seconds, and how to wait.

    Attributes:
        poll: between two polls without errors.
        retry_max: the longest pause after repeated failures.
        wait: pauses; ends early when the event is set.
        clock: monotonic seconds.
    """

    poll: float
    retry_max: float
    wait: Wait = wait_for_event
    clock: Callable[[], float] = time.monotonic

    def after(self, failures: int) -> float:
        """The pause after so many consecutive failures: it doubles from ``poll`` up to ``retry_max``."""
        return max(self.poll, min(self.poll * 2.0 ** min(failures, 30), self.retry_max))
