"""A graceful stop: readiness fails, in-flight requests are completed, then the server exits."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Linux's socket options for the fewest hops that a packet must have left (RFC 5082).
IP_MINTTL = 21
IPV6_MINHOPCOUNT = 73
MAX_HOPS = 255
# Seconds for which complete connections are still accepted, and for the rest of bodies after that.
ACCEPT_SECONDS = 0.2
BODY_SECONDS = 1.0


class Stopping:
    """Whether the service was asked to stop, which cannot be undone."""

    begun = False


class GracefulStop:
    """Stops ``server``, with its ``listener``, on SIGTERM or Ctrl-C; a second signal ends the process at once.

    For ``drain_seconds``, the server continues, so that load balancers can stop sending requests.
    """

    server: uvicorn.Server

    def __init__(self, listener: socket.socket, drain_seconds: float) -> None:
        self._listener = listener
        self._drain_seconds = drain_seconds

    def install(self, stopping: Stopping, stop_waiting: Callable[[], None]) -> None:
        """Handle signals from now on, in place of the server, on the running event loop.

        At a signal, ``stopping`` begins; ``stop_waiting`` ends the waiting for the rests of bodies.
        """
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._begin, stopping, stop_waiting)

    def _begin(self, stopping: Stopping, stop_waiting: Callable[[], None]) -> None:
        # Nothing is lost at a second signal: accepted requests are on disk, and the model cache survives a kill.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        stopping.begun = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._drain_seconds, self._refuse_connections)
        loop.call_later(self._drain_seconds + ACCEPT_SECONDS, self._exit)
        loop.call_later(self._drain_seconds + ACCEPT_SECONDS + BODY_SECONDS, stop_waiting)

    def _refuse_connections(self) -> None:
        """Drop packets that open a connection, because closing a socket resets the connections in its queue.

        The option rejects all packets to the listening socket, as none has 255 hops left. Clients retry, and are
        refused once the socket is closed. On other systems than Linux, connections of the last moment may be reset.
        """
        if sys.platform == "linux":
            self._listener.setsockopt(socket.IPPROTO_IP, IP_MINTTL, MAX_HOPS)
            with contextlib.suppress(OSError):  # an IPv4 socket
                self._listener.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, MAX_HOPS)

    def _exit(self) -> None:
        self.server.should_exit = True
