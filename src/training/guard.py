"""Runs the training as a child process, so that a training that runs out of memory is reported as such.

The kernel kills the largest process of a container that reaches its memory limit, without a message. This parent
stays small, survives, logs the reason and ends with an exit code of its own, which the monitor reads.

``python -m src.training.guard python run_pipeline.py --if-needed``
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from src.core.exit_codes import ExitCode, exit_code_of
from src.core.memory import MEGABYTE, memory_limit, oom_kills


def main(command: Sequence[str], count_kills: Callable[[], int] = oom_kills) -> int:
    """Run a command to its end and pass on signals.

    Args:
        command: program and arguments.
        count_kills: how many processes the kernel has killed for lack of memory so far.

    Returns:
        The command's exit code, ``ExitCode.OUT_OF_MEMORY``, or 128 plus the number of the signal that ended it.
    """
    before = count_kills()
    child = subprocess.Popen(command)  # noqa: S603 - the container's own command
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    code = child.wait()
    if code == -signal.SIGKILL and count_kills() > before:
        report()
        return ExitCode.OUT_OF_MEMORY
    return exit_code_of(code)


def report() -> None:
    """Log that the training ran out of memory, and what to do."""
    # Only now: until here this process must stay small.
    from src.core.log import configure_logging  # noqa: PLC0415
    from src.core.settings import load_settings  # noqa: PLC0415
    from src.core.training_settings import TrainSettings  # noqa: PLC0415
    from src.training.training_run import SERVICE, logger  # noqa: PLC0415

    settings = load_settings(TrainSettings)
    configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
    logger.error(
        "out of memory: the training reached its limit of %.0f MB and was killed; raise TRAIN_MEMORY in .env, or set "
        "max_depth or fewer n_estimators in model.params",
        memory_limit() / MEGABYTE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
