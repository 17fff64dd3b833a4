"""When requests are sent: in a closed loop as answers come, in an open loop at fixed times whatever comes."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Protocol

from benchmarks.load.figures import LOST, Tally

Clock = Callable[[], float]


class Link(Protocol):
    """One connection; it has at most one request under way, timed from ``since``."""

    since: float

    def send(self, request: bytes) -> None:
        """Send a request; its answer is told to the loop's ``answered``."""


class ClosedLoop:
    """Every connection sends its next request when it has the answer to the last.

    A server that stalls for a second is sent nothing meanwhile, and the second shows in one latency per connection.
    """

    def __init__(self, requests: Sequence[bytes], tally: Tally, clock: Clock) -> None:
        self._requests = cycle(requests)
        self._tally = tally
        self._clock = clock

    def ready(self, link: Link) -> None:
        """Send the next request on a connection that has none under way."""
        link.since = self._clock()
        link.send(next(self._requests))

    def answered(self, link: Link, status: int) -> None:
        """Count an answer."""
        now = self._clock()
        self._tally.add(now, now - link.since, status)

    def lost(self, link: Link) -> None:
        """Count a connection that ended."""
        now = self._clock()
        self._tally.add(now, now - link.since, LOST)

    def finish(self) -> None:
        """Nothing: what is under way at the end belongs to no window."""


class OpenLoop:
    """Requests fall due at a fixed rate, and a request's latency counts from then, not from when it could be sent.

    So the wait for a free connection counts too, as it does for users who know nothing of each other.
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
        """Give a connection that has no request under way to the one that has waited longest."""
        self._idle.append(link)
        self._send_waiting()

    def answered(self, link: Link, status: int) -> None:
        """Count an answer."""
        self._settle(link, status)

    def lost(self, link: Link) -> None:
        """Count the request that a connection took with it; an idle one may end."""
        if link in self._under_way:
            self._settle(link, LOST)
        else:
            self._idle.remove(link)

    async def keep_sending(self) -> None:
        """Send what falls due until the tally's end."""
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
        """Wait until every request that fell due has its answer, at most so long."""
        self._pending_changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting or self._under_way:
                    await self._pending_changed.wait()
                    self._pending_changed.clear()

    def finish(self) -> None:
        """Count what has no answer with the time that it has waited for one."""
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
