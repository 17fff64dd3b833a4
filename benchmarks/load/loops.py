"""Schedules of requests: a closed loop sends after each response, an open loop at fixed times."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Protocol

from benchmarks.load.figures import LOST, Tally

Clock = Callable[[], float]


class Link(Protocol):
    """One connection with at most one request in flight, timed from ``since``."""

    since: float

    def send(self, request: bytes) -> None:
        """Send a request; the loop's ``answered`` is called with its response."""


class ClosedLoop:
    """Every connection sends its next request when it has the response to the previous one.

    While a server stalls, no requests are sent, and the stall affects one latency per connection.
    """

    def __init__(self, requests: Sequence[bytes], tally: Tally, clock: Clock) -> None:
        self._requests = cycle(requests)
        self._tally = tally
        self._clock = clock

    def ready(self, link: Link) -> None:
        """Send the next request on an idle connection."""
        link.since = self._clock()
        link.send(next(self._requests))

    def answered(self, link: Link, status: int) -> None:
        """Count a response."""
        now = self._clock()
        self._tally.add(now, now - link.since, status)

    def lost(self, link: Link) -> None:
        """Count a lost connection."""
        now = self._clock()
        self._tally.add(now, now - link.since, LOST)

    def finish(self) -> None:
        """Nothing: requests in flight at the end are not counted."""


class OpenLoop:
    """Requests are due at a fixed rate, and latencies count from the due time, not from when a request is sent.

    So they include the wait for a free connection, as for independent users.
    """

    def __init__(self, requests: Sequence[bytes], rate: float, start: float, tally: Tally, clock: Clock) -> None:
        self._requests = cycle(requests)
        self._rate = rate
        self._start = start
        self._tally = tally
        self._clock = clock
        self._fallen_due = 0
        self._waiting: deque[float] = deque()
        self._idle: deque[Link] = deque()
        self._under_way: set[Link] = set()
        self._pending_changed = asyncio.Event()

    def ready(self, link: Link) -> None:
        """Use an idle connection for the request that has waited longest."""
        self._idle.append(link)
        self._send_waiting()

    def answered(self, link: Link, status: int) -> None:
        """Count a response."""
        self._settle(link, status)

    def lost(self, link: Link) -> None:
        """Count the request of a lost connection, if it had one."""
        if link in self._under_way:
            self._settle(link, LOST)
        else:
            self._idle.remove(link)

    async def keep_sending(self) -> None:
        """Send due requests until the tally's end."""
        while (due := self._start + self._fallen_due / self._rate) < self._tally.end:
            now = self._clock()
            if due > now:
                await asyncio.sleep(due - now)
                continue
            self._fallen_due += 1
            self._waiting.append(due)
            if self._idle:
                self._tally.sent_late.append(now - due)
            self._send_waiting()

    async def wait_for_answers(self, seconds: float) -> None:
        """Wait for the responses to all due requests, for at most so many seconds."""
        self._pending_changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting or self._under_way:
                    await self._pending_changed.wait()
                    self._pending_changed.clear()

    def finish(self) -> None:
        """Count requests without a response, with the time that they have waited."""
        now = self._clock()
        for due in (*self._waiting, *(link.since for link in self._under_way)):
            self._tally.add_unanswered(due, now - due)

    def _settle(self, link: Link, status: int) -> None:
        self._under_way.discard(link)
        self._tally.add(link.since, self._clock() - link.since, status)
        self._pending_changed.set()

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            link = self._idle.popleft()
            link.since = self._waiting.popleft()
            self._under_way.add(link)
            link.send(next(self._requests))
