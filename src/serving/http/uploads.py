"""Holds incoming bodies in memory before their requests are passed to the application."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.serving.http.body_limits import BodyLimits


class Uploads:
    """Memory for the bodies of one kind of request, from their first byte until the response.

    If it is full, the oldest incomplete body is dropped if it is older than ``usual_seconds``, so that slow or stalled
    clients do not block others for long. Otherwise the body that needs more memory is refused.

    Args:
        most_bytes: the limit of all bodies together.
        usual_seconds: younger incomplete bodies are not dropped.
        clock: monotonic seconds.
    """

    def __init__(self, most_bytes: int, usual_seconds: float, clock: Callable[[], float]) -> None:
        self._most_bytes = most_bytes
        self._usual_seconds = usual_seconds
        self._clock = clock
        self._taken = 0
        # Incomplete bodies, oldest first, with their start times.
        self._coming: dict[Upload, float] = {}

    def begin(self, refuse: Callable[[], None]) -> "Upload":
        """Begin a body; ``refuse`` is called when there is no memory for it, and must call ``Upload.drop``."""
        upload = Upload(self, refuse)
        self._coming[upload] = self._clock()
        return upload

    def room_for(self, size: int, upload: "Upload") -> bool:
        """Reserve memory; False if there is none. Older bodies may be refused to free it."""
        while self._taken + size > self._most_bytes:
            oldest = next(iter(self._coming))
            if self._clock() - self._coming[oldest] <= self._usual_seconds:
                oldest = upload
            oldest.refuse()
            if oldest is upload:
                return False
        self._taken += size
        return True

    def whole(self, upload: "Upload") -> None:
        """The body is complete, and keeps its memory."""
        self._coming.pop(upload, None)

    def give_back(self, upload: "Upload", size: int) -> None:
        """Free a body's memory."""
        self.whole(upload)
        self._taken -= size


class Upload:
    """One body.

    Args:
        uploads: provides the memory.
        refuse: called when there is none.

    Attributes:
        size: bytes stored here.
    """

    def __init__(self, uploads: Uploads, refuse: Callable[[], None]) -> None:
        self._uploads = uploads
        self.refuse = refuse
        self.size = 0
        self._pieces: deque[bytearray] = deque()

    def keep(self, piece: bytearray) -> bool:
        """Store a piece; False if there was no memory and the body was refused."""
        if not self._uploads.room_for(len(piece), self):
            return False
        self.size += len(piece)
        self._pieces.append(piece)
        return True

    def drop(self) -> None:
        """Free its memory."""
        size, self.size = self.size, 0
        self._pieces.clear()
        self._uploads.give_back(self, size)

    def handed_to(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application: it receives the stored pieces first, and their memory is freed after its response."""
        self._uploads.whole(self)

        async def with_body(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_kept_first() -> Message:
                if not self._pieces:
                    return await receive()
                await asyncio.sleep(0)  # let other tasks run: there may be a thousand pieces
                return {"type": "http.request", "body": bytes(self._pieces.popleft()), "more_body": True}

            try:
                await app(scope, receive_kept_first, send)
            finally:
                self.drop()

        return with_body


@dataclass(frozen=True)
class Bodies:
    """Limits and memory for bodies.

    Attributes:
        limits: of single bodies.
        usual: memory for the bodies of most routes.
        others: separate memory by fixed path.
    """

    limits: BodyLimits
    usual: Uploads
    others: Mapping[str, Uploads]

    def uploads_of(self, scope: Scope) -> Uploads:
        """The memory for a request's body."""
        return self.others.get(scope["path"], self.usual)
