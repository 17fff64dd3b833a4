"""Serves a process's Prometheus metrics, and reads a heartbeat among them for a container's health check."""

import contextlib
import http.client
import sys
import time
import urllib.request
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server

from src.core.errors import ConnectionFailedError


@contextlib.contextmanager
def serving_metrics(registry: CollectorRegistry, *, host: str, port: int, variable: str) -> Iterator[None]:
    """Answer ``GET /metrics`` until the block ends.

    Args:
        registry: what is served.
        host: address to listen on.
        port: port to listen on.
        variable: the name of the port's environment variable, for the error.

    Raises:
        ConnectionFailedError: the address is in use or not one of this machine.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConnectionFailedError(
            f"cannot serve metrics on {host}:{port} ({error.strerror}); stop what listens there or set {variable}"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=2)


def check_heartbeat(port: str, series: str, stale_seconds: float) -> int:
    """Return 0 if a process of this machine has recorded a recent heartbeat, or 1 after printing why it has not.

    Args:
        port: where it serves its metrics.
        series: the heartbeat's metric, a gauge without labels, in seconds since the epoch.
        stale_seconds: how old it may be.
    """
    # Without the environment's proxies: the process runs on this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=4) as answer:
            metrics = answer.read().decode()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _unhealthy(f"no metrics: {error}")
    age = time.time() - heartbeat(metrics, series)
    if age > stale_seconds:
        return _unhealthy(f"the loop last ran {age:.0f} s ago")
    return 0


def heartbeat(metrics: str, series: str) -> float:
    """The value of a gauge without labels in the text of metrics; 0 if it is not there."""
    for line in metrics.splitlines():
        if line.startswith(f"{series} "):
            return float(line.removeprefix(f"{series} "))
    return 0.0


def _unhealthy(why: str) -> int:
    print(f"unhealthy: {why}", file=sys.stderr)  # noqa: T201 - docker inspect shows it
    return 1
