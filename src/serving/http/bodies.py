"""Receives bodies before the application works on their requests, within limits of size, time and memory."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from src.core.errors import LoopError
from src.serving.http.body_limits import BodyLimits, announced_length
from src.serving.http.errors import BodyTooLargeError, SlowBodyError, StoppingError
from src.serving.http.timeouts import ClientTimeouts
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.watch.metrics import SLOW_BODY, ServingMetrics


class IncomingBody:
    """A body, or the reason why it is incomplete. ``release`` it after the response.

    Args:
        receive: the server's.
        memory: where its pieces count.

    Attributes:
        size: bytes received.
        kept: bytes that count in the memory.
        error: why the body is incomplete, or None.
        timer: the time limit.
    """

    def __init__(self, receive: Receive, memory: "BodyMemory") -> None:
        self._receive = receive
        self._memory = memory
        self._pieces: deque[bytes] = deque()
        self.size = 0
        self.kept = 0
        self.error: LoopError | None = None
        self.timer = asyncio.timeout(None)

    async def take_piece(self) -> bool:
        """Receive a piece; False if it is the last one.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        has_more: bool = message.get("more_body", False)
        self._pieces.append(piece)
        self.size += len(piece)
        # What arrives in one piece is small.
        if (has_more or len(self._pieces) > 1) and self.error is None and not self._memory.keep(self, len(piece)):
            self.fail(OverloadedError())
        return has_more

    def fail(self, error: LoopError) -> None:
        """Drop what has been received; the application gets this error when it reads the body."""
        self.error = error
        self.release()

    def interrupt(self, error: LoopError) -> None:
        """Fail, and receive no more."""
        self.fail(error)
        if not self.timer.expired():
            self.timer.reschedule(0)

    def release(self) -> None:
        """Free the memory."""
        self._pieces.clear()
        self._memory.release(self)

    async def receive(self) -> Message:
        """The application's ``receive``.

        Raises:
            LoopError: why the body is incomplete.
        """
        if self.error is not None:
            raise self.error
        if not self._pieces:
            return await self._receive()
        piece = self._pieces.popleft()
        if self._pieces:
            await asyncio.sleep(0)  # let other tasks run: there may be a thousand pieces
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


class BodyMemory:
    """Memory for the bodies of one kind of request, from their first byte until the response.

    If it is full, the oldest incomplete body is dropped if it is older than ``usual_seconds``, so that slow or stalled
    clients do not block others for long. Otherwise the body that needs more memory is refused.

    Args:
        max_bytes: the limit of all bodies together.
        usual_seconds: younger incomplete bodies are not dropped.
        clock: monotonic seconds.
    """

    def __init__(self, max_bytes: int, usual_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._usual_seconds = usual_seconds
        self._clock = clock
        self._kept = 0
        # Oldest first, with the times when they began.
        self._incomplete: dict[IncomingBody, float] = {}

    def begin(self, receive: Receive) -> IncomingBody:
        """A body that is received from now on."""
        body = IncomingBody(receive, self)
        self._incomplete[body] = self._clock()
        return body

    def keep(self, body: IncomingBody, size: int) -> bool:
        """Count a received piece; False if there is no memory for it."""
        while self._kept + size > self._max_bytes:
            oldest, began = next(iter(self._incomplete.items()))
            if oldest is body or self._clock() - began <= self._usual_seconds:
                return False
            oldest.interrupt(OverloadedError())
        body.kept += size
        self._kept += size
        return True

    def complete(self, body: IncomingBody) -> None:
        """The body is complete, and keeps its memory."""
        self._incomplete.pop(body, None)

    def release(self, body: IncomingBody) -> None:
        """Free a body's memory."""
        self.complete(body)
        self._kept -= body.kept
        body.kept = 0

    def interrupt_all(self, error: LoopError) -> None:
        """Receive no more of the incomplete bodies."""
        for body in list(self._incomplete):
            body.interrupt(error)


class Bodies:
    """Receives bodies.

    Args:
        limits: of single bodies.
        timeouts: of slow clients.
        memory: for the bodies of most routes.
        others: separate memory by fixed path.
        metrics: counts bodies that are refused.
    """

    def __init__(
        self,
        limits: BodyLimits,
        timeouts: ClientTimeouts,
        memory: BodyMemory,
        others: Mapping[str, BodyMemory],
        metrics: ServingMetrics,
    ) -> None:
        self._limits = limits
        self._timeouts = timeouts
        self._memory = memory
        self._others = others
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def received(self, scope: Scope, receive: Receive) -> AsyncIterator[IncomingBody]:
        """A body that is complete, or has failed; its memory is freed at the end.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        memory = self._others.get(scope["path"], self._memory)
        body = memory.begin(receive)
        try:
            await self._fill(body, scope)
            memory.complete(body)
            yield body
        finally:
            body.release()

    def stop_waiting(self) -> None:
        """The service is stopping: refuse bodies that are incomplete."""
        for memory in (self._memory, *self._others.values()):
            memory.interrupt_all(StoppingError())

    async def _fill(self, body: IncomingBody, scope: Scope) -> None:
        limit = self._limits.of(scope)
        if announced_length(scope) > limit:
            body.fail(BodyTooLargeError(limit))
            return
        began = asyncio.get_running_loop().time()
        try:
            async with body.timer:
                has_more = True
                while has_more and body.error is None:
                    body.timer.reschedule(began + self._timeouts.for_body(body.size))
                    has_more = await body.take_piece()
                    if body.size > limit:
                        body.fail(BodyTooLargeError(limit))
        except TimeoutError:
            if body.error is None:
                self._metrics.cut(SLOW_BODY)
                body.fail(SlowBodyError())
        if isinstance(body.error, OverloadedError):
            self._metrics.shed(QUEUE_FULL)
