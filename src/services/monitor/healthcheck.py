"""Entry point of the container's health check: exit code 0 while the monitor's loop runs."""

import os
import sys

from src.core.metrics_server import check_heartbeat

HEARTBEAT = "monitor_heartbeat_timestamp_seconds"
# The loop reports a heartbeat at least once per poll interval; a slow disk or Docker may delay one step.
STALE_SECONDS = 60.0


def main() -> int:
    """Read the local monitor's heartbeat; return 0, or 1 after printing why."""
    return check_heartbeat(os.environ.get("MONITOR_PORT", "8001"), HEARTBEAT, STALE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
