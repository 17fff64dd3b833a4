"""Entry point of the container's health check: exit code 0 while the quality service's loop runs."""

import os
import sys

from src.core.metrics_server import check_heartbeat
from src.services.quality.metrics import HEARTBEAT

# A step takes in all that has arrived, and joins: it may take minutes after a long stop of the service.
STALE_SECONDS = 600.0


def main() -> int:
    """Read the local service's heartbeat; return 0, or 1 after printing why."""
    return check_heartbeat(os.environ.get("QUALITY_PORT", "8002"), HEARTBEAT, STALE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
