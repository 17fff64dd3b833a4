"""Holds the trainer lock until the standard input ends: meanwhile no training runs, and no request is claimed or ended.

``make backup`` runs it in the monitor's container: ``python -m src.services.monitor.hold_training``. It prints ``busy``
while a training holds the lock, then ``held``. The lock ends with the process, and the process with its caller.
"""

import select
import sys

from src.core.errors import LoopError, TrainerBusyError
from src.core.retrain_signal import RetrainSpool
from src.core.settings import MonitorSettings, load_settings

SECONDS_BETWEEN_TRIES = 1.0


def main() -> int:
    """Wait for the lock and hold it; return 0, or 1 where the caller went away first or the lock cannot be taken."""
    try:
        spool = RetrainSpool(load_settings(MonitorSettings).retrain_dir)
        while True:
            try:
                with spool.lock():
                    print("held", flush=True)  # noqa: T201 - read by the caller
                    sys.stdin.read()
                    return 0
            except TrainerBusyError:
                print("busy", flush=True)  # noqa: T201 - as above
            ended, _, _ = select.select([sys.stdin], [], [], SECONDS_BETWEEN_TRIES)
            if ended:
                return 1
    except (LoopError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1


if __name__ == "__main__":
    sys.exit(main())
