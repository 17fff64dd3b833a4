"""Bodies that come in, in memory, before the application hears of their requests."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.services.inference.web.body_limits import BodyLimits


class Uploads:
    """Memory for the bodies of one kind of request, from their coming in until they are answered.

    Where it is full, the one that has been coming in longest makes room, if that is longer than usual: who sends
    slowly, or begins and stops, keeps nobody out for long. Else the one that wants more is refused.

    Args:
        most_bytes: of all bodies together.
        usual_seconds: for so long an upload keeps its place.
        clock: monotonic seconds.
    """

    def __init__(self, most_bytes: int, usual_seconds: float, clock: Callable[[], float]) -> None:
        self._most_bytes = most_bytes
        self._usual_seconds = usual_seconds
        self._clock = clock
        self._taken = 0
        # In the order in which they began.
        self._coming: dict[Upload, float] = {}

    def begin(self, refuse: Callable[[], None]) -> "Upload":
        """A new one; ``refuse`` ends it by ``Upload.drop``, when there is no room for it any more."""
        upload = Upload(self, refuse)
        self._coming[upload] = self._clock()
        return upload

    def room_for(self, size: int, upload: "Upload") -> bool:
        """Whether there is room now; those that had to make it are refused."""
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
        """It comes in no longer, and keeps its memory."""
        self._coming.pop(upload, None)

    def give_back(self, upload: "Upload", size: int) -> None:
        """It has ended."""
        self.whole(upload)
        self._taken -= size


class Upload:
    """One body.

    Args:
        uploads: whose memory it takes.
        refuse: called when there is none.

    Attributes:
        size: bytes that are kept here.
    """

    def __init__(self, uploads: Uploads, refuse: Callable[[], None]) -> None:
        self._uploads = uploads
        self.refuse = refuse
        self.size = 0
        self._pieces: deque[bytearray] = deque()

    def keep(self, piece: bytearray) -> bool:
        """Keep a piece, if there is room for it; otherwise it was refused."""
        if not self._uploads.room_for(len(piece), self):
            return False
        self.size += len(piece)
        self._pieces.append(piece)
        return True

    def drop(self) -> None:
        """Give its memory back."""
        size, self.size = self.size, 0
        self._pieces.clear()
        self._uploads.give_back(self, size)

    def handed_to(self, app: ASGIApp) -> ASGIApp:
        """The application, which first gets what is kept here; what it was told is counted until it has answered."""
        self._uploads.whole(self)

        async def with_body(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_kept_first() -> Message:
                if not self._pieces:
                    return await receive()
                await asyncio.sleep(0)  # others get their turn: there may be a thousand pieces
                return {"type": "http.request", "body": bytes(self._pieces.popleft()), "more_body": True}

            try:
                await app(scope, receive_kept_first, send)
            finally:
                self.drop()

        return with_body


@dataclass(frozen=True)
class Bodies:
    """What is set aside for bodies.

    Attributes:
        limits: of one.
        usual: memory for those of most routes.
        others: fixed path to that route's own.
    """

    limits: BodyLimits
    usual: Uploads
    others: Mapping[str, Uploads]

    def uploads_of(self, scope: Scope) -> Uploads:
        """Where the body of a request is kept while it comes in."""
        return self.others.get(scope["path"], self.usual)
