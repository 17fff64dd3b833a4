"""How a training run ended, from its exit code."""

import signal
from enum import StrEnum

from src.core.exit_codes import SIGNALS, ExitCode


class ExitKind(StrEnum):
    """The kinds of ends that the monitor counts."""

    OK = "ok"
    ERROR = "error"
    BUSY = "busy"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    UNKNOWN = "unknown"


def kind_of(code: int | None) -> ExitKind:
    """The kind of an exit code; ``None`` is one that is not known."""
    if code is None:
        return ExitKind.UNKNOWN
    if code > SIGNALS:
        return ExitKind.KILLED
    kinds: dict[int, ExitKind] = {
        ExitCode.OK: ExitKind.OK,
        ExitCode.BUSY: ExitKind.BUSY,
        ExitCode.OUT_OF_MEMORY: ExitKind.OUT_OF_MEMORY,
    }
    return kinds.get(code, ExitKind.ERROR)


def was_silent(code: int | None) -> bool:
    """Whether the run could not record why it ended."""
    return kind_of(code) in {ExitKind.KILLED, ExitKind.OUT_OF_MEMORY} or code == ExitCode.NOT_STARTED


def describe(code: int | None) -> str:
    """A sentence for logs and requests."""
    if code is None:
        return "the exit code is not known; the training log says why"
    if code == ExitCode.OUT_OF_MEMORY:
        return "out of memory; raise TRAIN_MEMORY in .env, or in Kubernetes the memory limit of the CronJob"
    if code == ExitCode.NOT_STARTED:
        return "no pod of the training Job ran within TRAIN_START_SECONDS; kubectl get events says why"
    if code > SIGNALS:
        return f"killed by {_signal_name(code - SIGNALS)} (exit code {code}); the training log ends there"
    return f"exit code {code}; the training log says why"


def _signal_name(number: int) -> str:
    known = {item.value: item.name for item in signal.Signals}
    return known.get(number, f"signal {number}")
