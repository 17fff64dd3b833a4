"""Receives bodies before the application works on their requests, within limits of size, time and memory."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from src.core.errors import InvalidInputError, LoopError
from src.core.inference_settings import InferenceSettings
from src.serving.http.errors import IncompleteRequestError, StoppingError
from src.serving.http.guards import announced_length
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.tables.problems import TOO_LARGE
from src.serving.watch.metrics import SLOW_BODY, ServingMetrics

TOO_SLOW = "the body was not received in time; send it faster, or send less"


@dataclass(eq=False)
class BodyMemory:
    """Memory for the bodies of some routes, from their first byte until the response.

    If it is full, the oldest incomplete body is dropped if it is older than ``usual_seconds``, so that slow or stalled
    clients do not block others for long. Otherwise the body that needs more memory is refused.
    """

    max_body_bytes: int  # the limit of each body
    free_bytes: int  # what all bodies together may take
    usual_seconds: float
    incomplete: "dict[IncomingBody, None]" = field(default_factory=dict)  # those being received, oldest first

    @property
    def too_large(self) -> LoopError:
        """The error of a body over the limit."""
        what = f"the body is larger than {self.max_body_bytes} bytes; send fewer rows (/predict/batch takes the most)"
        return InvalidInputError(what, kind=TOO_LARGE)

    def keep(self, body: "IncomingBody", size: int) -> bool:
        """Count a received piece; False if there is no memory for it."""
        while size > self.free_bytes:
            oldest = next(iter(self.incomplete))
            if oldest is body or asyncio.get_running_loop().time() - oldest.began <= self.usual_seconds:
                return False
            oldest.interrupt(OverloadedError())
        body.kept += size
        self.free_bytes -= size
        return True


class IncomingBody:
    """A body, or the ``error`` why it is incomplete; its pieces count in ``memory``."""

    def __init__(self, receive: Receive, memory: BodyMemory) -> None:
        self.began = asyncio.get_running_loop().time()
        self.size = self.kept = 0  # bytes received, and bytes that count in the memory
        self.error: LoopError | None = None
        self.timer = asyncio.timeout(None)
        self._receive = receive
        self._memory = memory
        self._pieces: deque[bytes] = deque()

    async def take_piece(self) -> bool:
        """Receive a piece; False if it is the last one, or the body has failed. May raise ClientDisconnect."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, has_more = message.get("body", b""), bool(message.get("more_body"))
        if self.error is None:
            self._pieces.append(piece)
            self.size += len(piece)
            if self.size > self._memory.max_body_bytes:
                self.fail(self._memory.too_large)
            # What arrives in one piece is small.
            elif (has_more or len(self._pieces) > 1) and not self._memory.keep(self, len(piece)):
                self.fail(OverloadedError())
        return has_more and self.error is None

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
        self._memory.incomplete.pop(self, None)
        self._memory.free_bytes += self.kept
        self.kept = 0

    async def receive(self) -> Message:
        """The application's ``receive``; raises the body's error."""
        if self.error is not None:
            raise self.error
        if not self._pieces:
            return await self._receive()
        piece = self._pieces.popleft()
        if self._pieces:
            await asyncio.sleep(0)  # let other tasks run: there may be a thousand pieces
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


@dataclass
class Bodies:
    """Receives the bodies of all routes."""

    settings: InferenceSettings
    memory: BodyMemory  # of most routes
    others: Mapping[str, BodyMemory]  # by fixed path
    metrics: ServingMetrics

    @contextlib.asynccontextmanager
    async def received(self, scope: Scope, receive: Receive) -> AsyncIterator[IncomingBody]:
        """A body that is complete, or has failed; its memory is freed at the end. May raise ClientDisconnect."""
        memory = self.others.get(scope["path"], self.memory)
        body = IncomingBody(receive, memory)
        memory.incomplete[body] = None
        try:
            if announced_length(scope) > memory.max_body_bytes:
                body.fail(memory.too_large)
            else:
                await self._fill(body)
            memory.incomplete.pop(body, None)
            yield body
        finally:
            body.release()

    async def _fill(self, body: IncomingBody) -> None:
        seconds, rate = self.settings.body_seconds, self.settings.body_rate
        try:
            async with body.timer:
                has_more = True
                while has_more:
                    body.timer.reschedule(body.began + seconds + body.size / rate)
                    has_more = await body.take_piece()
        except TimeoutError:
            if body.error is None:
                self.metrics.cut(SLOW_BODY)
                body.fail(IncompleteRequestError(408, TOO_SLOW, {"Connection": "close"}))
        if isinstance(body.error, OverloadedError):
            self.metrics.shed(QUEUE_FULL)

    def stop_waiting(self) -> None:
        """The service is stopping: refuse bodies that are incomplete."""
        for memory in {self.memory, *self.others.values()}:
            for body in list(memory.incomplete):
                body.interrupt(StoppingError())
