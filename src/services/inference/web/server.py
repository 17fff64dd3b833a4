"""uvicorn's server, stopping in steps: readiness falls, who is connected is told to leave, what came in is answered."""

import signal
import socket
import time
from types import FrameType
from typing import cast

import uvicorn

from src.services.inference.service_state import ServiceState
from src.services.inference.web.http_protocol import PatientProtocol
from src.services.inference.web.last_connections import take_last_connections


class DrainingServer(uvicorn.Server):
    """A server that goes on answering for a while after a first signal, and ends at once on a second.

    Args:
        config: as uvicorn has it.
        drain_seconds: how long that while is: those who look at readiness have it to send their requests elsewhere.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal's handler."""
        if self.should_exit:
            # Nothing is lost: what was accepted is on disk, and the model cache outlives any death.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop accepting connections; asked ten times a second."""
        if not await super().on_tick(counter):
            return False
        if self._drained_at is None:
            self._drained_at = time.monotonic() + self._drain_seconds
            service: ServiceState = self.lifespan.state["service"]
            service.front.stopping.begin()
            for connection in list(self.server_state.connections):
                cast(PatientProtocol, connection).last_answer()
        return time.monotonic() >= self._drained_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, finish what is in work."""
        if self._drained_at is not None and sockets:
            await take_last_connections(sockets[0])
        await super().shutdown(sockets)
