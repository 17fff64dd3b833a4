"""uvicorn's server with a graceful stop: readiness fails, connections are closed, in-flight requests are completed."""

import signal
import socket
import time
from types import FrameType
from typing import cast

import uvicorn

from src.serving.http.edge_policy import EdgePolicy
from src.serving.http.http_protocol import PatientProtocol
from src.serving.http.last_connections import take_last_connections


class DrainingServer(uvicorn.Server):
    """A server that continues to answer for a while after a first signal, and exits at once on a second.

    Args:
        config: uvicorn's configuration.
        drain_seconds: how long it continues, so that load balancers can stop sending requests.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.should_exit:
            # Nothing is lost: accepted requests are on disk, and the model cache survives a kill.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop accepting connections; called ten times a second."""
        if not await super().on_tick(counter):
            return False
        if self._drained_at is None:
            self._drained_at = time.monotonic() + self._drain_seconds
            edge: EdgePolicy = self.lifespan.state["service"].edge
            edge.stopping.begin()
            for connection in list(self.server_state.connections):
                cast(PatientProtocol, connection).last_answer()
        return time.monotonic() >= self._drained_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and complete in-flight requests."""
        if self._drained_at is not None and sockets:
            await take_last_connections(sockets[0])
        await super().shutdown(sockets)
