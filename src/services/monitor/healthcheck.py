"""Entry point of the container's health check: exit code 0 while the monitor's loop runs."""

import http.client
import os
import sys
import time
import urllib.request

HEARTBEAT = "monitor_heartbeat_timestamp_seconds "
# The loop reports a heartbeat at least once per poll interval; a slow disk or Docker may delay one step.
STALE_SECONDS = 60.0


def main() -> int:
    """Read the local monitor's heartbeat; return 0, or 1 after printing why."""
    url = f"http://127.0.0.1:{os.environ.get('MONITOR_PORT', '8001')}/metrics"
    # Without the environment's proxies: the monitor runs on this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=4) as answer:
            metrics = answer.read().decode()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _unhealthy(f"no metrics: {error}")
    age = time.time() - heartbeat(metrics)
    if age > STALE_SECONDS:
        return _unhealthy(f"the loop last ran {age:.0f} s ago")
    return 0


def heartbeat(metrics: str) -> float:
    """When the loop last ran, in seconds since the epoch; 0 if the metrics do not say."""
    for line in metrics.splitlines():
        if line.startswith(HEARTBEAT):
            return float(line.removeprefix(HEARTBEAT))
    return 0.0


def _unhealthy(why: str) -> int:
    print(f"unhealthy: {why}", file=sys.stderr)  # noqa: T201 - docker inspect shows it
    return 1


if __name__ == "__main__":
    sys.exit(main())
