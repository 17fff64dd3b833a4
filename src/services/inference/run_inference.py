"""Entry point: the inference service on one port, until SIGTERM."""

import gc
import logging
import signal
import socket
import sys

import uvicorn

from src.core.errors import ConfigError, LoopError
from src.core.inference_settings import InferenceSettings
from src.core.log import configure_logging
from src.core.settings import load_settings
from src.services.inference.inference_service import create_app, prepare_folders
from src.serving.http.front_protocol import FrontProtocol
from src.serving.http.stopping import GracefulStop

# For in-flight requests after the listener is closed; plus DRAIN_SECONDS it must fit an orchestrator's grace period.
GRACE_SECONDS = 5
BACKLOG = 2048
# libuv accepts one connection per listening descriptor and loop iteration. With a single descriptor, a burst of clients
# would wait one iteration for each client before them.
ACCEPTS = 16

logger = logging.getLogger(__name__)


def main() -> int:
    """Serve until a signal; return 0 after SIGTERM or Ctrl-C, 1 when the service could not start."""
    # uvicorn raises a signal again that arrived before the service handles it; the exit code must then be 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = load_settings(InferenceSettings)
        configure_logging("inference", log_format=settings.log_format, level=settings.log_level)
        prepare_folders(settings)
        with listen(settings.inference_host, settings.inference_port) as listener:
            return serve(settings, listener)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except KeyboardInterrupt:
        return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError if the port is in use or the address is not one of this machine."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
        raise ConfigError(
            f"cannot listen on {host}:{port} ({why}); stop what listens there, or set INFERENCE_PORT or INFERENCE_HOST"
        ) from error


def serve(settings: InferenceSettings, listener: socket.socket) -> int:
    """Serve on the socket until a signal; return the exit code."""
    # uvicorn's own lines at INFO repeat ours.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[settings.log_level]))
    stop = GracefulStop(listener, settings.drain_seconds)
    config = uvicorn.Config(
        create_app(settings, on_start=lambda state: stop.install(state.stopping, state.bodies.stop_waiting)),
        http=FrontProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the service does not use the client's address or scheme
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )
    stop.server = server = uvicorn.Server(config)
    # What is imported stays: collections, such as after a swap of models, then take no time for it.
    gc.collect()
    gc.freeze()
    logger.info("listening on http://%s:%d", settings.inference_host, settings.inference_port)
    server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTS - 1))])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
