"""The exit codes of a training run, which the monitor reads."""

from enum import IntEnum

# A process that a signal ended has this code plus the signal's number, as in shells and containers.
SIGNALS = 128


class ExitCode(IntEnum):
    """How a training run ended; a verdict of the gate, either way, is success."""

    OK = 0
    FAILED = 1
    PERMANENT = 2  # fix the configuration or the data first
    BUSY = 75  # EX_TEMPFAIL: a training or a backup is running
    OUT_OF_MEMORY = 76  # the kernel killed it at its memory limit
    NOT_STARTED = 125  # its Kubernetes Job never had a running pod; no process ends with it


def exit_code_of(returncode: int) -> int:
    """The exit code for ``subprocess``'s return code, which is negative for a signal."""
    return returncode if returncode >= 0 else SIGNALS - returncode
